"""The intervals behind verdicts as rows, against the bounds that they were held to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..study.comparisons import GROWTHS, Cell
from ..study.verdicts import Verdict
from .rendering import part, specification, wrapped
from .style import OUTCOME_COLOURS, OUTCOME_SHAPES, digits, interval, minus, place, plain, quantity, unit_of

#: Pixels of intervals with their numbers and without, and of one of their rows, which fit the width of a telephone.
INTERVALS, PLOT, ROW = 326, 212, 38
#: Characters that fit between the two, and of a line of the axis's title.
_BESIDE, _TITLE = 21, 48
#: Part of the plot by which two bounds must differ to have a label each.
_APART = 0.4


def at_setting(verdict: Verdict, cell: Cell | None) -> str:
    """Where a cell was tested: `ε = 0.1`, or `unknown noise`; of a growth, which has a range, nothing."""
    if cell is None or verdict.kind in GROWTHS or not cell.at or not math.isfinite(cell.at[0]):
        return ""
    return place(verdict.axis, cell.at[0])


def weakest_cell(verdict: Verdict) -> Cell | None:
    """The cell whose numbers a comparison carries; of one without an estimate a cell that has none."""
    unknown = math.isnan(verdict.estimate)
    same = [
        cell
        for cell in verdict.cells
        if (math.isnan(cell.estimate) if unknown else cell.estimate == verdict.estimate and cell.low == verdict.low)
    ]
    return next(iter([*same, *verdict.cells]), None)


def shown_cells(verdict: Verdict, every: bool = False) -> list[tuple[str, Cell]]:
    """Cells of a comparison that are drawn, each with its outcome: all, or the one whose numbers it carries.

    One that is qualified is told by both of its sides: of each the cell that came nearest to the other.
    """
    if verdict.verdict != "qualified":
        carried = weakest_cell(verdict)
        cells = verdict.cells if every else (carried,) if carried is not None else ()
        return [(verdict.verdict, cell) for cell in cells]
    told = [("supported" if cell.holds else "refuted", cell) for cell in verdict.cells]
    if every:
        return told
    sides = ([(outcome, cell) for outcome, cell in told if cell.holds is holds] for holds in (True, False))
    return [max(side, key=lambda each: each[1].p) for side in sides if side]


def forest_rows(
    verdicts: Sequence[Verdict], labels: Mapping[str, str], every: bool
) -> tuple[list[dict[str, Any]], str]:
    """Rows of intervals, of each comparison the cells of `shown_cells`; and what all rows share.

    A row is called by what tells it from the others.
    """
    shown = [(verdict, *told) for verdict in verdicts for told in shown_cells(verdict, every)]
    names = [
        (
            labels.get(verdict.arm, verdict.arm),
            f"against {labels.get(verdict.against, verdict.against)}" if verdict.against else "",
            verdict.task,
            at_setting(verdict, cell),
        )
        for verdict, _, cell in shown
    ]
    called, shared = told_apart(names)
    rows: list[dict[str, Any]] = []
    for (_, outcome, cell), name, label in zip(shown, names, called, strict=True):
        value, span = plain(cell.estimate), interval(cell.low, cell.high)
        said = f"{value} {span}" if cell.seeds else "no value"
        # What is too long to stand beside the interval stands in two lines.
        above, beside = (value, span) if cell.seeds and len(said) > _BESIDE else ("", said)
        rows.append(
            {
                "label": label,
                "whole": ", ".join(part for part in name if part),
                "estimate": digits(cell.estimate), "low": digits(cell.low), "high": digits(cell.high),
                "text": said, "above": above, "beside": beside, "verdict": outcome, "seeds": cell.seeds,
                "text_place": ROW * len(rows) + 9, "place": ROW * len(rows) + 23,
            }
        )  # fmt: skip
    return rows, shared


def told_apart(names: Sequence[tuple[str, ...]]) -> tuple[list[str], str]:
    """Names of as many parts each by the parts in which they differ, and what they share; one alone has its first."""
    if not names:
        return [], ""
    differs = [len(set(parts)) > 1 for parts in zip(*names, strict=True)]
    shared = [part for part, told in zip(names[0], differs, strict=True) if not told and part]
    if not any(differs):
        differs[0], shared = True, shared[1:]
    called = [", ".join(part for part, told in zip(name, differs, strict=True) if told and part) for name in names]
    return called, ", ".join(shared)


def _logarithmic(criterion: Verdict, shown: Sequence[float]) -> bool:
    """Whether a criterion's numbers belong on a logarithmic axis: positive, and ratios or values decades apart."""
    bounds = [bound for bound in (criterion.above, criterion.below) if bound is not None]
    if not shown or min(*shown, *bounds) <= 0:
        return False
    return criterion.kind == "ratio" or (
        criterion.kind == "value" and max(*shown, *bounds) > 100 * min(*shown, *bounds)
    )


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
        {"estimate": digits(value), "place": row["place"], "seed": seed}
        for row, values in zip(rows, seeds or [()] * len(rows), strict=True)
        for seed, value in enumerate(values)
        if math.isfinite(value)
    ]
    marks = [("asked", first.above), ("asked", first.below), ("law", first.law)]
    lines = [(what, value) for what, value in marks if value is not None]
    shown = [row[k] for row in rows for k in ("estimate", "low", "high") if row[k] is not None]
    logarithmic = _logarithmic(first, shown)
    shown += [dot["estimate"] for dot in dots if not logarithmic or dot["estimate"] > 0]
    low, high = domain([*shown, *(value for what, value in lines if what == "asked")], logarithmic)
    inside = [(what, value) for what, value in lines if low <= value <= high]
    x = alt.X(
        "estimate:Q",
        scale=alt.Scale(type="log" if logarithmic else "linear", domain=[low, high], range=[0, PLOT], nice=False),
        title=wrapped(_title(first), _TITLE),
        axis=alt.Axis(grid=False, tickCount=5, format=".6~g", labelOverlap="greedy", labelSeparation=4),
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
    begin, end = (
        low if first.above is None else max(low, first.above),
        high if first.below is None else min(high, first.below),
    )
    strips = [{"top": row["place"] - 8, "bottom": row["place"] + 8, "estimate": begin, "end": end} for row in rows]
    top, bottom = alt.Y("top:Q", scale=vertical, axis=None), alt.Y2("bottom:Q")
    band = alt.Chart().mark_rect(color=OUTCOME_COLOURS["supported"], opacity=0.14)
    layers = [part(band.encode(x=x, x2="end:Q", y=top, y2=bottom), strips)] if begin < end else []
    for what, value in inside:
        lines_here = [{**strip, "estimate": value} for strip in strips]
        rule = alt.Chart().mark_rule(strokeDash=[1, 2] if what == "law" else [4, 2], color="currentColor", opacity=0.8)
        layers.append(part(rule.encode(x=x, y=top, y2=bottom), lines_here))
    layers += [part(text, said) for text, said in _bounds(first, inside, x, (low, high), logarithmic)]
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
    marks = [
        base.transform_filter("isValid(datum.high)")
        .mark_rule(strokeWidth=2.4, clip=True)
        .encode(x=alt.X("low:Q"), x2="high:Q", color=colour),
        base.mark_point(filled=True, size=75, opacity=1).encode(x=x, color=colour, shape=shape, tooltip=tooltip),
        base.mark_text(align="left", fontSize=11, limit=INTERVALS, color="currentColor").encode(
            x=alt.value(0), y=text_y, text="label:N", tooltip=tooltip
        ),
        *(
            base.mark_text(align="right", dy=down, fontSize=11, color="currentColor").encode(
                x=alt.value(INTERVALS), y=at, text=f"{text}:N"
            )
            for text, at, down in (("beside", y, 4), ("above", text_y, 0))
        ),
    ]
    layers += [part(mark, rows) for mark in marks]
    return specification({"width": INTERVALS, "height": height, "layer": layers}, describe_forest(rows))


def _title(first: Verdict) -> str:
    """What the numbers of a criterion are, with their unit where they are no slope and no ratio."""
    unit = unit_of(first.metric) if first.kind in ("value", "difference") else ""
    named = quantity(first.kind, first.metric, first.axis)
    return f"{named} ({unit})" if unit and f"{unit} of" not in named else named


def _bounds(
    first: Verdict, inside: Sequence[tuple[str, float]], x: Any, domain: tuple[float, float], logarithmic: bool
) -> list[tuple[Any, list[dict[str, Any]]]]:
    """What each line is, above it; two bounds without room for both are told together."""
    import altair as alt

    def place(value: float) -> float:
        low, high = domain
        return math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)

    def sign(what: str, value: float) -> str:
        return "" if what == "law" else "> " if value == first.above else "< "

    told = [(what, value, f"{what} {sign(what, value)}{value:g}") for what, value in inside]
    asked = [value for what, value, _ in told if what == "asked"]
    if len(asked) == 2 and abs(place(asked[1]) - place(asked[0])) < _APART:
        together = f"asked {asked[0]:g} to {asked[1]:g}"
        told = [("asked", asked[0], together), *(each for each in told if each[0] == "law")]
    found = []
    for what, value, said in told:
        align: Any = "left" if place(value) < 0.2 else "right" if place(value) > 0.8 else "center"
        text = alt.Chart().mark_text(align=align, dy=-17 if what == "law" else -5, fontSize=10.5, color="currentColor")
        row = {"estimate": value, "said": minus(said)}
        found.append((text.encode(x=x, y=alt.value(0), text="said:N"), [row]))
    return found


def domain(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Ends of an axis of these values, with room beside them."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if logarithmic:
        room = max((high / low) ** 0.08, 1.05)
        return low / room, high * room
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def describe_forest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every row of the intervals in words."""
    return ". ".join(f"{row['whole']}: {row['text']}, {row['verdict']}" for row in rows) + "."
