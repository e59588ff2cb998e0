"""Whatever titles, labels, reasons, notes and metric names hold, each format of a report stays well-formed."""

from __future__ import annotations

import csv
import io
import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from fault_counts import examples
from hypothesis import example, given
from hypothesis import strategies as st
from synthetic_results import row

from ebm_vs_prob.core.bibliography import parse
from ebm_vs_prob.core.text import is_hidden, printable
from ebm_vs_prob.report import rendering, tables
from ebm_vs_prob.report.citation import bibtex
from ebm_vs_prob.report.escaping import csv_text, escape_markdown, printable_inputs, read_script_data, script_data
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.report.latex import to_latex_text
from ebm_vs_prob.study.schema import Study

pieces = st.sampled_from(
    ['" style="}x{', ' id="', "<!--", "]]>", "</style>", "$x$", "\\", "{", "}", "[1]", "*", "=1+1", "\n", "\x00",
     "\u202e", "\ud800", "#1a1a1a", "url(#a", "&amp;", "%", "~", "^", "_", "é"]
)  # fmt: skip
hostile = st.lists(pieces | st.text(max_size=6), max_size=5).map("".join)
shown = hostile.map(printable)


@examples(15)
@given(shown)
@example('a" style="}b{" id="c" #1a1a1a url(#d')
@example("_hidden")
@example("</script><script>alert(1)</script>")
def test_svg_parses_and_shows_the_text_as_it_is(text):
    values = [{"x": 1, "said": f"x{text}x"}]
    spec = rendering.specification(
        {
            "data": {"values": values},
            "mark": {"type": "text", "limit": 0},
            "encoding": {"text": {"field": "said"}, "x": {"field": "x", "type": "quantitative"}},
        }
    )
    svg = rendering.to_svg(spec, {}, "name", f"t{text}t", f"d{text}d")
    for root in (ElementTree.fromstring(svg), ElementTree.fromstring(rendering.standalone(svg).encode())):
        assert root.find("{*}title").text == f"t{text}t"
        assert root.find("{*}desc").text == f"d{text}d"
        said = {" ".join("".join(element.itertext()).split()) for element in root.findall(".//{*}text")}
        assert " ".join(f"x{text}x".split()) in said


@given(st.dictionaries(shown, shown | st.lists(shown, max_size=2), max_size=3))
@example({"a": "</script><!--"})
def test_data_of_a_page_come_back_and_end_no_element(value):
    text = script_data(value)
    assert "<" not in text
    assert read_script_data(text) == value


@given(st.text(max_size=40))
def test_what_was_not_packed_is_no_data(text):
    with pytest.raises(ValueError, match="cannot be read"):
        read_script_data(text)


@examples(60)
@given(st.lists(hostile, min_size=2, max_size=4))
@example(["=1", "+1", "-1", "@SUM(1)"])
@example(["[1]", "*"])
def test_csv_comes_back_and_latex_and_bibtex_hold(tmp_path_factory, texts):
    frame = pd.DataFrame({f"c{k}": [text, text] for k, text in enumerate(map(printable, texts))})
    folder = tmp_path_factory.mktemp("tables")
    tables.write_tables({"t": (frame, frame, printable(texts[0]))}, {"n": frame}, folder, "study")
    for name in ("t", "n"):
        read = list(csv.reader(io.StringIO((folder / f"{name}.csv").read_text(encoding="utf-8"), newline="")))
        assert read[1] == read[2] == [csv_text(text) for text in frame.iloc[0]]
        assert not any(cell[:1] in ("=", "+", "-", "@") for line in read for cell in line if cell)
    latex = (folder / "t.tex").read_text(encoding="ascii")
    bare = re.sub(r"\\[a-z]+|\\[&%$#_\\]", "", latex)
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)&", latex)) == 3 * (len(texts) - 1)
    assert not re.search(r"\\\\\s*[\[*]", latex)
    entry = f"@misc{{key,\n  note = {{{to_latex_text(printable(texts[0]))}}},\n}}\n"
    assert list(parse(entry)) == ["key"]


@given(shown)
def test_markdown_has_no_markup_of_the_text(text):
    escaped = escape_markdown(text)
    assert not re.search(r"(?<!\\)[`*_\[\]|#~$]|<", re.sub(r"\\\\", "", escaped))
    assert "\n" not in escaped


@given(hostile, hostile)
def test_what_results_hold_of_others_is_made_printable(reason, note):
    results = pd.DataFrame([row("circle", "a", 0.1, 0, None, 0.0, reason=reason, note=note)], dtype=object)
    inputs = Inputs(None, "quick", results, {}, {"origin": (note,)}, ({"arm": "a", "task": "t", "reason": reason},))
    made = printable_inputs(inputs)
    texts = [
        made.results["reason"][0],
        made.results["note"][0],
        made.skipped[0]["reason"],
        made.provenance["origin"][0],
    ]
    assert texts == [printable(reason), printable(note), printable(reason), printable(note)]
    assert not any(map(is_hidden, "".join(texts)))
    assert made.results["metric"][0] is None


def test_a_studys_own_text_is_held_to_the_same_without_a_file():
    from ebm_vs_prob.study import load_study

    study = load_study("gustafsson_1d").model_dump(by_alias=True)
    for field in ("title", "question"):
        with pytest.raises(ValueError, match=f"{field} = .*U\\+202E"):
            Study(**{**study, field: "a\u202eb"})
    named = Study(**{**study, "title": "a { b"})
    assert "ebm_vs_prob" in parse(
        bibtex(named, pd.DataFrame({"task": ["circle"], "arm": ["a"], "method": ["hinge"], "scale": ["quick"]}))
    )
