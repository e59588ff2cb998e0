"""SIGINT, SIGTERM and SIGHUP at random moments: one line, the exit code of the signal, nothing left behind."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from fault_counts import times
from fault_harness import Site, gone, moments, said, same, strike, wait_for, workers_of

pytestmark = pytest.mark.faults

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Until the command line is up a signal does what the system does with it.
UP = 2.0


def test_signals(tmp_path):
    site = Site.make(tmp_path / "site")
    started = time.monotonic()
    frame = site.finish(site.folder / "whole")
    seconds = time.monotonic() - started
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    store = tmp_path / "store"
    struck = 0
    for number, moment in enumerate(moments(times(2, 20), seconds - UP, seed=3)):
        sent = SIGNALS[number % len(SIGNALS)]
        process = site.run(store, TMPDIR=str(temporary))
        time.sleep(UP)
        if not strike(process, moment, sent):
            assert said(process.communicate()[1]) == []
            assert process.returncode == 0
            store = tmp_path / f"store-{number}"
            continue
        struck += 1
        below = workers_of(process)
        for _ in range(number % 3):  # impatient users
            time.sleep(0.05)
            if process.poll() is None:
                process.send_signal(sent)
        _, error = process.communicate(timeout=60)
        assert process.returncode in (128 + sent, 0), (sent, error)
        if process.returncode:
            (line,) = said(error)
            assert line.endswith("the same command continues where it stopped")
        assert gone(below)
        assert os.listdir(temporary) == []
        assert not list(store.rglob("*.tmp"))
    assert struck
    same(site.finish(store), frame)


def test_a_group_that_is_interrupted(tmp_path):
    """Ctrl-C reaches the workers too."""
    site = Site.make(tmp_path / "site")
    process = site.run(tmp_path / "store")
    time.sleep(2 * UP)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(said(error)) == 1, error


def test_a_local_run_listens_on_no_port_and_two_of_them_say_nothing(tmp_path):
    site = Site.make(tmp_path / "site")
    runs = [site.run(tmp_path / f"store-{number}") for number in range(2)]
    wait_for(lambda: list((tmp_path / "store-0" / "shards").glob("*.zip")))
    processes = [psutil.Process(runs[0].pid), *workers_of(runs[0])]
    assert len(processes) > 2
    assert [c for process in processes for c in process.net_connections("inet")] == []
    for process in runs:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0
        assert said(error) == []
