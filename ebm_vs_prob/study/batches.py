"""Batches: trials that differ only in numbers, trained together; how large they are, and what compiling them saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .cost import seconds_to_measure
from .grid import Condition, Trial
from .keys import digest
from .step_times import StepTimes, worth_measuring

#: Bytes of activations and weights that one training step may touch on a CPU: a core's share of a last-level cache.
CACHE_BYTES = 4 * 2**20
MAX_REPLICATES = {"cpu": 32, "cuda": 256}


@dataclass(frozen=True)
class Batch:
    """Trials that are trained together; the key names them, the device and `compile`, which their timings depend on.

    `multiply_adds` is an estimate for the whole batch; trials at `first_seed`, the study's, keep arrays for pictures.
    """

    key: str
    trials: tuple[Trial, ...]
    device: str
    compile: bool
    multiply_adds: float
    first_seed: int

    @classmethod
    def of(cls, trials: Sequence[Trial], device: str, compile: bool, multiply_adds: float, first_seed: int) -> Batch:
        """A batch with its key."""
        identity = {"trials": [trial.key for trial in trials], "device": device, "compile": compile}
        return cls(digest(identity), tuple(trials), device, compile, multiply_adds, first_seed)

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches of half the trials each, to find the one that breaks the whole."""
        middle = len(self.trials) // 2
        first, second = (
            Batch.of(
                part, self.device, self.compile, self.multiply_adds * len(part) / len(self.trials), self.first_seed
            )
            for part in (self.trials[:middle], self.trials[middle:])
        )
        return first, second


@dataclass(frozen=True)
class Group:
    """Conditions whose trials train together on a device.

    `program_steps` are the steps of all batches of the plan that run the same program as its largest, `program_groups`
    of how many groups they are. A last batch of fewer trials is a program of its own.
    """

    conditions: tuple[Condition, ...]
    device: str
    program_steps: int = 0
    program_groups: int = 1

    @property
    def first(self) -> Condition:
        """One of them, for what all have in common."""
        return self.conditions[0]

    @property
    def trials(self) -> int:
        """How many there are."""
        return sum(len(condition.seeds) for condition in self.conditions)

    @property
    def multiply_adds(self) -> float:
        """Estimated for all of them."""
        return sum(condition.multiply_adds * len(condition.seeds) for condition in self.conditions)

    @property
    def most_replicates(self) -> int:
        """Trials that a batch may have."""
        if not self.first.batchable:
            return 1
        if self.device != "cpu":
            return MAX_REPLICATES[self.device]
        specification = self.first.specification
        bytes_per_number = 8 if specification["dtype"] == "float64" else 4
        fitting = replicates_in_cache(self.first.widths, specification["budget"]["batch_size"], bytes_per_number)
        return min(MAX_REPLICATES["cpu"], fitting)

    @property
    def largest(self) -> int:
        """Trials of the largest batch."""
        return min(self.trials, self.most_replicates)

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-self.trials // self.most_replicates)

    def compiles(self, asked: str, times: StepTimes) -> bool:
        """Whether training steps are compiled, of whatever trials are run: `asked` is a scale's `compile`."""
        if asked != "auto" or not self.first.compilable:
            return asked == "always" and self.first.compilable
        programs = [(self.program_steps, self._evaluations(self.largest))]
        if self._has_smaller_last:
            programs.append((self.first.steps, self._evaluations(self.trials % self.most_replicates)))
        # What compiling saves on a GPU is not measured.
        return self.device == "cpu" and times.pays(programs, self.first.widths)

    @property
    def may_compile(self) -> bool:
        """Whether the steps take so long that how long they take here is worth to know."""
        evaluations = self._evaluations(self.largest)
        return self.first.compilable and worth_measuring(self.program_steps, evaluations, self.first.widths)

    @property
    def steps_of_largest(self) -> int:
        """Steps of all batches that are as large as the largest."""
        return self.first.steps * max(1, self.trials // self.most_replicates)

    @property
    def program(self) -> tuple[str, int]:
        """What batches have in common that run one program."""
        return self.first.program, self.largest

    def step_seconds(self, times: StepTimes, replicates: int, compiled: bool) -> float:
        """Predicted seconds of a step of a batch of so many replicates; 0 where nothing is trained by steps."""
        if not self.first.steps:
            return 0.0
        return times.seconds(compiled, self._evaluations(replicates), self.first.widths)

    def core_seconds(self, times: StepTimes, compiled: bool) -> float:
        """Predicted seconds of one core that trains and measures all trials."""
        full, left = divmod(self.trials, self.most_replicates)
        step = full * self.step_seconds(times, self.most_replicates, compiled)
        step += self.step_seconds(times, left, compiled) if left else 0.0
        programs = 1 / self.program_groups + self._has_smaller_last
        compiling = programs * times.compiling if compiled else 0.0
        measuring = seconds_to_measure(self.first.specification["evaluation"])
        return compiling + self.first.steps * step + self.trials * measuring

    @property
    def _has_smaller_last(self) -> bool:
        full, left = divmod(self.trials, self.most_replicates)
        return full > 0 and left > 0

    def _evaluations(self, replicates: int) -> float:
        return self.first.evaluations * self.first.specification["budget"]["batch_size"] * replicates


def replicates_in_cache(widths: Sequence[int], batch_size: int, bytes_per_number: int = 4) -> int:
    """Replicates whose training step stays in `CACHE_BYTES`: a rule of thumb for a CPU, from shapes alone.

    A step touches about three arrays of `batch_size` numbers for each unit (value, derivative, gradient) and four for
    each weight (value, gradient, Adam's two moments).
    """
    parameters = sum((before + 1) * after for before, after in pairwise(widths))
    touched = bytes_per_number * (3 * batch_size * sum(widths) + 4 * parameters)
    return max(1, CACHE_BYTES // touched)
