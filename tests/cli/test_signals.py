"""A run that is told to end does so at once, in one line, and leaves nothing; the same command completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from study_files import write_study

HERE = Path(__file__).parents[1]
ARMS = {"plain": ("ring", ""), "slow": ("lonely_ring", 'fault = "slow"')}
ENDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


@pytest.mark.faults
@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.long) for n in ENDS])
def test_ten_signals_to_the_whole_group_end_a_run_in_one_line(tmp_path, number):
    path = write_study(tmp_path / "rings.toml", arms=ARMS, seeds=12, thickness="0.1")
    command = [sys.executable, "-m", "ebm_vs_prob.cli", "run", str(path), "--workers", "2", "--device", "cpu"]
    command += ["--store", str(tmp_path / "store")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([*sys.path, str(HERE)])}
    options = {"env": environment, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **options)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store").glob("shards/*.zip")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3
    told = time.monotonic()
    for _ in range(10):
        os.killpg(process.pid, number)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - told < 10
    assert process.returncode == 128 + number
    said = [line for line in errors.splitlines() if line.strip() and "trials" not in line]
    assert said == [f"ebm-vs-prob: error: {ENDS[number]}; the same command continues where it stopped"]
    psutil.wait_procs(children, timeout=5)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert not list((tmp_path / "store").rglob("*.tmp"))
    assert subprocess.run(command, check=False, **options).returncode == 0
