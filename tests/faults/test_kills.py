"""SIGKILL of drivers and workers at random moments: nothing is lost or done twice, and the bits are the same."""

from __future__ import annotations

import random
import time

import psutil
import pytest
from fault_counts import times
from fault_harness import Site, gone, moments, same, strike, workers_of

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return Site.make(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def whole(site):
    started = time.monotonic()
    frame = site.finish(site.folder / "whole")
    return frame, time.monotonic() - started


def test_killed_drivers(site, whole, tmp_path):
    """Each store is struck until its study is done; then the next is begun."""
    frame, seconds = whole
    stores = [tmp_path / "store-0"]
    for moment in moments(times(3, 100), 1.2 * seconds, seed=1):
        process = site.run(stores[-1])
        struck = False
        try:
            time.sleep(moment / 2)
            below = workers_of(process)
            struck = strike(process, moment / 2)
        finally:
            process.kill()
            process.communicate()
        assert gone(below), "workers outlived their driver"
        if not struck:
            assert process.returncode == 0
            stores.append(tmp_path / f"store-{len(stores)}")
    for store in stores:
        same(site.finish(store), frame)
        assert not list(store.rglob("*.tmp"))
        assert not (store / "damaged").exists()


def test_killed_workers(site, whole, tmp_path):
    """Processes below the driver, fork server too, are killed again and again; a run goes on or says to run again."""
    frame, seconds = whole
    source = random.Random(2)
    left, store, number = times(3, 100), tmp_path / "store-0", 0
    while left:
        process = site.run(store)
        while process.poll() is None and left:
            time.sleep(source.uniform(0, seconds / 3))
            below = workers_of(process)
            if below:
                try:
                    source.choice(below).kill()
                except psutil.NoSuchProcess:
                    continue
                left -= 1
        _, error = process.communicate(timeout=300)
        assert process.returncode in (0, 1), error
        assert "Traceback" not in error, error
        if process.returncode == 0:
            same(site.table(store), frame)
            number += 1
            store = tmp_path / f"store-{number}"
    same(site.finish(store), frame)
