"""Trainings in processes of their own, of this checkout of the package or of another, that take turns as they are told.

A training goes through `fit`, as a user's does, and stays where it is between two turns: data, recording and compiling
are done once, before the first, and are in no turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from .results import PROCESSORS
from .timing import Seconds

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(__file__).with_name("paced_training.py")


@dataclass(frozen=True)
class Plan:
    """What is trained, by names and numbers alone, so that every checkout understands it.

    Attributes:
        method, options: a registered name and the options that are not its defaults.
        task: a name and its options.
        mode: "written", "recorded" or "compiled"; a checkout that knows one way only goes it.
        hidden: widths of the hidden layers. steps: of the whole schedule, of which turns take the first.
    """

    method: str
    task: tuple[str, dict[str, Any]]
    replicates: int
    mode: str
    hidden: tuple[int, ...] = (32, 32)
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 20_000
    batch_size: int = 64
    examples: int = 1000

    def asked(self) -> dict[str, Any]:
        """As the other process reads it."""
        given = asdict(self)
        budget = {name: given.pop(name) for name in ("steps", "batch_size", "examples")}
        return {**given, "budget": budget, "processors": PROCESSORS}


class TrainingFailed(RuntimeError):
    """What the package of a checkout said when it was to train."""


class _Process:
    """A process with the package of a folder."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._popen = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT), str(folder)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, **asked: Any) -> None:
        assert self._popen.stdin is not None
        print(json.dumps(asked), file=self._popen.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise TrainingFailed(f"the process ended with {self._popen.wait()}; what it said is above")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TrainingFailed(answer["error"])
        return answer

    def close(self) -> None:
        assert self._popen.stdin is not None
        with suppress(OSError):
            self._popen.stdin.close()
        self._popen.wait()


class Trainings:
    """Trainings by the package of a folder, each in a process that is used again when it has ended."""

    def __init__(self, folder: Path = ROOT) -> None:
        self._folder = folder
        self._idle: list[_Process] = []
        self._all: list[_Process] = []

    def begin(self, plan: Plan) -> Training:
        """A training that is being prepared from now on, while others are."""
        process = self._process()
        process.tell(do="begin", **plan.asked())
        return Training(process, self._idle)

    def losses(self, plan: Plan) -> list[list[float]]:
        """The losses of a whole training, (R, steps).

        Raises:
            TrainingFailed: the package refused it.
        """
        process = self._process()
        process.tell(do="losses", **plan.asked())
        try:
            found: list[list[float]] = process.answer()["losses"]
        finally:
            self._idle.append(process)
        return found

    def close(self) -> None:
        """End the processes."""
        while self._all:
            self._all.pop().close()
        self._idle.clear()

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _process(self) -> _Process:
        if not self._idle:
            self._all.append(_Process(self._folder))
            return self._all[-1]
        return self._idle.pop()


class Training:
    """One that takes steps when it is told to; a process of `idle` again when it is ended."""

    def __init__(self, process: _Process, idle: list[_Process]) -> None:
        self._process, self._idle = process, idle

    def ready(self) -> float:
        """Seconds until its first steps were taken, recorded or compiled as they are; waits for them.

        Raises:
            TrainingFailed: the package refused it.
        """
        try:
            return float(self._process.answer()["wall"])
        except TrainingFailed:
            self._idle.append(self._process)
            raise

    def take(self, steps: int) -> Seconds:
        """Take so many steps."""
        self._process.tell(do="take", steps=steps)
        taken = self._process.answer()
        return Seconds(taken["wall"], taken["cpu"])

    def end(self) -> None:
        """Leave it where it is."""
        self._process.tell(do="end")
        self._process.answer()
        self._idle.append(self._process)


def checkout(name: str, folder: Path) -> Path:
    """The package as it was at a commit, in `folder`; a folder that there is, is the checkout itself.

    Raises:
        ValueError: neither a folder nor a commit of this repository's history.
    """
    if Path(name).is_dir():
        return Path(name).resolve()
    command: Sequence[str] = ("git", "-C", str(ROOT), "archive", "--format=tar", name, "ebm_vs_prob")
    try:
        content = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip() or str(error)
        raise ValueError(f"{name!r} is no folder and no commit that git can take out of {ROOT}: {said}") from None
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
    return folder
