"""Faults at chosen moments of a run: while files are written, while workers start."""

from __future__ import annotations

import re

import pytest
from fault_counts import times
from fault_harness import Site, said, same

from ebm_vs_prob.study import Store
from ebm_vs_prob.study.shards import FILES

pytestmark = pytest.mark.faults

#: What a plugin does in a worker when it is imported there, or when files are written: once for each mark that is gone.
STRIKER = """
import multiprocessing, os, signal, time
from pathlib import Path
import ebm_vs_prob.comparison.containers as containers
from study_plugin import *

moment, mark = os.environ.get("MOMENT", ""), Path(os.environ.get("MARK", "."))
plain = containers.to_netcdf


def first():
    if mark.exists():
        return False
    mark.touch()
    return True


def to_netcdf(*arguments, **options):
    if moment == "files" and first():
        os.killpg(os.getpgrp(), signal.SIGINT)
        time.sleep(0.3)
    return plain(*arguments, **options)


containers.to_netcdf = to_netcdf
if multiprocessing.parent_process() is not None:
    if moment == "start" and first():
        os.kill(os.getpid(), signal.SIGKILL)
    if moment == "server" and first():
        os.kill(os.getppid(), signal.SIGKILL)
    if moment == "every start":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site.make(
        tmp_path_factory.mktemp("site"),
        arms={"careful": ("careful_ring", ""), "plain": ("ring", "")},
        thickness="0.3, 0.2, 0.1, 0.05, 0.03",
        seeds=3,
    )
    (site.folder / "striker.py").write_text(STRIKER, encoding="utf-8")
    text = site.study.read_text(encoding="utf-8")
    site.study.write_text(text.replace('plugins = ["study_plugin"]', 'plugins = ["striker"]'), encoding="utf-8")
    return site


@pytest.fixture(scope="module")
def whole(site):
    return site.finish(site.folder / "whole")


def test_no_record_loses_its_files_to_an_interrupt(site, whole, tmp_path):
    """Several times Ctrl-C reaches driver and workers as the first netCDF file is written."""
    store = tmp_path / "store"
    for number in range(times(2, 5)):
        process = site.run(store, MOMENT="files", MARK=str(tmp_path / f"mark-{number}"))
        _, error = process.communicate(timeout=60)
        assert (tmp_path / f"mark-{number}").exists()
        assert process.returncode == 130, error
        (line,) = said(error)
        assert "interrupted" in line
    frame = site.finish(store)
    same(frame, whole)
    kept = Store(store)
    first = set(frame.loc[frame["seed"] == 0, "trial"])
    assert len(first) == 10
    assert all(kept.kinds(trial) == set(FILES) for trial in first)


@pytest.mark.parametrize("moment", ["start", "server"])
def test_a_worker_or_the_fork_server_killed_at_the_start_is_replaced(site, whole, tmp_path, moment):
    process = site.run(tmp_path / "store", MOMENT=moment, MARK=str(tmp_path / "mark"))
    _, error = process.communicate(timeout=120)
    assert (tmp_path / "mark").exists()
    assert process.returncode == 0, error
    same(site.table(tmp_path / "store"), whole)


def test_workers_that_never_start_end_the_run_in_one_line(site, tmp_path):
    process = site.run(tmp_path / "store", MOMENT="every start")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = said(error)
    assert re.search(r"local workers cannot be started.*SIGKILL.*run again", line)
