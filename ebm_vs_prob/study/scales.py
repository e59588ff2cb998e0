"""Scales of a study: how large its runs are, and what is said of those that are not for citing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..core.options import Options
from .values import Name, Setting, Short, Trunk

#: The scale that every study has for a first look, in minutes: what it says is no result.
DEMONSTRATION = "quick"

#: What the name of a scale has in it that a run was shrunk to, `study.shrinking`.
SHRUNK = "-shrunk-"
#: What the name of the scale of each round of tuning has in it, and that of no scale of a file.
TUNING = ".tuning-"


class Scale(Options):
    """How large a run is: its seeds, `seeds` of them from `first_seed` on, and the options of `Network`, `Budget` and
    `Evaluation`."""

    seeds: Annotated[int, Field(ge=1, le=1_000_000, description="how many models of a kind are trained")]
    first_seed: Annotated[int, Field(ge=0, le=2**62, description="the first of them")] = 0
    within: Annotated[
        dict[Short, tuple[float, float]],
        Field(default_factory=dict, description="least and most of an option that a task lists: others are left out"),
    ]
    tasks: Annotated[tuple[Short, ...], Field(description="those of the study that it runs; all by default")] = ()
    arms: Annotated[tuple[Short, ...], Field(description="those of the study that it runs; all by default")] = ()
    network: Annotated[
        Trunk, Field(default_factory=dict, description="options of `Network`, or an energy of your own, `module:name`")
    ]
    budget: Annotated[
        dict[str, Any], Field(default_factory=dict, description="options of `Budget`; verdicts are at it")
    ]
    budgets: Annotated[
        dict[Name, dict[str, Any]],
        Field(default_factory=dict, description="further budget arms by name; each replaces entries of `budget`"),
    ]
    evaluation: Annotated[
        dict[str, Any], Field(default_factory=dict, description="replaces entries of the study's `evaluation`")
    ]
    dtype: Annotated[Literal["float32", "float64"], Field(description="of networks and data in training")] = "float32"
    float64_below: Annotated[
        Setting, Field(description="thickness below which all is float64, whatever `dtype` says")
    ] = 0.0
    compile: Annotated[
        Literal["auto", "always", "never"],
        Field(description="whether training steps are compiled; auto: where the plan predicts that it pays"),
    ] = "auto"
    time_limit: Annotated[
        float, Field(gt=0, le=366 * 86400, description="seconds a batch may take before its worker is stopped")
    ] = 3600.0

    @property
    def all_seeds(self) -> range:
        """The seeds of a run."""
        return range(self.first_seed, self.first_seed + self.seeds)


def caveat(scale: str) -> str:
    """What is said beside every verdict of a scale; "" where it may be cited."""
    if SHRUNK in scale:
        return "shrunk, never for citing"
    return f"{DEMONSTRATION}, not for citing" if scale == DEMONSTRATION else ""
