"""Weight of a page: what occurs again is written once, and every published page with its script is below 3 MB."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebm_vs_prob.report import rendering
from ebm_vs_prob.report.sharing import fold, unfold

PUBLISHED = sorted((Path(__file__).parents[2] / "reports").glob("*/index.html"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.sampled_from(["", "arm", "a label that is rather long", "another label that is no shorter"])
VALUES = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3)
)


@given(VALUES, VALUES)
def test_what_is_folded_unfolds_to_the_same(one, other):
    value = {"first": [one, other, one], "second": {"deep": [other, {"deeper": one}]}}
    assert unfold(json.loads(json.dumps(fold(value)))) == value


def test_what_occurs_again_is_written_once_with_all_that_is_in_it():
    axis = {"title": "thickness of the data", "values": [0.3, 0.1, 0.03, 0.01]}
    panels = [{"x": axis, "y": {"field": f"metric number {i}", "scale": axis}} for i in range(50)]
    text = json.dumps(fold(panels))
    assert text.count("thickness of the data") == 1
    assert len(text) < 0.5 * len(json.dumps(panels))


def test_a_part_refers_to_earlier_ones_only():
    inner = ["a label that is rather long", 1]
    outer = {"inner": inner, "more": "another label that is no shorter"}
    folded = fold([outer, outer, inner, inner])
    for place, part in enumerate(folded["parts"]):
        references = [value["$"] for value in getattr(part, "values", list)() if isinstance(value, dict)]
        assert all(reference < place for reference in references)


def test_marks_of_one_look_are_drawn_once_each_in_its_place():
    points = [{"x": i, "y": i * i % 7, "kind": "ab"[i % 2]} for i in range(40)]
    spec = {
        "data": {"values": points},
        "mark": {"type": "point"},
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
            "shape": {"field": "kind", "type": "nominal"},
        },
    }
    root = ElementTree.fromstring(rendering.to_svg(spec, {}, "points", "Points", "40 of them"))
    used = list(root.iter("{http://www.w3.org/2000/svg}use"))
    assert len(used) == len(points)
    assert len({(use.get("x"), use.get("y")) for use in used}) == len(points)
    ids = {part.get("id") for part in root.iter()}
    targets = {use.get("{http://www.w3.org/1999/xlink}href").removeprefix("#") for use in used}
    assert len(targets) == 2
    assert targets <= ids


@pytest.mark.parametrize("page", PUBLISHED, ids=lambda page: page.parent.name)
def test_a_published_page_with_the_script_that_draws_it_is_below_3_megabytes(page):
    assert page.stat().st_size + len(rendering.script().encode()) < 3e6
