"""A metric of a task that varies along nothing: a row an arm, its interval over seeds, its name beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .rendering import in_lines, part, wrapped
from .style import Look

#: Pixels of the names beside rows, characters of each line of them, and pixels of a line.
NAMES, _CHARACTERS, _LINE = 176, 30, 12


def row_panel(
    task: str, metric: str, looks: Sequence[Look], scale: Mapping[str, Any], axis: Mapping[str, Any], tooltip: Any
) -> dict[str, Any]:
    """The panel of one metric, of arms that `arms` holds.

    Args:
        looks: of all arms of the figure, which panels share; a panel has rows of those with a value.
        scale: of the values.
        axis: of the values.
        tooltip: what a row says when it is pointed at.
    """
    import altair as alt

    names, colours = [look.label for look in looks], [look.colour for look in looks]
    tallest = max(len(wrapped(name, _CHARACTERS)) for name in names)
    logarithmic = scale.get("type") == "log"
    x = {"type": "quantitative", "title": None, "scale": scale, "axis": axis}
    lines = alt.Axis(
        labelExpr=in_lines(names, _CHARACTERS),
        labelLimit=NAMES,
        labelLineHeight=_LINE,
        grid=True,
        ticks=False,
        domain=False,
    )
    y = alt.Y("arm:N", sort=names, title=None, axis=lines)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=names, range=colours), legend=None)
    shapes = alt.Shape("arm:N", scale=alt.Scale(domain=names, range=[look.shape for look in looks]), legend=None)
    base = alt.Chart().encode(y=y, color=colour)
    bar = part(base.transform_filter("isValid(datum.high)").mark_rule(strokeWidth=1.6, clip=True).encode(x2="high:Q"))
    point = part(base.mark_point(filled=True, size=52, opacity=1, clip=True).encode(shape=shapes, tooltip=tooltip))
    bar["encoding"] = {**bar["encoding"], "x": {**x, "field": "low"}}
    point["encoding"] = {**point["encoding"], "x": {**x, "field": "value"}}
    chosen = f"datum.metric === {json.dumps(metric)} && indexof(arms, datum.arm) >= 0"
    floor = [{"calculate": f"max(datum.low, {scale['domain'][0]!r})", "as": "low"}] if logarithmic else []
    return {
        "data": {"name": f"curves-{task}"},
        "height": {"step": 7 + _LINE * tallest},
        "transform": [{"filter": chosen + (" && datum.value > 0" if logarithmic else "")}, *floor],
        "layer": [bar, point],
    }
