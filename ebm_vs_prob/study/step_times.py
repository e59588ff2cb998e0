"""How long training steps take on this machine, recorded and compiled, predicted from shapes before anything is built.

The constants are measured once, by `step_probe` in a process of its own, and kept in the cache folder.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from ..core.atomic_files import write_atomically
from ..core.caches import cache_folder, make_private
from ..core.options import Options
from ..core.text import printable
from .keys import digest

Seconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]

#: Operations of a method's step, and so what launching and compiling them takes, where the probe's step has one: the
#: median over the package's methods; from 0.6 (a loss without noise) to 30 (a flow of splines).
OPERATIONS = 3.0
#: How many times as long as counted from shapes steps take: noise, distances to training answers and proposals are in
#: no shape. Measured over counted, 20 replicates of 2x32, AMD EPYC: 1.4 denoising, 3 to 7 hinges, 4 to 8 likelihood.
SLOWER = 3.0
#: Processes that compile a program before the first of them has put it into the cache: two workers begin at once.
COMPILED_BY = 2.0
#: Steps are compiled where that is predicted to take at most this share of its time.
WORTH = 0.8
#: Seconds that a program's steps take on a typical core, below which compiling saves less than measuring takes, so that
#: nothing is measured.
FEWEST_SECONDS = 34.0
PROBE_LIMIT = 600.0  # seconds
#: Raised where the steps that are timed change.
VERSION = 2

log = logging.getLogger("ebm_vs_prob.study")


class StepTime(Options):
    """Seconds of one step: for what is done once whatever the size, for each unit and each multiply-add of an energy
    evaluation."""

    launch: Seconds
    unit: Seconds
    multiply_add: Seconds

    def seconds(self, evaluations: float, widths: tuple[int, ...]) -> float:
        """Of a step with so many evaluations of the energy, all replicates' and examples', by layers of these widths.

        That of the probe's kind; `launch` is to be scaled for a method of more operations.
        """
        products = sum(before * after for before, after in pairwise(widths))
        return self.launch + evaluations * (sum(widths) * self.unit + products * self.multiply_add)


class StepTimes(Options):
    """What steps take on a machine. `compile` is what compiling the probe's step takes; None where it cannot be."""

    machine: str
    recorded: StepTime
    compiled: StepTime
    compile: Seconds | None

    def seconds(self, compiled: bool, evaluations: float, widths: tuple[int, ...]) -> float:
        """Predicted seconds of a step of a typical method: a method may be five times faster or slower.

        Args:
            compiled: whether it is compiled, and not only recorded.
            evaluations: of the energy in the step, all replicates' and examples'.
            widths: of the network's layers.
        """
        times = self.compiled if compiled else self.recorded
        return SLOWER * ((OPERATIONS - 1) * times.launch + times.seconds(evaluations, widths))

    @property
    def compiling(self) -> float:
        """Predicted seconds, of all processes, of compiling a typical method's step."""
        return COMPILED_BY * OPERATIONS * (self.compile or 0.0)

    def described(self) -> list[str]:
        """The constants in words, a line each."""
        modes = {"recorded": self.recorded, "compiled": self.compiled}
        lines = [
            f"step {mode}: {1e3 * times.launch:.3g} ms, {1e9 * times.unit:.3g} ns a unit, "
            f"{1e12 * times.multiply_add:.3g} ps a multiply-add"
            for mode, times in modes.items()
        ]
        compiling = "no compiler: nothing is compiled" if self.compile is None else f"compiling: {self.compile:.3g} s"
        return [f"machine: {self.machine}", *lines, compiling]

    def pays(self, programs: Sequence[tuple[int, float]], widths: tuple[int, ...]) -> bool:
        """Whether compiling saves a fifth of the time of all steps, that of compiling included.

        Args:
            programs: the steps of all batches of each, and the evaluations of the energy in one; the first decides
                whether they are steps enough.
            widths: of the network's layers.
        """
        if self.compile is None or not worth_measuring(*programs[0], widths):
            return False
        recorded, compiled = (
            sum(steps * self.seconds(mode, evaluations, widths) for steps, evaluations in programs)
            for mode in (False, True)
        )
        return len(programs) * self.compiling + compiled <= WORTH * recorded


#: Measured once on an Intel Xeon that was busy; for plans whose steps are too few for a compiler to pay.
TYPICAL = StepTimes(
    machine="a typical core, not measured",
    recorded=StepTime(launch=1.4e-3, unit=1e-9, multiply_add=4e-11),
    compiled=StepTime(launch=1.4e-4, unit=6e-10, multiply_add=2e-11),
    compile=17.0,
)


def worth_measuring(steps: int, evaluations: float, widths: tuple[int, ...]) -> bool:
    """Whether a compiler may pay for so many steps, of all batches of a program, wherever they are taken."""
    return steps * TYPICAL.seconds(False, evaluations, widths) >= FEWEST_SECONDS


UNCOMPILED = TYPICAL.model_copy(update={"compile": None})


def compiler() -> str:
    """The C++ compiler that torch's own calls."""
    return os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")


def step_times(needed: bool) -> StepTimes:
    """This machine's constants as they were measured; where they were not, measured now if they are `needed`."""
    kept = _kept()
    if kept is not None:
        return kept
    return _measured() if needed else TYPICAL


@lru_cache
def machine() -> str:
    """The processor, and the version of torch: measured constants hold for both."""
    from .provenance import torch_version

    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return printable(f"{name}, torch {torch_version()}", 200)


def _file(name: str) -> Path:
    """Of a machine of this name: nodes of a cluster share a home, and measure for themselves."""
    return cache_folder() / f"step_times_{VERSION}_{digest(name)[:12]}.json"


def keep(times: StepTimes) -> None:
    """Keep a machine's constants for later runs."""
    path = _file(times.machine)
    make_private(path.parent)
    write_atomically(path, times.model_dump_json().encode())


def _kept() -> StepTimes | None:
    with suppress(OSError, ValidationError):
        kept = StepTimes.model_validate_json(_file(machine()).read_bytes())
        return kept if kept.machine == machine() else None
    return None


@lru_cache(maxsize=1)
def _measured() -> StepTimes:
    """Measured in a process of its own, with one thread; typical ones that never compile where that fails.

    Only what could be measured is kept: a compiler that is not there, or fails, may be there the next time.
    """
    if shutil.which(compiler()) is None:
        log.warning("no compiler here, %s: steps are recorded and not compiled", printable(compiler(), 100))
        return UNCOMPILED
    log.warning("measuring once what training steps take on this machine, about a minute")
    places = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(places)}
    # Without -P modules of the folder that this was called in would take the place of others of their name.
    command = [sys.executable, "-P", "-m", "ebm_vs_prob.study.step_probe"]
    try:
        found = subprocess.run(command, env=environment, capture_output=True, timeout=PROBE_LIMIT, check=True)
        times = StepTimes.model_validate_json(found.stdout)
    except (OSError, subprocess.SubprocessError, ValidationError) as error:
        detail = getattr(error, "stderr", b"") or b""
        last = detail.decode(errors="replace").strip().rpartition("\n")[2]
        log.warning("they could not be measured, and nothing is compiled: %s", printable(last or str(error), 300))
        return UNCOMPILED
    if times.compile is None:
        log.warning("the compiler %s does not work: steps are recorded and not compiled", printable(compiler(), 100))
        return times
    with suppress(OSError):  # measured again by the next run
        keep(times)
    return times
