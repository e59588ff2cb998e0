"""Arms of a study: the methods that it contrasts, each with its options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..core.options import Options
from .values import Line, Name, Short, Trunk


class Arm(Options):
    """A method with its options: what verdicts contrast."""

    name: Annotated[Name, Field(description="what criteria call it")]
    label: Annotated[Line, Field(description="what reports call it; the name by default")] = ""
    method: Annotated[Short, Field(description="the registered method")]
    options: Annotated[dict[str, Any], Field(default_factory=dict, description="options of the method")]
    network: Annotated[
        Trunk,
        Field(default_factory=dict, description="what differs from the scale's network, or an energy of your own"),
    ]
    scale: Annotated[
        Literal["thickness"] | None, Field(description="give the method the thickness as its `scale` option")
    ] = None
    scale_floor: Annotated[float, Field(gt=0, description="least `scale` given, for thickness 0")] = 0.003
    tasks: Annotated[
        tuple[Short, ...] | None, Field(min_length=1, description="the tasks it runs on; all by default")
    ] = None
    validation: Annotated[
        Short | None,
        Field(description="the metric that it is tuned by, which has a better side; that of its principle by default"),
    ] = None

    @property
    def title(self) -> str:
        """The label for people, the name where there is none."""
        return self.label or self.name
