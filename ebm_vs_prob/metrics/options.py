"""How much an evaluation looks at: the same numbers for every method of a comparison."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ..core.errors import unknown
from ..core.options import Options


class Evaluation(Options):
    """The knobs of `evaluate`. All counts are for one replicate; all lengths are in the task's units."""

    test_examples: Annotated[int, Field(ge=2, le=10**7, description="held-out pairs (x, y)")] = 512
    inputs: Annotated[int, Field(ge=1, description="held-out x that are answered and sampled at")] = 32
    starts: Annotated[int, Field(ge=1, description="starts of descent for each of them")] = 16
    partitions: Annotated[
        int,
        Field(
            ge=2,
            description="held-out pairs of `gibbs_gap` and `gibbs_log_score` where each x has a partition function",
        ),
    ] = 32
    samples: Annotated[int, Field(ge=2, le=10**8, description="samples in all, spread over the inputs, 2 at least")] = (
        512
    )
    max_steps: Annotated[int, Field(ge=1, description="steps a descent may take")] = 200
    tolerance: Annotated[float, Field(gt=0, description="a descent stops once a step moves it by less")] = 1e-4
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of starts, samples and uniform points")] = 0
    metrics: Annotated[
        tuple[str, ...],
        Field(description="what is measured, with what is measured together with it, and what it cost; all if empty"),
    ] = ()

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from .catalogue import METRICS

        for name in names:
            if name not in METRICS:
                raise ValueError(f"metrics that there are: {unknown('metric', name, METRICS)}")
        if len(set(names)) < len(names):
            raise ValueError("each metric once")
        return names
