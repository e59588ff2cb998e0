# ruff: noqa: RUF001
"""Charts of a report: every metric against what its task varies along, and the intervals behind verdicts, as rows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.comparisons import GROWTHS, Cell, in_range
from ..study.schema import THICKNESS
from ..study.verdicts import Verdict
from .inputs import Inputs
from .rendering import part, specification
from .style import (
    GROUPS,
    OUTCOME_COLOURS,
    OUTCOME_SHAPES,
    Look,
    in_order,
    interval,
    metric_look,
    minus,
    plain,
    quantity,
    summarise,
    symbol,
    unit_of,
)

if TYPE_CHECKING:
    import pandas as pd

#: Logarithmic axes end so many decades below the largest value.
_DECADES = 5
#: Pixels of a panel of curves; of intervals with their numbers and without, and of one of their rows, which fit the
#: width of a telephone.
PANEL, INTERVALS, PLOT, ROW = (250, 150), 326, 212, 38
CURVE_COLUMNS = ("arm", "metric", "at", "place", "value", "low", "high", "n", "zero")


def positions(settings: Sequence[float], axis: str = THICKNESS) -> dict[float, float]:
    """Where settings stand on an axis: thickness by -log10, 0 a step beyond the thinnest, anything else by its order,
    which is how settings are chosen: numbers of dimensions double, shares go in equal steps."""
    if axis != THICKNESS:
        return {at: 0.5 * index for index, at in enumerate(settings)}
    positive = [eps for eps in settings if eps > 0]
    place = {eps: -math.log10(eps) for eps in positive}
    last = max(place.values(), default=0.0)
    gaps = np.diff(sorted(place.values()))
    return place | {eps: last + (float(gaps.mean()) if gaps.size else 1.0) for eps in settings if eps == 0}


def metric_groups(inputs: Inputs, task: str) -> dict[str, list[str]]:
    """Metrics of a task that have a value, by group of figures; the cost is for the tables."""
    rows = inputs.primary[inputs.primary["task"] == task]
    present = in_order(rows.loc[rows["value"].notna(), "metric"].dropna().unique())
    groups: dict[str, list[str]] = {group: [] for group in GROUPS if group != "cost"}
    for name in present:
        # A sweep over steps is shown by its successes; how many steps each took is in the tables.
        if metric_look(name).group in groups and not re.match(r"descent_steps_.*@", name):
            groups[metric_look(name).group].append(name)
    return {group: names for group, names in groups.items() if names}


def curve_data(inputs: Inputs, task: str, numbers: pd.DataFrame) -> dict[str, list[Any]]:
    """What the curves of a task show: estimates with intervals, once for all of its figures.

    Args:
        numbers: of `tables.every_metric`.
    """
    look_of = inputs.looks()
    place = positions(inputs.settings(task), inputs.axis(task))
    sides = {name: (index - (len(look_of) - 1) / 2) * 0.018 for index, name in enumerate(look_of)}
    rows = []
    primary = numbers[numbers["budget"] == "equal_steps"] if len(numbers) else numbers
    for row in primary.to_dict("records"):
        at = row[inputs.axis(task)]
        if math.isfinite(row["estimate"]) and at in place and row["arm"] in look_of:
            rows.append(
                [look_of[row["arm"]].label, row["metric"], f"{inputs.symbol(task)} = {at:g}",
                 round(place[at] + sides[row["arm"]], 4), *(_digits(row[name]) for name in ("estimate", "low", "high")),
                 int(row["n"]), at == 0 and inputs.axis(task) == THICKNESS]
            )  # fmt: skip
    return {"columns": list(CURVE_COLUMNS), "rows": rows}


def _digits(value: float) -> float | None:
    """Five digits, which no screen shows more than; None of what is not finite."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def arm_scales(looks: Sequence[Look]) -> tuple[Any, Any]:
    """Colours and shapes of arms, by label."""
    import altair as alt

    labels = [look.label for look in looks]
    return (
        alt.Scale(domain=labels, range=[look.colour for look in looks]),
        alt.Scale(domain=labels, range=[look.shape for look in looks]),
    )


