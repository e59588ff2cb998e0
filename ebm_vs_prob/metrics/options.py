"""How much an evaluation looks at: the same numbers for every method of a comparison."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

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
    target_radius: Annotated[float, Field(gt=0, description="a descent succeeds within this of the answer set")] = 0.05
    fixed_steps: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        Field(min_length=1, max_length=100, description="step sizes of the rules `fixed` and `scaled`"),
    ] = (0.003, 0.01, 0.03, 0.1, 0.3)
    reference_thickness: Annotated[
        float,
        Field(
            gt=0, description="thickness at which `scaled` takes the steps of `fixed`; below it, smaller by the square"
        ),
    ] = 0.3
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of starts, samples and uniform points")] = 0
