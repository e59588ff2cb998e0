"""What the likelihood methods share that estimate log Z from draws of a kernel proposal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..training.smoothing import SmoothingOptions


class GibbsMaximumLikelihoodOptions(SmoothingOptions):
    proposals: Annotated[int, Field(ge=2, description="importance samples of log Z an example")] = 8
    neighbours: Annotated[int, Field(ge=1, description="training answers that centre the proposal's kernels")] = 16
    widths: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None,
        Field(description="the proposal's kernel widths in units of `scale`; learned from the data where not given"),
    ] = None
