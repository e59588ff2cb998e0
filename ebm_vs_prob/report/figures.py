# ruff: noqa: RUF001
"""Curves of a report, every metric against what its task varies along, and the forest of intervals behind verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..study.comparisons import GROWTHS, in_range
from ..study.schema import THICKNESS
from ..study.statistics import Estimate
from ..study.verdicts import Verdict
from .escaping import drawn_text
from .inputs import Inputs
from .rendering import house_style, new_figure
from .style import GROUPS, INK, Look, in_order, metric_look, quantity, summarise, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Logarithmic axes end so many decades below the largest value.
_DECADES = 5
OUTCOME_COLOURS = {
    "supported": "#1a9850",
    "refuted": "#d73027",
    "qualified": "#d98e04",
    "undecided": "#8a929c",
    "untrained": "#8a929c",
}


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
        if metric_look(name).group in groups:
            groups[metric_look(name).group].append(name)
    return {group: names for group, names in groups.items() if names}


def metric_figure(inputs: Inputs, task: str, names: Sequence[str]) -> Figure:
    """Small multiples: each metric of one task against its settings, every arm with its interval over seeds."""
    columns = 3
    rows = math.ceil(len(names) / columns)
    look_of, eps, axis = inputs.looks(), inputs.settings(task), inputs.axis(task)
    title = f"thickness {inputs.symbol(task)}" if axis == THICKNESS else inputs.symbol(task)
    table = inputs.primary[inputs.primary["task"] == task]
    of_metric = dict(iter(table.groupby("metric")))
    with house_style():
        figure = new_figure(10.4, 2.4 * rows + 0.8)
        panels = figure.subplots(rows, columns, squeeze=False)
        drawn: dict[str, Any] = {}
        for panel, name in zip(panels.flat, names, strict=False):
            here = of_metric.get(name, table.iloc[:0])
            measured = here.dropna(subset="value").groupby(["arm", "setting"])["value"]
            estimates: dict[str, dict[float, Estimate]] = {}
            for place, values in measured:
                arm, e = cast("tuple[str, float]", place)
                estimates.setdefault(arm, {})[e] = summarise(values, name)
            for index, look in enumerate(look_of.values()):
                if look.name in estimates:
                    offset = (index - (len(look_of) - 1) / 2) * 0.018
                    drawn[look.name] = _curve(panel, estimates[look.name], look, positions(eps, axis), offset)
            _settings_axis(panel, positions(eps, axis), title)
            _value_axis(panel, here, name)
            _laws(panel, inputs, task, name, here, eps)
        for panel in list(panels.flat)[len(names) :]:
            panel.set_visible(False)
        arms = [look for look in look_of.values() if look.name in drawn]
        figure.legend(
            [drawn[look.name] for look in arms],
            [drawn_text(look.label) for look in arms],
            loc="outside lower center",
            ncols=columns,
            fontsize=8.5,
        )
    return figure


def _curve(panel: Axes, estimates: dict[float, Estimate], look: Look, place: dict[float, float], offset: float) -> Any:
    """One arm: a line through the settings, a point at thickness 0 apart."""
    found = {e: estimates[e] for e in place if e in estimates and math.isfinite(estimates[e].value)}
    handle = None
    for part in ([e for e in found if e > 0], [e for e in found if e == 0]):
        if not part:
            continue
        value = np.array([found[e].value for e in part])
        at = np.array([place[e] + offset for e in part])
        # All bars of an arm are one path, broken by NaN: the page embeds thousands of them.
        low, high = (np.array([getattr(found[e], side) for e in part]) for side in ("low", "high"))
        gap = np.full_like(at, np.nan)
        panel.plot(np.stack([at, at, gap], 1).ravel(), np.stack([low, high, gap], 1).ravel(), color=look.colour, lw=0.9)
        drawn = panel.plot(at, value, color=look.colour, marker=look.marker, markersize=4, markeredgewidth=0)[0]
        handle = handle or drawn
    return handle


def _settings_axis(panel: Axes, place: dict[float, float], title: str) -> None:
    panel.set_xticks(list(place.values()), [f"{e:g}" for e in place])
    panel.set_xlabel(drawn_text(title), labelpad=1)
    if title.startswith(THICKNESS) and 0.0 in place and len(place) > 1:
        others = [p for e, p in place.items() if e > 0]
        panel.axvline((place[0.0] + max(others)) / 2, color=INK, linewidth=0.6, linestyle=(0, (1, 3)), alpha=0.6)


def _value_axis(panel: Axes, rows: Any, name: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    look = metric_look(name)
    units = rows["unit"].dropna()
    unit = str(units.iloc[0]) if len(units) else ""
    suffix = f" ({unit})" if unit not in ("", "1", "share", "count") else ""
    panel.set_title(drawn_text(look.label + suffix), loc="left")
    values = rows["value"].dropna()
    if look.scale == "log" and (values > 0).any():
        # The axis follows the seeds, not the bars, and is cut where round-off takes over (distances of exact answers).
        # What was learned sets its top: the exact density as a landscape is steeper by many decades.
        learned = rows.loc[rows["principle"] != "exact", "value"].dropna()
        high = float((learned if (learned > 0).any() else values).max())
        low = max(float(values[values > 0].min()), high * 10.0**-_DECADES)
        few = high < 100 * low
        panel.set_yscale("log")
        panel.set_ylim(low / 1.6, high * 1.6)
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        panel.yaxis.set_minor_locator(NullLocator())
        if few:
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif look.scale == "share":
        panel.set_ylim(-0.04, 1.04)
    panel.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    panel.set_axisbelow(True)


def _laws(panel: Axes, inputs: Inputs, task: str, name: str, rows: Any, eps: Sequence[float]) -> None:
    """A dashed guide of the slope that theory predicts, from the first arm's value at the thickest point."""
    for criterion in inputs.study.criteria:
        if (
            criterion.kind != "slope"
            or criterion.metric != name
            or task not in criterion.tasks
            or criterion.law is None
        ):
            continue
        inside = [e for e in eps if in_range(e, criterion.range) and e > 0]
        start = rows[(rows["arm"] == criterion.arms[0]) & (rows["setting"] == (inside or [math.nan])[0])]
        anchor = summarise(start["value"], name).value
        if len(inside) > 1 and math.isfinite(anchor):
            place = positions(eps, inputs.axis(task))
            guide = [anchor * (e / inside[0]) ** criterion.law for e in inside]
            panel.plot([place[e] for e in inside], guide, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.7)
            panel.annotate(
                f"law: slope {criterion.law:g}".replace("-", "−"),
                (place[inside[len(inside) // 2]], guide[len(inside) // 2]),
                xytext=(-3, 5),
                textcoords="offset points",
                ha="right",
                fontsize=7.5,
                alpha=0.85,
            )


def _logarithmic(criterion: Verdict, shown: Sequence[float]) -> bool:
    """Whether a criterion's numbers belong on a logarithmic axis: positive, and ratios or values decades apart."""
    bounds = [bound for bound in (criterion.above, criterion.below) if bound is not None]
    if not shown or min(*shown, *bounds) <= 0:
        return False
    return criterion.kind == "ratio" or (criterion.kind == "value" and max(shown) > 100 * min(shown))


def forest_figure(verdicts: Sequence[Verdict], labels: dict[str, str]) -> Figure:
    """Intervals of every comparison of one criterion, a row a setting, against the bounds it was held to."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    first = verdicts[0]
    rows = [(verdict, cell) for verdict in verdicts for cell in verdict.cells]
    with house_style():
        figure = new_figure(8.2, 0.225 * len(rows) + 0.75)
        panel = figure.subplots()
        names = []
        finite = [v for _, cell in rows for v in (cell.low, cell.high, cell.estimate) if math.isfinite(v)]
        logarithmic = _logarithmic(first, finite)
        if logarithmic:
            # The scale is set before anything is drawn, because matplotlib finds the limits on it.
            panel.set_xscale("log")
        for index, (verdict, cell) in enumerate(rows):
            opening = cell is verdict.cells[0]
            what = labels.get(verdict.arm, verdict.arm)
            if verdict.against:
                what = f"{what} / {labels.get(verdict.against, verdict.against)}"
            at = (
                f"{symbol(verdict.axis)} = {cell.at[0]:g}"
                if first.kind not in GROWTHS and math.isfinite(cell.at[0])
                else ""
            )
            name = f"{what}, {verdict.task}" if opening else ""
            names.append(drawn_text("   ".join(part for part in (name, at) if part)))
            colour = OUTCOME_COLOURS[verdict.verdict]
            if math.isfinite(cell.low) and math.isfinite(cell.high):
                panel.plot([cell.low, cell.high], [index, index], color=colour, linewidth=2.2, solid_capstyle="round")
            if math.isfinite(cell.estimate):
                panel.plot([cell.estimate], [index], "o", color=colour, markersize=5)
            if opening and index:
                panel.axhline(index - 0.5, color=INK, alpha=0.12, linewidth=0.6)
        for bound in (first.above, first.below):
            if bound is not None:
                panel.axvline(bound, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        if first.above is not None or first.below is not None:
            low, high = panel.get_xlim()
            panel.axvspan(
                low if first.above is None else first.above,
                high if first.below is None else first.below,
                color=OUTCOME_COLOURS["supported"],
                alpha=0.08,
                linewidth=0,
            )
            panel.set_xlim(low, high)
        if logarithmic:
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            panel.xaxis.set_minor_locator(NullLocator())
        else:  # long row names leave a narrow panel, on which more labels than this run into each other
            panel.xaxis.set_major_locator(MaxNLocator(6))
        panel.set_yticks(range(len(rows)), names, fontsize=7.5)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel(drawn_text(quantity(first.kind, first.metric, first.axis)))
    return figure
