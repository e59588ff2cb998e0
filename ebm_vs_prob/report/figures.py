# ruff: noqa: RUF001
"""Charts of a report: every metric against what its task varies along, and the intervals behind verdicts, as rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.comparisons import GROWTHS, Cell, in_range
from ..study.schema import THICKNESS
from ..study.verdicts import Verdict
from .inputs import Inputs
from .rendering import specification
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
#: Pixels of a panel of curves, of the intervals, and of one of their rows: two rows of text fit a telephone's width.
PANEL, INTERVALS, ROW = (250, 150), 320, 36
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


def _shown_arms(inputs: Inputs, data: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[Look]:
    present = {row[0] for row in data["rows"] if row[1] in names}
    return [look for look in inputs.looks().values() if look.label in present]


def metric_chart(inputs: Inputs, task: str, names: Sequence[str], data: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Each metric of one task against its settings in a panel of its own, every arm with its interval over seeds.

    Its data set has the task's name; `arms` is the list of labels that are shown.
    """
    import altair as alt

    looks = _shown_arms(inputs, data, names)
    colours, shapes = arm_scales(looks)
    settings, axis = inputs.settings(task), inputs.axis(task)
    place = positions(settings, axis)
    table = inputs.primary[inputs.primary["task"] == task]
    labels = {f"{at:.3f}": f"{setting:g}" for setting, at in place.items()}
    span = [min(place.values()) - 0.15, max(place.values()) + 0.15]
    x = alt.X(
        "place:Q",
        title=f"thickness {inputs.symbol(task)}" if axis == THICKNESS else inputs.symbol(task),
        scale=alt.Scale(domain=span, nice=False, zero=False),
        axis=alt.Axis(
            values=list(place.values()), labelExpr=f"{labels}[format(datum.value, '.3f')]", grid=False, labelOverlap=True
        ),
    )
    colour = alt.Color("arm:N", scale=colours, title=None, legend=alt.Legend(symbolStrokeWidth=0))
    panels = []
    for name in names:
        here = table[table["metric"] == name]
        y_scale, floor = _value_scale(here, name)
        y = alt.Y("value:Q", scale=y_scale, title=None, axis=alt.Axis(format="~g", tickCount=5))
        base = alt.Chart().encode(x=x, color=colour)
        if floor is not None:
            base = base.transform_calculate(low=f"max(datum.low, {floor!r})")
        tooltip = [
            alt.Tooltip("arm:N"),
            alt.Tooltip("at:N", title="setting"),
            alt.Tooltip("value:Q", title=metric_look(name).label, format=".4~g"),
            alt.Tooltip("low:Q", title="95 % from", format=".4~g"),
            alt.Tooltip("high:Q", title="to", format=".4~g"),
            alt.Tooltip("n:Q", title="seeds"),
        ]
        layers = [
            base.mark_rule(strokeWidth=1.2, clip=True).encode(y=alt.Y("low:Q", scale=y_scale, title=None), y2="high:Q"),
            base.mark_line(strokeWidth=1.6, clip=True).encode(y=y, detail="zero:N"),
            base.mark_point(filled=True, size=42, opacity=1, clip=True).encode(
                y=y, shape=alt.Shape("arm:N", scale=shapes, title=None), tooltip=tooltip
            ),
            *_laws(inputs, task, name, here, place, x, y),
        ]
        panels.append(
            alt.layer(*layers)
            .transform_filter(f"datum.metric === {_string(name)}")
            .properties(width=PANEL[0], height=PANEL[1], title=with_unit(name, here))
        )
    chart = alt.concat(*panels, columns=3, data=alt.NamedData(name=f"curves-{task}"), spacing=26)
    chart = chart.transform_filter("indexof(arms, datum.arm) >= 0")
    return specification(chart, arms=[look.label for look in looks])


def _string(text: str) -> str:
    """Text as an expression of Vega has it."""
    import json

    return json.dumps(text)


def with_unit(name: str, rows: pd.DataFrame) -> str:
    """A metric's label, with its unit in brackets where it has one."""
    unit = unit_of(name, rows["unit"])
    return f"{metric_look(name).label} ({unit})" if unit else metric_look(name).label


