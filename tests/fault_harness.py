"""Runs of a small study as a user starts them, and what strikes them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
from study_files import registered_plugin, write_study

import ebm_vs_prob as evp

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "ebm_vs_prob"


@dataclass
class Site:
    """A folder with a study of the plugin's methods, and its stores."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, **study: object) -> Site:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "study_plugin.py", folder)
        arms = {"plain": ("ring", ""), "slow": ("lonely_ring", 'fault = "slow"'), "slower": ("ring", 'fault = "slow"')}
        write_study(folder / "rings.toml", **{"arms": arms, "thickness": "0.1", "seeds": 6, **study})
        return cls(folder)

    @property
    def study(self) -> Path:
        return self.folder / "rings.toml"

    def run(self, store: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`ebm-vs-prob run` in a process group of its own."""
        command = [sys.executable, "-m", "ebm_vs_prob.cli", "run", str(self.study), "--store", str(store)]
        return subprocess.Popen(
            [*command, "--device", "cpu", *arguments],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, store: Path, *arguments: str, limit: float = 300) -> pd.DataFrame:
        """Run to the end, which must be a good one, and read the table."""
        process = self.run(store, *arguments)
        out, error = process.communicate(timeout=limit)
        assert process.returncode == 0, (out, error)
        return self.table(store)

    def table(self, store: Path) -> pd.DataFrame:
        with registered_plugin():
            return evp.load_results(self.study, store=store)


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """What must be the same to the bit in every run of a study, whatever trained together and whatever struck it."""
    timed = frame["metric"].isin(["seconds"])
    return frame[~timed].drop(columns=["batch", "code_digest", "plugins"]).reset_index(drop=True)


def same(frame: pd.DataFrame, whole: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(numbers(frame), numbers(whole), check_exact=True)


def said(errors: str) -> list[str]:
    """The lines on stderr but for the progress bar."""
    return [line for line in errors.splitlines() if line.strip() and " trials " not in line]


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes below a driver, its fork server and resource tracker among them."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def gone(processes: list[psutil.Process], within: float = 15) -> bool:
    """Whether all processes end by themselves within some seconds."""
    return not psutil.wait_procs(processes, timeout=within)[1]


def strike(process: subprocess.Popen[str], after: float, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal to a driver after some seconds; False where it had ended before."""
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        return True
    return False


def moments(count: int, latest: float, seed: int) -> list[float]:
    """Moments of strikes, in seconds from the start."""
    source = random.Random(seed)
    return [source.uniform(0, latest) for _ in range(count)]


def wait_for(condition: object, limit: float = 120, step: float = 0.05) -> None:
    deadline = time.monotonic() + limit
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(step)
