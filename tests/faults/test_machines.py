"""Workers as on many machines: own folders and copies of the package; every part of it dies."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_counts import times
from fault_harness import HERE, PACKAGE, Site, said, same, wait_for

pytestmark = pytest.mark.faults


class Machines:
    """A scheduler, and workers that each import a copy of the package from a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def _start(self, arguments: list[str], home: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(home)}
        with (home / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                cwd=home,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_scheduler(self) -> None:
        home = self.folder / "scheduler"
        home.mkdir(exist_ok=True)
        shutil.copytree(PACKAGE, home / "ebm_vs_prob", dirs_exist_ok=True)
        self.file.unlink(missing_ok=True)
        arguments = ["scheduler", "--scheduler-file", str(self.file), "--port", "0", "--no-dashboard"]
        self.scheduler = self._start(arguments, home)
        wait_for(self.file.exists)

    def make_home(self, number: int) -> Path:
        """The folder of a machine, with its copy of the package and the plugin."""
        home = self.folder / f"machine-{number}"
        if not home.exists():
            shutil.copytree(PACKAGE, home / "ebm_vs_prob")
            shutil.copy(HERE / "study_plugin.py", home)
        return home

    def start_worker(self, number: int) -> None:
        home = self.make_home(number)
        arguments = ["worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--no-dashboard"]
        self.workers[number] = self._start([*arguments, "--local-directory", str(home)], home)

    def kill(self, process: subprocess.Popen[bytes] | None) -> None:
        """SIGKILL of a machine: the process and the nanny's child."""
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *error: object) -> None:
        for process in (*self.workers.values(), self.scheduler):
            self.kill(process)


@pytest.mark.long
def test_everything_dies_once(tmp_path):
    """Six workers, each killed at a random moment, the scheduler restarted once, the driver killed once."""
    seeds = times(6, 24)
    site = Site.make(tmp_path / "site", seeds=seeds)
    whole = site.finish(site.folder / "whole")
    source = random.Random(4)
    store = tmp_path / "store"
    with Machines(tmp_path) as machines:
        machines.start_scheduler()
        for number in range(6):
            machines.start_worker(number)
        arguments = ("--engine", "dask", "--scheduler", str(machines.file))
        process = site.run(store, *arguments)
        events = [*range(6), "scheduler", "driver"]
        source.shuffle(events)
        while process.poll() is None or events:
            if process.poll() is not None:
                process.communicate()
                process = site.run(store, *arguments)
            time.sleep(source.uniform(0.2, 1.5))
            if not events:
                continue
            event = events.pop()
            if event == "scheduler":
                machines.kill(machines.scheduler)
                machines.start_scheduler()
                for number in range(6):
                    machines.kill(machines.workers[number])
                    machines.start_worker(number)
            elif event == "driver":
                process.kill()
            else:
                machines.kill(machines.workers[event])
                machines.start_worker(event)
        _, error = process.communicate()
        assert "Traceback" not in error, error
        frame = site.finish(store, *arguments)
    assert set(frame["status"]) == {"done"}
    same(frame, whole)


def test_a_worker_of_other_code_is_refused_by_name(tmp_path):
    site = Site.make(tmp_path / "site", seeds=2)
    with Machines(tmp_path) as machines:
        machines.start_scheduler()
        for number in range(2):
            machines.start_worker(number)
        source = tmp_path / "machine-1" / "ebm_vs_prob" / "training" / "loop.py"
        assert source.is_file()
        machines.kill(machines.workers[1])
        source.write_text(source.read_text(encoding="utf-8") + "\n# another version\n", encoding="utf-8")
        machines.start_worker(1)
        process = site.run(tmp_path / "store", "--engine", "dask", "--scheduler", str(machines.file))
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    assert len(set(site.table(tmp_path / "store")["code_digest"])) == 1


def test_workers_that_die_on_import_are_told_of(tmp_path):
    """Their nannies start them again for ever, and each dies of the same: the run says so while it waits for others."""
    site = Site.make(tmp_path / "site", seeds=2)
    with Machines(tmp_path) as machines:
        machines.start_scheduler()
        for number in range(2):
            home = machines.make_home(number)
            start = home / "ebm_vs_prob" / "__init__.py"
            start.write_text("import os\nos._exit(3)\n" + start.read_text(encoding="utf-8"), encoding="utf-8")
            machines.start_worker(number)
        process = site.run(tmp_path / "store", "--engine", "dask", "--scheduler", str(machines.file))
        told: list[str] = []

        def vanish() -> bool:
            told.append(process.stderr.readline())
            return "vanish before they can be used" in told[-1]

        wait_for(vanish)
        machines.start_worker(2)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert "Traceback" not in "".join(told) + error
    assert set(site.table(tmp_path / "store")["status"]) == {"done"}


@pytest.mark.long
def test_a_stopped_scheduler_is_told_of_and_ends_in_one_line(tmp_path):
    """Its port stays open, and nothing comes through it."""
    site = Site.make(tmp_path / "site")
    store = tmp_path / "store"
    with Machines(tmp_path) as machines:
        machines.start_scheduler()
        machines.start_worker(0)
        process = site.run(store, "--engine", "dask", "--scheduler", str(machines.file))
        wait_for(lambda: list((store / "shards").glob("*.zip")))
        machines.scheduler.send_signal(signal.SIGSTOP)
        _, error = process.communicate(timeout=180)
        assert process.returncode == 1
        *others, line = said(error)
        assert any("does not answer: waiting for it" in other for other in others)
        # The run may also say that the worker has not begun its batch, and nothing else.
        assert all("does not answer" in other or "has not begun" in other for other in others), others
        assert "was lost, it did not answer for 60 s" in line


def test_a_lost_scheduler_ends_in_one_line_and_a_new_one_goes_on(tmp_path):
    site = Site.make(tmp_path / "site")
    store = tmp_path / "store"
    with Machines(tmp_path) as machines:
        machines.start_scheduler()
        machines.start_worker(0)
        arguments = ("--engine", "dask", "--scheduler", str(machines.file))
        process = site.run(store, *arguments)
        wait_for(lambda: list((store / "shards").glob("*.zip")))
        machines.kill(machines.scheduler)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 1
        (line,) = said(error)
        assert "scheduler" in line
        machines.kill(machines.workers[0])
        machines.start_scheduler()
        machines.start_worker(0)
        frame = site.finish(store, *arguments)
    same(frame, site.finish(site.folder / "whole"))
