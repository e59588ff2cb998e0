"""Curves of a report: every metric against what its task varies along."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..study.task_grids import THICKNESS
from .arm_rows import NAMES, row_panel
from .guides import draw_asked, laws, positions
from .inputs import Inputs
from .rendering import part, specification
from .style import (
    GROUPS,
    Look,
    digits,
    in_order,
    metric_look,
    plain,
    unit_of,
    value_at,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..study.verdicts import Verdict

#: Logarithmic axes end so many decades below the largest value.
_DECADES = 5
#: Pixels of a panel of curves.
PANEL = (250, 150)
CURVE_COLUMNS = ("arm", "metric", "at", "place", "value", "low", "high", "n", "zero")


def metric_groups(inputs: Inputs, task: str) -> dict[str, list[str]]:
    """Metrics of a task that have a value, by group of figures; the cost is for the tables."""
    rows = inputs.primary[inputs.primary["task"] == task]
    present = in_order(rows.loc[rows["value"].notna(), "metric"].dropna().unique())
    groups: dict[str, list[str]] = {group: [] for group in GROUPS if group != "cost"}
    for name in present:
        if metric_look(name).group in groups:
            groups[metric_look(name).group].append(name)
    return {group: names for group, names in groups.items() if names}


def curve_data(inputs: Inputs, task: str, numbers: pd.DataFrame) -> dict[str, list[Any]]:
    """What the curves of a task show: estimates with intervals, once for all of its figures.

    Args:
        numbers: of `tables.every_metric`.
    """
    look_of = inputs.looks()
    place = positions(inputs.settings(task), inputs.axis(task))
    # Arms stand side by side, all of them within a third of the way from one setting to the next.
    step = min(0.018, _gap(place) / (3 * len(look_of)))
    sides = {name: (index - (len(look_of) - 1) / 2) * step for index, name in enumerate(look_of)}
    rows = []
    primary = numbers[numbers["budget"] == "equal_steps"] if len(numbers) else numbers
    for row in primary.to_dict("records"):
        at = row[inputs.axis(task)]
        if math.isfinite(row["estimate"]) and at in place and row["arm"] in look_of:
            rows.append(
                [look_of[row["arm"]].label, row["metric"], inputs.place(task, at),
                 round(place[at] + sides[row["arm"]], 4), *(digits(row[name]) for name in ("estimate", "low", "high")),
                 int(row["n"]), at == 0 and inputs.axis(task) == THICKNESS]
            )  # fmt: skip
    return {"columns": list(CURVE_COLUMNS), "rows": rows}


def _gap(place: Mapping[float, float]) -> float:
    """The least distance between two settings on an axis; of one alone, 1."""
    return min((after - before for before, after in pairwise(sorted(place.values()))), default=1.0)


def arm_scales(looks: Sequence[Look]) -> tuple[Any, Any]:
    """Colours and shapes of arms, by label."""
    import altair as alt

    labels = [look.label for look in looks]
    return (
        alt.Scale(domain=labels, range=[look.colour for look in looks]),
        alt.Scale(domain=labels, range=[look.shape for look in looks]),
    )


def metric_chart(
    inputs: Inputs,
    shown: Sequence[tuple[str, str]],
    curves: Mapping[str, Mapping[str, Sequence[Any]]],
    asked: Sequence[Verdict] = (),
) -> dict[str, Any]:
    """A panel for each task and metric, every arm with its interval over seeds: against the task's settings, or, where
    no task has more than one, in rows.

    A task's data set is `curves-` and its name; `arms` is the list of labels that are shown. Arms that `asked`, the
    comparisons of a criterion, do not speak of are pale, and its bounds are drawn where it is about the values.
    """
    tasks = list(dict.fromkeys(task for task, _ in shown))
    names = {name for _, name in shown}
    present = {row[0] for task in tasks for row in curves[task]["rows"] if row[1] in names}
    looks = [look for look in inputs.looks().values() if look.label in present]
    of_metric = dict(iter(inputs.primary.groupby(["task", "metric"])))
    rows = all(len(inputs.settings(task)) == 1 for task in tasks)
    panels = []
    for task, name in shown:
        here = of_metric.get((task, name), inputs.primary.iloc[:0])
        scale, floor = _value_scale(here, name)
        axis = {"format": ".6~g", "tickCount": 5} | ({} if floor is None else {"values": _ticks(*scale["domain"])})
        # A single panel has the title of its figure.
        title = None if len(shown) == 1 else with_unit(name, here) if len(tasks) == 1 else task
        if rows:
            panel = row_panel(task, name, looks, scale, axis, _tooltip(name))
        else:
            panel = _curves_panel(inputs, task, name, looks, here, (scale, axis, floor))
        panels.append({"title": title, "width": PANEL[0], **panel})
    for panel in panels:
        draw_asked(panel, asked, looks, rows)
    composed = {"concat": panels, "columns": 3, "spacing": 26, "usermeta": {"beside": NAMES + 12 if rows else 62}}
    return specification(composed, arms=[look.label for look in looks])


def _curves_panel(
    inputs: Inputs,
    task: str,
    name: str,
    looks: Sequence[Look],
    here: pd.DataFrame,
    values: tuple[dict[str, Any], dict[str, Any], float | None],
) -> dict[str, Any]:
    """A metric against the settings of its task; `values` are scale, axis and floor of its own."""
    scale, axis, floor = values
    template, shared = _panel(inputs.symbol(task), inputs.axis(task), tuple(inputs.settings(task)), tuple(looks), name)
    layers = [{**layer, "encoding": {**layer["encoding"]}} for layer in template]
    for layer in layers:
        layer["encoding"]["y"] = {**layer["encoding"]["y"], "scale": scale, "axis": axis}
    chosen = f"datum.metric === {json.dumps(name)} && indexof(arms, datum.arm) >= 0"
    low = []
    if floor is not None:  # a logarithmic axis, on which 0 has no place
        chosen += " && datum.value > 0"
        low = [{"calculate": f"max(datum.low, {floor!r})", "as": "low"}]
    return {
        "data": {"name": f"curves-{task}"},
        "height": PANEL[1],
        "transform": [{"filter": chosen}, *low],
        "encoding": shared,
        "layer": [*layers, *laws(inputs, task, name, here, layers[-1]["encoding"]["y"])],
    }


def _tooltip(name: str) -> list[Any]:
    """What a point says of itself, its metric by name and unit."""
    import altair as alt

    return [
        alt.Tooltip("arm:N"),
        alt.Tooltip("at:N", title="setting"),
        alt.Tooltip("value:Q", title=f"{metric_look(name).label}{f' ({unit_of(name)})' if unit_of(name) else ''}",
                    format=".4~g"),
        alt.Tooltip("low:Q", title="95 % from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("n:Q", title="seeds"),
    ]  # fmt: skip


@lru_cache(maxsize=256)
def _panel(
    name: str, axis: str, settings: tuple[float, ...], looks: tuple[Look, ...], metric: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Layers of a panel of curves, all but what its metric says; and what all its layers share, axis and colours.

    They are read and never written: a report has the same ones many times.
    """
    import altair as alt

    colours, shapes = arm_scales(looks)
    place = positions(settings, axis)
    # At either end the arms of a setting reach half as far beyond it.
    room = 0.08 * (max(place.values()) - min(place.values())) + _gap(place) / 6
    labels = {f"{at:.3f}": value_at(axis, setting) for setting, at in place.items()}
    x = alt.X(
        "place:Q",
        title=f"thickness {name}" if axis == THICKNESS else name,
        scale=alt.Scale(domain=[min(place.values()) - room, max(place.values()) + room], nice=False, zero=False),
        axis=alt.Axis(
            values=list(place.values()),
            labelExpr=f"{labels}[format(datum.value, '.3f')]",
            grid=False,
            labelOverlap=True,
        ),
    )
    shared = part(alt.Chart().mark_point().encode(x=x, color=alt.Color("arm:N", scale=colours, title=None)))
    base = alt.Chart()
    y = alt.Y("value:Q", title=None)
    layers = [
        # One seed has no interval.
        base.transform_filter("isValid(datum.high)")
        .mark_rule(strokeWidth=1.2, clip=True)
        .encode(y=alt.Y("low:Q", title=None), y2="high:Q"),
        base.mark_line(strokeWidth=1.6, clip=True).encode(y=y, detail="zero:N"),
        base.mark_point(filled=True, size=42, opacity=1, clip=True).encode(
            y=y, shape=alt.Shape("arm:N", scale=shapes, title=None), tooltip=_tooltip(metric)
        ),
    ]
    return [part(layer) for layer in layers], shared["encoding"]