def metric_chart(
    inputs: Inputs, shown: Sequence[tuple[str, str]], curves: Mapping[str, Mapping[str, Sequence[Any]]]
) -> dict[str, Any]:
    """A panel for each task and metric against the task's settings, every arm with its interval over seeds.

    A task's data set is `curves-` and its name; `arms` is the list of labels that are shown.
    """
    tasks = list(dict.fromkeys(task for task, _ in shown))
    names = {name for _, name in shown}
    present = {row[0] for task in tasks for row in curves[task]["rows"] if row[1] in names}
    looks = [look for look in inputs.looks().values() if look.label in present]
    templates = {task: _panel(inputs, task, looks) for task in tasks}
    of_metric = dict(iter(inputs.primary.groupby(["task", "metric"])))
    panels = []
    for task, name in shown:
        here = of_metric.get((task, name), inputs.primary.iloc[:0])
        scale, floor = _value_scale(here, name)
        template, x = templates[task]
        layers = [
            {**layer, "encoding": {**layer["encoding"], "y": {**layer["encoding"]["y"], "scale": scale}}}
            for layer in template
        ]
        low = [] if floor is None else [{"calculate": f"max(datum.low, {floor!r})", "as": "low"}]
        chosen = f"datum.metric === {json.dumps(name)} && indexof(arms, datum.arm) >= 0"
        panels.append(
            {
                "title": with_unit(name, here) if len(tasks) == 1 else task,
                "data": {"name": f"curves-{task}"},
                "width": PANEL[0],
                "height": PANEL[1],
                "transform": [{"filter": chosen}, *low],
                "layer": [*layers, *_laws(inputs, task, name, here, x, layers[-1]["encoding"]["y"])],
            }
        )
    composed = {"concat": panels, "columns": 3, "spacing": 26}
    return specification(composed, arms=[look.label for look in looks])


