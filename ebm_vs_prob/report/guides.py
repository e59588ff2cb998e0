"""What a criterion asks for and what theory predicts, drawn in the panels of a metric."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.comparisons import in_range
from ..study.task_grids import THICKNESS
from .inputs import Inputs
from .style import Look, minus, summarise

if TYPE_CHECKING:
    from ..study.verdicts import Verdict


def positions(settings: Sequence[float], axis: str = THICKNESS) -> dict[float, float]:
    """Where settings stand on an axis: thickness by -log10, 0 a step beyond the thinnest, anything else by its order,
    which is how settings are chosen: numbers of dimensions double, shares go in equal steps."""
    if axis != THICKNESS:
        return {at: 0.5 * index for index, at in enumerate(settings)}
    positive = [eps for eps in settings if eps > 0]
    place = {eps: 0.0 - math.log10(eps) for eps in positive}  # of 1 it is 0 and not -0, which is written otherwise
    last = max(place.values(), default=0.0)
    gaps = np.diff(sorted(place.values()))
    return place | {eps: last + (float(gaps.mean()) if gaps.size else 1.0) for eps in settings if eps == 0}


def draw_asked(panel: dict[str, Any], asked: Sequence[Verdict], looks: Sequence[Look], rows: bool) -> None:
    """Draw in a panel what a criterion speaks of: its arms before the others, and the bounds of a value.

    Args:
        asked: the comparisons of the criterion; without any, nothing is drawn.
        rows: the panel has a row an arm, its values along x.
    """
    if not asked:
        return
    named = {name for verdict in asked for name in (verdict.arm, verdict.against)}
    labels = [look.label for look in looks if look.name in named]
    test = f"indexof({json.dumps(labels, ensure_ascii=False)}, datum.arm) >= 0"
    for layer in panel["layer"]:
        if "data" not in layer:
            channel, strong, weak = ("size", 85, 30) if layer["mark"]["type"] == "point" else ("strokeWidth", 2.6, 1.1)
            layer["encoding"] = {
                **layer["encoding"],
                "opacity": {"condition": {"test": test, "value": 1}, "value": 0.35},
                channel: {"condition": {"test": test, "value": strong}, "value": weak},
            }
    values = "x" if rows else "y"
    place = next(layer["encoding"][values] for layer in panel["layer"] if values in layer["encoding"])
    for sign, bound in ((">", asked[0].above), ("<", asked[0].below)):
        if asked[0].kind == "value" and bound is not None:
            at = {key: value for key, value in place.items() if key not in ("field", "axis")} | {"datum": bound}
            along = {} if rows else {"x": {"value": 0}, "x2": {"value": "width"}}
            ink = {"color": {"value": "currentColor"}, values: at}
            rule = {"type": "rule", "strokeDash": [4, 2], "opacity": 0.8, "clip": True}
            said = {"type": "text", "align": "right", "baseline": "bottom", "fontSize": 10.5}
            edge = {"y": {"value": -3}} if rows else {"x": {"value": "width"}}
            told = {"value": minus(f"asked {sign} {bound:g}")}
            panel["layer"] += [
                {"data": {"values": [{}]}, "mark": rule, "encoding": {**ink, **along}},
                {"data": {"values": [{}]}, "mark": said, "encoding": {**ink, **edge, "text": told}},
            ]


def laws(inputs: Inputs, task: str, name: str, rows: Any, y: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A dashed guide of the slope that theory predicts, from the first arm's value at the thickest point."""
    place = positions(inputs.settings(task), inputs.axis(task))
    layers: list[dict[str, Any]] = []
    for criterion in inputs.study.criteria:
        if (
            criterion.kind != "slope"
            or criterion.metric != name
            or task not in criterion.tasks
            or criterion.law is None
        ):
            continue
        inside = [e for e in place if in_range(e, criterion.range) and e > 0]
        start = rows[(rows["arm"] == criterion.arms[0]) & (rows["setting"] == (inside or [math.nan])[0])]
        anchor = summarise(start["value"], name).value
        if len(inside) > 1 and math.isfinite(anchor):
            law = f"law: slope {minus(f'{criterion.law:g}')}"
            guide = [
                {"place": place[e], "value": anchor * (e / inside[0]) ** criterion.law, "law": law} for e in inside
            ]
            line = {"type": "line", "color": "currentColor", "strokeDash": [4, 3], "strokeWidth": 1, "clip": True}
            said = {"type": "text", "align": "right", "dx": -4, "dy": -6, "fontSize": 10.5, "color": "currentColor"}
            middle = guide[len(guide) // 2 : len(guide) // 2 + 1]
            place_of = {"y": y, "color": {"value": "currentColor"}}
            layers.append({"data": {"values": guide}, "mark": line, "encoding": place_of})
            text = {**place_of, "text": {"field": "law", "type": "nominal"}}
            layers.append({"data": {"values": middle}, "mark": said, "encoding": text})
    return layers