def with_unit(name: str, rows: pd.DataFrame) -> str:
    """A metric's label, with its unit in brackets where it has one."""
    unit = unit_of(name, rows["unit"])
    return f"{metric_look(name).label} ({unit})" if unit else metric_look(name).label


def _value_scale(rows: pd.DataFrame, name: str) -> tuple[dict[str, Any], float | None]:
    """The axis of a metric, and the least value that a logarithmic one shows."""
    look = metric_look(name)
    values = rows["value"].dropna()
    if look.scale == "log" and (values > 0).any():
        # The axis follows the seeds, not the bars, and is cut where round-off takes over (distances of exact answers).
        # What was learned sets its top: the exact density as a landscape is steeper by many decades.
        learned = rows.loc[rows["principle"] != "exact", "value"].dropna()
        high = float((learned if (learned > 0).any() else values).max())
        low = max(float(values[values > 0].min()), high * 10.0**-_DECADES)
        return {"type": "log", "domain": [low / 1.6, high * 1.6], "nice": False}, low / 1.6
    if look.scale == "share":
        return {"domain": [-0.04, 1.04], "nice": False}, None
    return {"zero": False}, None


def _ticks(low: float, high: float) -> list[float]:
    """Decades on a logarithmic axis; 1, 2 and 5 of each where it has few."""
    parts = (1.0,) if high >= 100 * low else (1.0, 2.0, 5.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [float(f"{k * 10.0**n:.6g}") for n in powers for k in parts if low <= k * 10.0**n <= high]


def describe_curves(
    shown: Sequence[tuple[str, str]], curves: Mapping[str, Mapping[str, Sequence[Any]]], most: int = 40
) -> str:
    """Each curve by its ends, for who cannot see it."""
    ends: dict[tuple[str, str, str], list[Any]] = {}
    for task in dict.fromkeys(task for task, _ in shown):
        for row in curves[task]["rows"]:
            if (task, row[1]) in shown:
                ends.setdefault((task, row[1], row[0]), []).append(row)
    said = [
        f"{metric_look(metric).label} on {task}, {arm}: {plain(rows[0][4])} at {rows[0][2]}"
        + (f", {plain(rows[-1][4])} at {rows[-1][2]}" if len(rows) > 1 else "")
        for (task, metric, arm), rows in ends.items()
    ]
    more = f" And {len(said) - most} more, in the tables." if len(said) > most else ""
    return ". ".join(said[:most]) + "." + more if said else "No values."