def _panel(inputs: Inputs, task: str, looks: Sequence[Look]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Layers of a panel of curves, all but what its metric says; and its horizontal axis."""
    import altair as alt

    colours, shapes = arm_scales(looks)
    axis = inputs.axis(task)
    place = positions(inputs.settings(task), axis)
    labels = {f"{at:.3f}": f"{setting:g}" for setting, at in place.items()}
    x = alt.X(
        "place:Q",
        title=f"thickness {inputs.symbol(task)}" if axis == THICKNESS else inputs.symbol(task),
        scale=alt.Scale(domain=[min(place.values()) - 0.15, max(place.values()) + 0.15], nice=False, zero=False),
        axis=alt.Axis(
            values=list(place.values()), labelExpr=f"{labels}[format(datum.value, '.3f')]", grid=False, labelOverlap=True
        ),
    )
    base = alt.Chart().encode(x=x, color=alt.Color("arm:N", scale=colours, title=None))
    tooltip = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("at:N", title="setting"),
        alt.Tooltip("metric:N"),
        alt.Tooltip("value:Q", format=".4~g"),
        alt.Tooltip("low:Q", title="95 % from", format=".4~g"),
        alt.Tooltip("high:Q", title="to", format=".4~g"),
        alt.Tooltip("n:Q", title="seeds"),
    ]
    y = alt.Y("value:Q", title=None, axis=alt.Axis(format="~g", tickCount=5))
    layers = [
        base.mark_rule(strokeWidth=1.2, clip=True).encode(y=alt.Y("low:Q", title=None), y2="high:Q"),
        base.mark_line(strokeWidth=1.6, clip=True).encode(y=y, detail="zero:N"),
        base.mark_point(filled=True, size=42, opacity=1, clip=True).encode(
            y=y, shape=alt.Shape("arm:N", scale=shapes, title=None), tooltip=tooltip
        ),
    ]
    parts = [part(layer) for layer in layers]
    return parts, parts[0]["encoding"]["x"]


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


def _laws(
    inputs: Inputs, task: str, name: str, rows: Any, x: Mapping[str, Any], y: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A dashed guide of the slope that theory predicts, from the first arm's value at the thickest point."""
    place = positions(inputs.settings(task), inputs.axis(task))
    layers: list[dict[str, Any]] = []
    for criterion in inputs.study.criteria:
        if criterion.kind != "slope" or criterion.metric != name or task not in criterion.tasks or criterion.law is None:
            continue
        inside = [e for e in place if in_range(e, criterion.range) and e > 0]
        start = rows[(rows["arm"] == criterion.arms[0]) & (rows["setting"] == (inside or [math.nan])[0])]
        anchor = summarise(start["value"], name).value
        if len(inside) > 1 and math.isfinite(anchor):
            law = f"law: slope {minus(f'{criterion.law:g}')}"
            guide = [{"place": place[e], "value": anchor * (e / inside[0]) ** criterion.law, "law": law} for e in inside]
            line = {"type": "line", "color": "currentColor", "strokeDash": [4, 3], "strokeWidth": 1, "clip": True}
            said = {"type": "text", "align": "right", "dx": -4, "dy": -6, "fontSize": 10.5, "color": "currentColor"}
            middle = guide[len(guide) // 2 : len(guide) // 2 + 1]
            layers.append({"data": {"values": guide}, "mark": line, "encoding": {"x": x, "y": y}})
            text = {"x": x, "y": y, "text": {"field": "law", "type": "nominal"}}
            layers.append({"data": {"values": middle}, "mark": said, "encoding": text})
    return layers


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


def at_setting(verdict: Verdict, cell: Cell | None) -> str:
    """Where a cell was tested: `ε = 0.1`; of a growth, which has a range, nothing."""
    if cell is None or verdict.kind in GROWTHS or not cell.at or not math.isfinite(cell.at[0]):
        return ""
    return f"{symbol(verdict.axis)} = {cell.at[0]:g}"


def weakest_cell(verdict: Verdict) -> Cell | None:
    """The cell whose numbers a comparison carries."""
    same = [cell for cell in verdict.cells if cell.estimate == verdict.estimate and cell.low == verdict.low]
    return next(iter([*same, *verdict.cells]), None)


def forest_rows(verdicts: Sequence[Verdict], labels: Mapping[str, str], every: bool) -> tuple[list[dict[str, Any]], str]:
    """Rows of intervals, of each comparison all its settings or the one that it carries; and what all rows share.

    A row is called by what tells it from the others.
    """
    shown = []
    for verdict in verdicts:
        cells = verdict.cells if every else (weakest_cell(verdict),)
        shown += [(verdict, cell) for cell in cells if cell is not None]
    names = [
        (
            labels.get(verdict.arm, verdict.arm),
            f"against {labels.get(verdict.against, verdict.against)}" if verdict.against else "",
            verdict.task,
            at_setting(verdict, cell),
        )
        for verdict, cell in shown
    ]
    differs = [len({name[part] for name in names}) > 1 for part in range(4)]
    shared = [names[0][part] for part in range(4) if not differs[part] and names[0][part]] if names else []
    if not any(differs):
        differs[0], shared = True, shared[1:]
    rows = []
    for (verdict, cell), name in zip(shown, names, strict=True):
        said = f"{plain(cell.estimate)} {interval(cell.low, cell.high)}" if cell.seeds else "no value"
        rows.append(
            {
                "label": ", ".join(part for part, told in zip(name, differs, strict=True) if told and part),
                "whole": ", ".join(part for part in name if part),
                "estimate": _digits(cell.estimate), "low": _digits(cell.low), "high": _digits(cell.high),
                "text": said, "verdict": verdict.verdict, "seeds": cell.seeds,
                "text_place": ROW * len(rows) + 9, "place": ROW * len(rows) + 23,
            }
        )  # fmt: skip
    return rows, ", ".join(shared)


def _logarithmic(criterion: Verdict, shown: Sequence[float]) -> bool:
    """Whether a criterion's numbers belong on a logarithmic axis: positive, and ratios or values decades apart."""
    bounds = [bound for bound in (criterion.above, criterion.below) if bound is not None]
    if not shown or min(*shown, *bounds) <= 0:
        return False
    return criterion.kind == "ratio" or (criterion.kind == "value" and max(shown) > 100 * min(shown))


def forest_chart(
    verdicts: Sequence[Verdict], labels: Mapping[str, str], every: bool = False, seeds: Sequence[Sequence[float]] = ()
) -> dict[str, Any]:
    """Intervals of the comparisons of one criterion as rows, against the bounds it was held to.

    Args:
        every: a row a setting, rather than the one setting whose numbers the comparison carries.
        seeds: the number of each seed, for each row; nothing where it is empty.
    """
    import altair as alt

    first = verdicts[0]
    rows, _ = forest_rows(verdicts, labels, every)
    dots = [
        {"estimate": _digits(value), "place": row["place"], "seed": seed}
        for row, values in zip(rows, seeds or [()] * len(rows), strict=True)
        for seed, value in enumerate(values)
        if math.isfinite(value)
    ]
    marks = [("asked", first.above), ("asked", first.below), ("law", first.law)]
    lines = [(what, value) for what, value in marks if value is not None]
    shown = [row[k] for row in rows for k in ("estimate", "low", "high") if row[k] is not None]
    logarithmic = _logarithmic(first, shown)
    shown += [dot["estimate"] for dot in dots if not logarithmic or dot["estimate"] > 0]
    low, high = _domain([*shown, *(value for what, value in lines if what == "asked")], logarithmic)
    inside = [(what, value) for what, value in lines if low <= value <= high]
    x = alt.X(
        "estimate:Q",
        scale=alt.Scale(type="log" if logarithmic else "linear", domain=[low, high], range=[0, PLOT], nice=False),
        title=quantity(first.kind, first.metric, first.axis),
        axis=alt.Axis(grid=False, tickCount=5, format="~g"),
    )
    height = ROW * len(rows)
    vertical = alt.Scale(domain=[0, height], range=[0, height])
    y = alt.Y("place:Q", scale=vertical, axis=None)
    base = alt.Chart().encode(y=y)
    colour = alt.Color(
        "verdict:N", legend=None, scale=alt.Scale(domain=list(OUTCOME_COLOURS), range=list(OUTCOME_COLOURS.values()))
    )
    shape = alt.Shape(
        "verdict:N", legend=None, scale=alt.Scale(domain=list(OUTCOME_SHAPES), range=list(OUTCOME_SHAPES.values()))
    )
    # Bounds stand beside the intervals alone, not across the text above each.
    begin, end = low if first.above is None else max(low, first.above), high if first.below is None else min(high, first.below)
    strips = [{"top": row["place"] - 8, "bottom": row["place"] + 8, "estimate": begin, "end": end} for row in rows]
    top, bottom = alt.Y("top:Q", scale=vertical, axis=None), alt.Y2("bottom:Q")
    band = alt.Chart().mark_rect(color=OUTCOME_COLOURS["supported"], opacity=0.14)
    layers = [part(band.encode(x=x, x2="end:Q", y=top, y2=bottom), strips)] if begin < end else []
    for what, value in inside:
        lines_here = [{**strip, "estimate": value} for strip in strips]
        rule = alt.Chart().mark_rule(strokeDash=[1, 2] if what == "law" else [4, 2], color="currentColor", opacity=0.8)
        layers.append(part(rule.encode(x=x, y=top, y2=bottom), lines_here))
        layers.append(_bound(first, what, value, x, (low, high), logarithmic))
    tooltip = [
        alt.Tooltip("whole:N", title="what"),
        alt.Tooltip("text:N", title="95 %"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("seeds:Q"),
    ]
    if dots:
        points = alt.Chart().mark_circle(size=14, opacity=0.4, color="currentColor", clip=True)
        seen = [alt.Tooltip("seed:Q"), alt.Tooltip("estimate:Q", title="its number", format=".4~g")]
        layers.append(part(points.encode(x=x, y=y, tooltip=seen), dots))
    text_y = alt.Y("text_place:Q", scale=vertical, axis=None)
    left = {"align": "left", "fontSize": 11, "limit": INTERVALS, "color": "currentColor"}
    marks = [
        base.mark_rule(strokeWidth=2.4, clip=True).encode(x=alt.X("low:Q"), x2="high:Q", color=colour),
        base.mark_point(filled=True, size=75, opacity=1).encode(x=x, color=colour, shape=shape, tooltip=tooltip),
        base.mark_text(**left).encode(x=alt.value(0), y=text_y, text="label:N", tooltip=tooltip),
        base.mark_text(align="right", baseline="middle", fontSize=11, color="currentColor").encode(
            x=alt.value(INTERVALS), y=y, text="text:N"
        ),
    ]
    layers += [part(mark, rows) for mark in marks]
    return specification({"width": INTERVALS, "height": height, "layer": layers}, describe_forest(rows))


def _bound(
    first: Verdict, what: str, value: float, x: Any, domain: tuple[float, float], logarithmic: bool
) -> dict[str, Any]:
    """What a line is, above it."""
    import altair as alt

    low, high = domain
    sign = "" if what == "law" else ("> " if value == first.above else "< ")
    place = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
    align = "left" if place < 0.2 else "right" if place > 0.8 else "center"
    text = alt.Chart().mark_text(align=align, dy=-17 if what == "law" else -5, fontSize=10.5, color="currentColor")
    rows = [{"estimate": value, "said": f"{what} {sign}{minus(f'{value:g}')}"}]
    return part(text.encode(x=x, y=alt.value(0), text="said:N"), rows)


def _domain(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if logarithmic:
        room = max((high / low) ** 0.08, 1.05)
        return low / room, high * room
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def describe_forest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every row of the intervals in words."""
    return ". ".join(f"{row['whole']}: {row['text']}, {row['verdict']}" for row in rows) + "."
