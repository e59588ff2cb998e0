"""The figure of a task drawn: panels and a cross-section that answer to the reader, and small multiples that stand."""

from __future__ import annotations

from typing import Any

import numpy as np

from .figures import arm_scales
from .landscapes import POINTS, Hero, plane_data
from .rendering import Datasets, part, specification

#: Pixels of a panel that answers to the reader and of one of the still drawing, with its most settings and points.
LIVE, STILL, _MOST_SETTINGS, _MOST_POINTS = 146, 116, 4, 36
#: Lines by family, so that they are told apart in print too.
_DASH = {"ebm": [1, 0], "prob": [6, 2], "control": [2, 2]}
#: Points and lines have colours of their own.
_APART = {"scale": {"color": "independent", "shape": "independent"}}


def _panel(one: Hero, size: int) -> dict[str, Any]:
    """Image and points of one arm at one setting."""
    import altair as alt

    left, right, bottom, top = one.box
    x = alt.X("x:Q", scale=alt.Scale(domain=[left, right], nice=False, zero=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[bottom, top], nice=False, zero=False), axis=None)
    image = (
        alt.Chart()
        .transform_filter("datum.reading === reading")
        .mark_image(width=size, height=size, aspect=False)
        .encode(x=alt.value(size / 2), y=alt.value(size / 2), url="url:N")
    )
    what = list(POINTS)
    colours = alt.Scale(domain=what, range=["#ff8c1a", "#ffffff", "#7fd4ff"])
    dots = (
        alt.Chart()
        .transform_filter("isValid(datum.what) && indexof(points, datum.what) >= 0")
        .transform_flatten(["x", "y"])
        .mark_point(clip=True, size=13, strokeWidth=1.1)
        .encode(
            x=x,
            y=y,
            color=alt.Color("what:N", scale=colours, legend=None),
            shape=alt.Shape("what:N", scale=alt.Scale(domain=what, range=["circle", "cross", "square"]), legend=None),
        )
    )
    return {"width": size, "height": size, "layer": [part(image), part(dots)]}


def live_chart(one: Hero, description: str) -> dict[str, Any]:
    """Panels of the arms chosen, and their cross-section; a reader sets `at`, `reading`, `points` and `arms`."""
    chosen = [{"filter": "datum.at === at && indexof(arms, datum.arm) >= 0"}]
    order = [look.label for look in one.looks]
    parts: list[dict[str, Any]] = [
        {
            "data": {"name": f"plane-{one.task}"},
            "transform": chosen,
            "facet": {"field": "arm", "sort": order, "title": None, "header": {"labelLimit": LIVE}},
            "columns": 4,
            "spacing": 10,
            "spec": _panel(one, LIVE),
        }
    ]
    if one.energies:
        profile = _profile(one)
        profile["transform"] = [*chosen, *profile["transform"]]
        parts.append({**profile, "data": {"name": f"sections-{one.task}"}, "width": 4 * LIVE - 20, "height": 150})
    composed = {"vconcat": parts, "spacing": 16, "resolve": _APART}
    return specification(composed, description, arms=list(one.shown), at=one.start, reading="raw", points=["data"])


def _profile(one: Hero, still: bool = False) -> dict[str, Any]:
    """Energies along the cross-section, in the reading that is set; in the still drawing raw."""
    import altair as alt

    shown = [look for look in one.looks if look.label in one.shown] if still else list(one.looks)
    colours, _ = arm_scales(shown)
    dashes = alt.Scale(domain=[look.label for look in shown], range=[_DASH[look.family] for look in shown])
    top = "{" + ", ".join(f"{name}: {value!r}" for name, value in one.tops.items()) + "}"
    legend = (
        alt.Legend(columns=2, symbolType="stroke")
        if still
        else alt.Legend(columns=2, values=alt.ExprRef("arms"), symbolType="stroke")
    )
    heights = alt.Scale(
        nice=False,
        domainMin=alt.ExprRef(f"reading === 'rank' ? 0 : -0.35 * {top}[reading]"),
        domainMax=alt.ExprRef(f"{top}[reading]"),
    )
    line = (
        alt.Chart()
        .transform_flatten(["along", "raw", "rank"])
        .transform_calculate(energy="reading === 'free' ? datum.raw / datum.deep : datum[reading]")
        .mark_line(clip=True, strokeWidth=1.8)
        .encode(
            x=alt.X(
                "along:Q",
                title=None if still else one.section,
                scale=alt.Scale(nice=False, zero=False),
                axis=alt.Axis(grid=False, tickCount=4),
            ),
            y=alt.Y(
                "energy:Q", title="energy above the data's", scale=heights, axis=alt.Axis(tickCount=4, format=".6~g")
            ),
            color=alt.Color("arm:N", scale=colours, title=None, legend=legend),
            strokeDash=alt.StrokeDash("arm:N", scale=dashes, legend=None),
            tooltip=[
                alt.Tooltip("arm:N"),
                alt.Tooltip("along:Q", title="at", format=".3~g"),
                alt.Tooltip("energy:Q", format=".4~g"),
            ],
        )
    )
    return part(line)


def still_chart(one: Hero, description: str) -> tuple[dict[str, Any], Datasets]:
    """Small multiples for print and for readers without scripts: arms down, settings across, values; their sections."""
    places = sorted(set(np.linspace(0, one.start, min(_MOST_SETTINGS, one.start + 1)).round().astype(int).tolist()))
    titles = {place: f"{one.symbol} = {one.settings[place]:g}" for place in places}
    order = [titles[place] for place in places]
    whole = plane_data(one)
    kept = [
        [titles[row[1]], *row[:5], *(row[5:] if row[5] is None else (row[5][:_MOST_POINTS], row[6][:_MOST_POINTS]))]
        for row in whole["rows"]
        if row[1] in titles and row[0] in one.shown and (row[2] == "raw" or row[4] == "data")
    ]
    sections = one.datasets[f"sections-{one.task}"]
    cut = [[titles[row[1]], *row] for row in sections["rows"] if row[1] in titles and row[0] in one.shown]
    data = {
        "still": {"columns": ["setting", *whole["columns"]], "rows": kept},
        "cut": {"columns": ["setting", *sections["columns"]], "rows": cut},
    }
    across = {"field": "setting", "sort": order, "title": None}
    header = {"labelAngle": 0, "labelAlign": "left", "labelLimit": 150}
    down = {"field": "arm", "sort": list(one.shown), "title": None, "header": header}
    parts: list[dict[str, Any]] = [
        {"data": {"name": "still"}, "facet": {"row": down, "column": across}, "spacing": 6, "spec": _panel(one, STILL)}
    ]
    if one.energies and cut:
        section = {**_profile(one, still=True), "width": STILL, "height": 90}
        facet = {"column": {**across, "header": {"labels": False}}}
        parts.append({"data": {"name": "cut"}, "facet": facet, "spacing": 6, "spec": section})
    composed = {"vconcat": parts, "spacing": 10, "resolve": _APART}
    return specification(composed, description, reading="raw", points=["data"]), data
