"""What a study decides: its criteria, the gates that its arms pass first, and where else it asks them again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ..core.options import Options
from .values import Id, Line, Name, Setting, Short


class Criterion(Options):
    """What is decided, as a bound on a number.

    `slope`: of ln metric in the ln of what the task varies along, over `range`; `rate`: of ln metric in that itself;
    `value`: the metric of `arms` at each setting of `at`; `difference` and `ratio`: of `arms` against `against` there;
    `share`: of all cells (arm, task and setting), those that come out as told: above `split` of `arms`, below of
    `against`. A task that varies along nothing needs no `at`. `below` and `above` bound the interval of the effect;
    `law` is the value that theory predicts. A claim is decided by its primary criterion alone. `smallest_effect` and
    `scatter` decide nothing: `plan` says by them how probably the criterion is decided.
    """

    id: Annotated[Id, Field(description="what reports call it")]
    claim: Annotated[Id, Field(description="the claim it speaks of, one of the study's `claims`")]
    primary: Annotated[
        bool, Field(description="decides its claim; where a claim has one criterion only it does so unasked")
    ] = False
    statement: Annotated[Line, Field(description="what holds where it is supported, in a sentence")]
    kind: Annotated[
        Literal["slope", "rate", "value", "difference", "ratio", "share"],
        Field(description="what is made of the metric"),
    ]
    metric: Annotated[Short, Field(description="one of `docs/metrics.md`")]
    arms: Annotated[tuple[Short, ...], Field(min_length=1, description="each is held to the bounds by itself")]
    against: Annotated[
        tuple[Short, ...], Field(description="each of `arms` is compared with each of these, seed by seed")
    ] = ()
    tasks: Annotated[tuple[Short, ...], Field(min_length=1, description="where, all along one option")]
    at: Annotated[
        tuple[Setting, ...],
        Field(max_length=1000, description="settings, at all of which it must hold; not of a slope"),
    ] = ()
    range: Annotated[
        tuple[Setting, Setting] | None, Field(description="least and most setting of a slope or a rate")
    ] = None
    split: Annotated[
        float | None, Field(description="of a share: where its metric tells one outcome from the other")
    ] = None
    statistic: Annotated[
        Literal["median"] | None,
        Field(description="what stands for the seeds; by the metric's scale where it is not said"),
    ] = None
    below: Annotated[float | None, Field(description="the effect lies below it")] = None
    above: Annotated[float | None, Field(description="the effect lies above it")] = None
    law: Annotated[
        float | None, Field(description="what theory says the effect is; shown, and held against bounds")
    ] = None
    smallest_effect: Annotated[
        float | None, Field(description="the effect nearest to the bounds that is to be found; `law` by default")
    ] = None
    scatter: Annotated[
        float | None,
        Field(
            gt=0,
            description="standard deviation of the effect over seeds, of its logarithm where means are geometric; "
            "an earlier report's by default",
        ),
    ] = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_stated(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Results are known by what is written of their criteria, and one of which no power is stated is what it was.
        return {
            name: value
            for name, value in written(self).items()
            if name not in ("smallest_effect", "scatter") or value is not None
        }


class Gate(Options):
    """What an arm must reach to count as trained: one that misses it is shown as untrained, and decides nothing."""

    metric: Annotated[Short, Field(description="of which the mean over seeds is held to the bounds")]
    at: Annotated[Setting | None, Field(description="where it is held; at the thickest, or first, by default")] = None
    below: Annotated[float | None, Field(description="most that the mean over seeds may be")] = None
    above: Annotated[float | None, Field(description="least that it may be")] = None
    arms: Annotated[tuple[Short, ...], Field(description="those that it holds; all that have the metric")] = ()
    tasks: Annotated[tuple[Short, ...], Field(description="where it holds; on all")] = ()


class Ladder(Options):
    """Whether a criterion's effect would be the same at another budget, asked in one cell of the grid.

    The cell, one task at one setting, is run at the scale's own budget, at a quarter of it, at a sixteenth and so on.
    Where the effects at the two largest budgets differ, what the criterion decides holds "at this budget".
    """

    criterion: Annotated[Id, Field(description="of which the effect is followed, of all its arms")]
    task: Annotated[Short, Field(description="one of the criterion's; the first by default")] = ""
    at: Annotated[
        Setting | None, Field(description="one setting of the criterion's `at`, the first by default; not of a slope")
    ] = None
    rungs: Annotated[int, Field(ge=3, le=8, description="budgets in all, the scale's own with them")] = 3
    tolerance: Annotated[
        float | None,
        Field(
            gt=0,
            description="the last two effects are one also where they are no further apart, and not only where "
            "their intervals overlap",
        ),
    ] = None


class Sensitivity(Options):
    """Whether criteria would be decided the same at another network, or at another size of data, than the scale's own.

    Every cell (arm, task and setting) that these criteria look at is run again, at all seeds of the scale, with the
    options here in place of the scale's and with all else as it is. An arm keeps what it sets in a `network` of its
    own, and the value that was tuned for it at the scale's own network and budget. Arms that train nothing, as `exact`,
    are not run again, and a criterion none of whose arms would be another model is refused. A comparison that comes out
    on the other side there is `qualified`, and so is the claim that it decides.
    """

    name: Annotated[Name, Field(description="what results and reports call it; no name of a budget")]
    network: Annotated[
        dict[str, Any], Field(default_factory=dict, description="options of `Network` in place of the scale's")
    ]
    budget: Annotated[
        dict[str, Any], Field(default_factory=dict, description="options of `Budget` in place of the scale's `budget`")
    ]
    scales: Annotated[tuple[Short, ...], Field(description="those at which it is asked; all by default")] = ()
    criteria: Annotated[
        tuple[Id, ...], Field(description="those that are asked again; the primary ones by default")
    ] = ()