def _value_scale(rows: pd.DataFrame, name: str) -> tuple[Any, float | None]:
    """The axis of a metric, and the least value that a logarithmic one shows."""
    import altair as alt

    look = metric_look(name)
    values = rows["value"].dropna()
    if look.scale == "log" and (values > 0).any():
        # The axis follows the seeds, not the bars, and is cut where round-off takes over (distances of exact answers).
        # What was learned sets its top: the exact density as a landscape is steeper by many decades.
        learned = rows.loc[rows["principle"] != "exact", "value"].dropna()
        high = float((learned if (learned > 0).any() else values).max())
        low = max(float(values[values > 0].min()), high * 10.0**-_DECADES)
        return alt.Scale(type="log", domain=[low / 1.6, high * 1.6], nice=False), low / 1.6
    if look.scale == "share":
        return alt.Scale(domain=[-0.04, 1.04], nice=False), None
    return alt.Scale(zero=False), None


def _laws(inputs: Inputs, task: str, name: str, rows: Any, place: Mapping[float, float], x: Any, y: Any) -> list[Any]:
    """A dashed guide of the slope that theory predicts, from the first arm's value at the thickest point."""
    import altair as alt

    layers = []
    for criterion in inputs.study.criteria:
        if criterion.kind != "slope" or criterion.metric != name or task not in criterion.tasks or criterion.law is None:
            continue
        inside = [e for e in place if in_range(e, criterion.range) and e > 0]
        start = rows[(rows["arm"] == criterion.arms[0]) & (rows["setting"] == (inside or [math.nan])[0])]
        anchor = summarise(start["value"], name).value
        if len(inside) > 1 and math.isfinite(anchor):
            law = f"law: slope {minus(f'{criterion.law:g}')}"
            guide = [{"place": place[e], "value": anchor * (e / inside[0]) ** criterion.law, "law": law} for e in inside]
            data = alt.Chart(alt.InlineData(values=guide)).encode(x=x, y=y)
            layers.append(data.mark_line(color="currentColor", strokeDash=[4, 3], strokeWidth=1, clip=True))
            layers.append(
                alt.Chart(alt.InlineData(values=guide[len(guide) // 2 : len(guide) // 2 + 1]))
                .encode(x=x, y=y, text="law:N")
                .mark_text(align="right", dx=-4, dy=-6, fontSize=10.5, color="currentColor")
            )
    return layers


def describe_curves(names: Sequence[str], data: Mapping[str, Sequence[Any]], most: int = 40) -> str:
    """Each curve of some metrics by its ends, for who cannot see it."""
    ends: dict[tuple[str, str], list[Any]] = {}
    for row in data["rows"]:
        if row[1] in names:
            ends.setdefault((row[1], row[0]), []).append(row)
    said = [
        f"{metric_look(metric).label}, {arm}: {plain(rows[0][4])} at {rows[0][2]}"
        + (f", {plain(rows[-1][4])} at {rows[-1][2]}" if len(rows) > 1 else "")
        for (metric, arm), rows in ends.items()
    ]
    more = f" And {len(said) - most} more, in the tables." if len(said) > most else ""
    return ". ".join(said[:most]) + "." + more if said else "No values."


def comparison_name(verdict: Verdict, labels: Mapping[str, str]) -> str:
    """Arm, the other arm, task: as rows of intervals are named."""
    what = labels.get(verdict.arm, verdict.arm)
    if verdict.against:
        what = f"{what} / {labels.get(verdict.against, verdict.against)}"
    return f"{what}, {verdict.task}"


def at_setting(verdict: Verdict, cell: Cell | None) -> str:
    """Where a cell was tested: `ε = 0.1`; of a growth, which has a range, nothing."""
    if cell is None or verdict.kind in GROWTHS or not cell.at or not math.isfinite(cell.at[0]):
        return ""
    return f"{symbol(verdict.axis)} = {cell.at[0]:g}"


def weakest_cell(verdict: Verdict) -> Cell | None:
    """The cell whose numbers a comparison carries."""
    same = [cell for cell in verdict.cells if cell.estimate == verdict.estimate and cell.low == verdict.low]
    return same[0] if same else None


def forest_rows(verdicts: Sequence[Verdict], labels: Mapping[str, str], every: bool) -> list[dict[str, Any]]:
    """Rows of intervals: of each comparison all its settings, or the one that it carries."""
    rows = []
    for verdict in verdicts:
        weakest = weakest_cell(verdict)
        for cell in verdict.cells if every or weakest is None else (weakest,):
            said = f"{plain(cell.estimate)} {interval(cell.low, cell.high)}" if cell.seeds else "no value"
            where = at_setting(verdict, cell)
            rows.append(
                {
                    "label": ", ".join(part for part in (comparison_name(verdict, labels), where) if part),
                    "estimate": _digits(cell.estimate), "low": _digits(cell.low), "high": _digits(cell.high),
                    "text": said, "verdict": verdict.verdict, "seeds": cell.seeds,
                    "text_place": ROW * len(rows) + 9, "place": ROW * len(rows) + 23,
                }
            )  # fmt: skip
    return rows


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
    rows = forest_rows(verdicts, labels, every)
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
        scale=alt.Scale(type="log" if logarithmic else "linear", domain=[low, high], nice=False, zero=False),
        title=quantity(first.kind, first.metric, first.axis),
        axis=alt.Axis(grid=False, tickCount=5, format="~g"),
    )
    height = ROW * len(rows)
    vertical = alt.Scale(domain=[0, height], range=[0, height])
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=alt.Y("place:Q", scale=vertical, axis=None))
    colour = alt.Color(
        "verdict:N", legend=None, scale=alt.Scale(domain=list(OUTCOME_COLOURS), range=list(OUTCOME_COLOURS.values()))
    )
    shape = alt.Shape(
        "verdict:N", legend=None, scale=alt.Scale(domain=list(OUTCOME_SHAPES), range=list(OUTCOME_SHAPES.values()))
    )
    asked = [{"estimate": low if first.above is None else max(low, first.above),
              "end": high if first.below is None else min(high, first.below)}]  # fmt: skip
    layers = [
        alt.Chart(alt.InlineData(values=asked)).mark_rect(color=OUTCOME_COLOURS["supported"], opacity=0.1).encode(x=x, x2="end:Q")
    ]
    for what, value in inside:
        sign = "" if what == "law" else ("> " if value == first.above else "< ")
        mark = alt.Chart(alt.InlineData(values=[{"estimate": value, "said": f"{what} {sign}{minus(f'{value:g}')}"}]))
        layers.append(
            mark.mark_rule(strokeDash=[1, 3] if what == "law" else [4, 3], color="currentColor", opacity=0.8).encode(x=x)
        )
        right = (math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)) > 0.6
        layers.append(
            mark.mark_text(
                align="right" if right else "left", dx=-3 if right else 3, dy=-15 if what == "law" else -4, fontSize=10.5,
                color="currentColor",
            ).encode(x=x, y=alt.value(0), text="said:N")
        )  # fmt: skip
    tooltip = [alt.Tooltip("label:N", title="what"), alt.Tooltip("text:N", title="95 %"), alt.Tooltip("verdict:N"), alt.Tooltip("seeds:Q")]
    if dots:
        layers.append(
            alt.Chart(alt.InlineData(values=dots))
            .mark_circle(size=14, opacity=0.4, color="currentColor", clip=True)
            .encode(
                x=x, y=alt.Y("place:Q", scale=vertical, axis=None),
                tooltip=[alt.Tooltip("seed:Q"), alt.Tooltip("estimate:Q", title="its number", format=".4~g")],
            )
        )  # fmt: skip
    layers += [
        base.mark_rule(strokeWidth=2.4, clip=True).encode(x=alt.X("low:Q"), x2="high:Q", color=colour),
        base.mark_point(filled=True, size=75, opacity=1).encode(x=x, color=colour, shape=shape, tooltip=tooltip),
        base.mark_text(align="left", fontSize=11, limit=INTERVALS - 118, color="currentColor").encode(
            x=alt.value(0), y=alt.Y("text_place:Q", scale=vertical, axis=None), text="label:N", tooltip=tooltip
        ),
        base.mark_text(align="right", fontSize=11, limit=116, color="currentColor").encode(
            x=alt.value(INTERVALS), y=alt.Y("text_place:Q", scale=vertical, axis=None), text="text:N"
        ),
    ]
    return specification(alt.layer(*layers).properties(width=INTERVALS, height=height), describe_forest(rows))


def _domain(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if logarithmic:
        room = max((high / low) ** 0.08, 1.05)
        return low / room, high * room
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def describe_forest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every row of the intervals in words."""
    return ". ".join(f"{row['label']}: {row['text']}, {row['verdict']}" for row in rows) + "."
