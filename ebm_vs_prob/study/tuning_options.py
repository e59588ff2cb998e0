"""Options of a tuning: the values that an option of the arms is chosen from, and how each is tried."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..core.options import Options
from .values import Setting, Short


class Tuning(Options):
    """How an option is chosen for every arm that is trained and does not give it itself, before the study is run.

    Each such arm is trained with each value, and gets the one with the best validation objective over all seeds, tasks
    and settings of the tuning. An optimum at an edge has further values tried beyond it.
    """

    scales: Annotated[
        tuple[Short, ...],
        Field(description="where it is done, all by default; elsewhere arms have the middle value"),
    ] = ()
    values: Annotated[
        dict[Short, Annotated[tuple[Annotated[float, Field(gt=0, le=1e9)], ...], Field(min_length=5, max_length=100)]],
        Field(min_length=1, max_length=1, description="the option, and five positive values of it or more, ascending"),
    ]
    seeds: Annotated[int, Field(ge=1, le=1000, description="how many each value is tried with")] = 3
    first_seed: Annotated[
        int, Field(ge=0, le=2**62, description="the first of them, which are none of the study's own")
    ] = 200
    budget: Annotated[
        dict[str, Any], Field(default_factory=dict, description="replaces entries of the scale's `budget`")
    ]
    tasks: Annotated[
        tuple[Short, ...], Field(description="where it is tried; on all whose held-out data each seed draws anew")
    ] = ()
    along: Annotated[
        dict[Short, Annotated[tuple[Setting, ...], Field(min_length=1, max_length=1000)]],
        Field(default_factory=dict, description="settings of what tasks vary along, in place of all of the scale's"),
    ]

    @property
    def option(self) -> str:
        """The option that is chosen."""
        return next(iter(self.values))

    @property
    def tried(self) -> tuple[float, ...]:
        """The values that it is chosen from at first."""
        return self.values[self.option]

    @property
    def all_seeds(self) -> range:
        """The seeds that every value is tried with."""
        return range(self.first_seed, self.first_seed + self.seeds)
