"""The figure of a task drawn: panels and a cross-section that answer to the reader, and small multiples that stand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .densities import FITTED
from .figures import arm_scales
from .landscapes import POINTS, Hero, plane_data
from .rendering import Datasets, in_lines, part, specification
from .style import Look

#: Pixels of a panel that answers to the reader and of one of the still drawing, with its most settings and points.
LIVE, STILL, _MOST_SETTINGS, _MOST_POINTS = 146, 116, 4, 36
#: Lines by family, so that they are told apart in print too.
_DASH = {"ebm": [1, 0], "prob": [6, 2], "control": [2, 2]}
#: The height of a cross-section in the reading that is set, and what it is.
_HEIGHT = (
    "reading === 'free' ? datum.raw / datum.deep : "
    "reading === 'density' ? exp(datum.log_density - datum.log_peak[beta]) : datum[reading]"
)
_SHOWS = {
    "raw": "energy above the median of the data (nats)",
    "free": "energy above the median of the data (1 is the depth that the data lie in)",
    "rank": "rank of the energy (share of the box that lies lower)",
    "density": "density over the largest of the picture (1)",
}
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
        .transform_filter("datum.reading === reading && (datum.step === null || datum.step === beta)")
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
    below = (
        alt.Chart()
        .transform_filter("datum.reading === reading && datum.step === beta")
        .mark_text(color="currentColor", fontSize=10.5, limit=size + 8)
        .encode(x=alt.value(size / 2), y=alt.value(size + 11), text="said:N")
    )
    return {"width": size, "height": size, "layer": [part(image), part(dots), part(below)]}


def live_chart(one: Hero, description: str) -> dict[str, Any]:
    """Panels of the arms chosen, and their cross-section; a reader sets `at`, `reading`, `points` and `arms`."""
    chosen = [{"filter": "datum.at === at && indexof(arms, datum.arm) >= 0"}]
    order = [look.label for look in one.looks]
    parts: list[dict[str, Any]] = [
        {
            "data": {"name": f"plane-{one.task}"},
            "transform": chosen,
            "facet": {"field": "arm", "sort": order, "title": None, "header": _header(order, 24)},
            "columns": 4,
            "spacing": {"column": 10, "row": 20},
            "spec": _panel(one, LIVE),
        }
    ]
    if one.energies:
        profile = _profile(one)
        profile["transform"] = [*chosen, *profile["transform"]]
        parts.append({**profile, "data": {"name": f"sections-{one.task}"}, "width": 4 * LIVE - 20, "height": 150})
    composed = {"vconcat": parts, "spacing": 30, "resolve": _APART}
    first = {"arms": list(one.shown), "at": one.start, "reading": one.reading, "beta": FITTED, "points": ["data"]}
    return specification(composed, description, **first)


def _header(labels: Sequence[str], width: int, **more: Any) -> dict[str, Any]:
    """Names above or beside panels, in lines of at most so many characters."""
    return {"labelExpr": in_lines(labels, width), "labelLimit": 7 * width, "labelLineHeight": 13, **more}


def _profile(one: Hero, still: bool = False) -> dict[str, Any]:
    """Energies or densities along the cross-section, in the reading that is set."""
    import altair as alt

    shown = [look for look in one.looks if look.label in one.shown] if still else list(one.looks)
    colours, _ = arm_scales(shown)
    dashes = alt.Scale(domain=[look.label for look in shown], range=_dashes(shown))
    ends = json.dumps({**one.scales, "density": (0.0, 1.05)})
    legend = (
        alt.Legend(columns=2, symbolType="stroke")
        if still
        else alt.Legend(columns=2, values=alt.ExprRef("arms"), symbolType="stroke")
    )
    low, high = (alt.ExprRef(f"{ends}[reading][{end}]") for end in (0, 1))
    heights = alt.Scale(nice=False, domainMin=low, domainMax=high)
    line = (
        alt.Chart()
        .transform_flatten(["along", "raw", "rank"])
        .transform_calculate(log_density="-datum.beta[beta] * datum.raw - datum.log_partition[beta]")
        .transform_calculate(height=_HEIGHT)
        .transform_filter("isValid(datum.height)")
        .mark_line(clip=True, strokeWidth=1.8)
        .encode(
            x=alt.X(
                "along:Q",
                title=None if still else f"{one.section} (data units)",
                scale=alt.Scale(nice=False, zero=False),
                axis=alt.Axis(grid=False, tickCount=4),
            ),
            y=alt.Y("height:Q", title=None, scale=heights, axis=alt.Axis(tickCount=4, format=".6~g")),
            color=alt.Color("arm:N", scale=colours, title=None, legend=legend),
            strokeDash=alt.StrokeDash("arm:N", scale=dashes, legend=None),
            tooltip=[
                alt.Tooltip("arm:N"),
                alt.Tooltip("along:Q", title="at (data units)", format=".3~g"),
                alt.Tooltip("raw:Q", title="above the data (nats)", format=".4~g"),
                alt.Tooltip("rank:Q", title="share of the box that lies lower", format=".3~g"),
                alt.Tooltip("log_density:Q", title="log-density at this β (nats)", format=".4~g"),
            ],
        )
    )
    drawn = part(line)
    return drawn if still else {"transform": [], "layer": [drawn, part(_heading(), [{}])]}


def _dashes(shown: Sequence[Look]) -> list[list[int]]:
    """How lines are dashed: by family, and where a family has more arms than colours, by how often one was used."""
    used: Counter[str] = Counter()
    dashes = []
    for look in shown:
        again = used[look.colour]
        dashes.append([9, 2, *([1, 2] * again)] if again else list(_DASH[look.family]))
        used[look.colour] += 1
    return dashes


def _heading() -> Any:
    """Above the cross-section what it shows, with its unit."""
    import altair as alt

    said: Any = alt.ExprRef(f"{json.dumps(_SHOWS)}[reading]")
    text = alt.Chart().mark_text(align="left", fontSize=11, color="currentColor", limit=4 * LIVE, text=said)
    return text.encode(x=alt.value(0), y=alt.value(-9))


def still_chart(one: Hero, description: str) -> tuple[dict[str, Any], Datasets]:
    """Small multiples for print and for readers without scripts: arms down, settings across, values; their sections."""
    places = sorted(set(np.linspace(0, one.start, min(_MOST_SETTINGS, one.start + 1)).round().astype(int).tolist()))
    titles = {place: one.places[place] for place in places}
    order = [titles[place] for place in places]
    whole = plane_data(one)
    kept = [
        [titles[row[1]], *row[:7], *(each and each[:_MOST_POINTS] for each in row[7:])]
        for row in whole["rows"]
        if row[1] in titles and row[0] in one.shown and (row[2] == one.reading or row[6] == "data")
    ]
    sections = one.datasets[f"sections-{one.task}"]
    cut = [[titles[row[1]], *row] for row in sections["rows"] if row[1] in titles and row[0] in one.shown]
    data = {
        "still": {"columns": ["setting", *whole["columns"]], "rows": kept},
        "cut": {"columns": ["setting", *sections["columns"]], "rows": cut},
    }
    across = {"field": "setting", "sort": order, "title": None}
    header = _header(one.shown, 22, labelAngle=0, labelAlign="left")
    down = {"field": "arm", "sort": list(one.shown), "title": None, "header": header}
    parts: list[dict[str, Any]] = [
        {"data": {"name": "still"}, "facet": {"row": down, "column": across}, "spacing": 6, "spec": _panel(one, STILL)}
    ]
    if one.energies and cut:
        section = {**_profile(one, still=True), "width": STILL, "height": 90}
        facet = {"column": {**across, "header": {"labels": False}}}
        parts.append({"data": {"name": "cut"}, "facet": facet, "spacing": 6, "spec": section})
    composed = {"vconcat": parts, "spacing": 10, "resolve": _APART}
    return specification(composed, description, reading=one.reading, beta=FITTED, points=["data"]), data
