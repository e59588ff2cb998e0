"""What a fit may spend, and what it spent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .options import Options


class Budget(Options):
    """What one replicate may spend. Every method of a comparison gets the same.

    `multiply_adds` is the second arm of a comparison: the number of steps then follows from what a step of the method
    costs, so that cheap methods take more of them.
    """

    steps: Annotated[int, Field(ge=1, le=10**8, description="gradient steps")] = 2000
    batch_size: Annotated[int, Field(ge=1, le=10**7, description="examples a minibatch")] = 64
    examples: Annotated[int, Field(ge=2, le=10**8, description="training examples drawn once")] = 1000
    multiply_adds: Annotated[
        float | None, Field(gt=0, le=1e18, description="if given, replaces `steps`: multiply-adds to spend in training")
    ] = None

    def steps_for(self, multiply_adds_per_step: float) -> int:
        """Gradient steps this budget pays for when one step of one replicate costs that many multiply-adds."""
        if self.multiply_adds is None:
            return self.steps
        return max(1, int(self.multiply_adds // max(multiply_adds_per_step, 1.0)))


class Cost(Options):
    """What one replicate spent. Counted from shapes, except the seconds."""

    steps: Annotated[int, Field(le=10**18)]
    energy_evaluations: float  # forward 1, each backward 2, an example
    multiply_adds: float
    seconds: float  # wall time of the batch divided by its replicates, without recording or compiling a step
