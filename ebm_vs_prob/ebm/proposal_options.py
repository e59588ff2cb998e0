"""Options shared by the methods that contrast the data with draws of a kernel proposal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..proposals import Centers
from .regularisers import RegularisedOptions


class ProposalOptions(RegularisedOptions):
    """Options of every method that draws from a kernel proposal."""

    proposals: Annotated[int, Field(ge=2, description="draws of the proposal an example")] = 8
    neighbours: Annotated[int, Field(ge=1, description="training answers that centre the proposal's kernels")] = 16
    widths: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None,
        Field(min_length=1, description="the proposal's kernel widths in units of `scale`; learned where not given"),
    ] = None
    centers: Annotated[
        Centers,
        Field(description="where kernels sit: answers of `neighbours` in x, or each example's own `answer` alone"),
    ] = "neighbours"
