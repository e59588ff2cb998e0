"""BibTeX is read back as it is written, what is registered names papers that exist, and none lies unused."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebm_vs_prob.control.exact import Exact
from ebm_vs_prob.core.bibliography import Entry, cited, conditions, papers, parse, references
from ebm_vs_prob.core.registry import METHODS as REGISTERED
from ebm_vs_prob.core.registry import TASKS
from ebm_vs_prob.metrics import METRICS
from ebm_vs_prob.report.citation import ALWAYS, bibtex
from ebm_vs_prob.testing.rules import check_declaration

PACKAGE = Path(__file__).parents[2] / "ebm_vs_prob"
OWN = [e for e in (*REGISTERED.entries(), *TASKS.entries()) if e.__module__.startswith("ebm_vs_prob.")]
#: The first is the truth itself, the others are textbook cases.
WITHOUT_PAPER = {"data", "exact", "mean_squared_error", "gaussian_classes"}
#: Papers of which no place on the web is known for certain.
WITHOUT_PLACE = {"ljolje1990estimation", "rosenblatt1969conditional"}


def test_what_papers_are_cited_with_is_an_option_and_values_of_it():
    base = REGISTERED.get("mixture_density")

    def told(**attributes):
        return conditions(type("Told", (base,), attributes))

    assert told(cited_with={}) == {}
    with pytest.raises(ValueError, match=r"cited_with of mixture_density.*objectives.*one of its options"):
        told(cited_with={"gutmann2012noise": ("objectives", ("nce",))})
    for malformed in ("objective", ("objective", "nce"), ("objective", ("nce",), 1)):
        with pytest.raises(ValueError, match=r"cited_with of mixture_density: gutmann2012noise.*a tuple of its values"):
            told(cited_with={"gutmann2012noise": malformed})
    with pytest.raises(ValueError, match=r"cited_with of mixture_density: objective = 'nces' .*a value of that option"):
        told(cited_with={"gutmann2012noise": ("objective", ("nces",))})
    with pytest.raises(LookupError, match="cited_with of mixture_density"):
        told(cited_with={"vincent2011connection": ("objective", ("nce",))})
    wrong = type("Told", (base,), {"cited_with": {"gutmann2012noise": ("objective", ("nces",))}})
    with pytest.raises(AssertionError, match="cited_with must name references, options and values of them"):
        check_declaration(wrong, "method told")


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.name)
def test_the_values_that_papers_are_cited_with_can_be_given(entry):
    for condition in conditions(entry).values():
        assert condition["values"] or not condition["default"]
        for value in condition["values"]:
            assert getattr(entry.Options.model_validate({condition["option"]: value}), condition["option"]) == value


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.name)
def test_what_is_registered_names_papers_that_exist(entry):
    assert bool(papers(entry)) == (entry.name not in WITHOUT_PAPER)
    assert entry.bibliography == ""


def test_every_entry_is_used_and_has_what_a_reader_needs():
    used = {key for entry in OWN for key in entry.references} | set(ALWAYS)
    used |= {key for metric in METRICS.values() for key in metric.references}
    assert used == set(references())
    for entry in references().values():
        assert {"author", "title", "year"} <= set(entry.fields), entry.key
        assert re.fullmatch(r"10\.\d{4,}/\S+", entry.fields.get("doi", "10.1000/x")), entry.key
        assert bool({"doi", "url"} & set(entry.fields)) == (entry.key not in WITHOUT_PLACE), entry.key
        assert entry.fields.get("url", "https://").startswith("https://"), entry.key
        if "arxiv.org" in entry.fields.get("url", "") and "eprint" in entry.fields:
            assert entry.fields["url"] == f"https://arxiv.org/abs/{entry.fields['eprint']}", entry.key


def test_the_package_file_is_written_as_it_is_read_and_in_order():
    text = (PACKAGE / "core" / "references.bib").read_text(encoding="utf-8")
    assert text.partition("\n\n")[2] == "\n".join(str(entry) for entry in references().values())
    assert list(references()) == sorted(references())


_VALUES = st.text(st.sampled_from('ab é{}\\"%,=@#'), max_size=12).filter(
    lambda v: _balanced(v) and v == " ".join(v.split())
)
_FIELDS = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), _VALUES, max_size=4)


def _balanced(value: str) -> bool:
    depth, escaped = 0, False
    for char in value:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            depth += (char == "{") - (char == "}")
            if depth < 0:
                return False
    return depth == 0 and not escaped


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9:_-]{0,8}", fullmatch=True), _FIELDS, max_size=3))
def test_what_is_written_is_read_back(given_fields):
    entries = {key: Entry("misc", key, fields) for key, fields in given_fields.items()}
    assert parse("% a comment\n" + "\n".join(map(str, entries.values()))) == entries


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stray", "line 1 = 'stray'"),
        ("@misc{a, title = {x}}\n@misc{a, title = {y}}", "key = 'a'"),
        ("@misc{a, title = {x}, Title = {y}}", "field = 'Title'"),
        ("@misc{a, title = {x}", "comma or the closing brace"),
        ("@misc{a, title = {x", "braces close"),
        ('@misc{a, title = "x"}', "a field as in"),
        ("@misc{a,\n title = {x} year = {1}}", "line 2"),
    ],
)
def test_what_is_not_bibtex_is_answered_in_one_line(text, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_a_plugin_brings_its_papers_and_a_wrong_key_is_named(monkeypatch):
    class Foreign(Exact):
        name = "foreign"
        references = ("someone2030paper", "hinton2002training")
        bibliography = "@misc{someone2030paper, author = {One, Some}, title = {A Paper}, year = {2030}}"

    REGISTERED.register(Foreign)
    try:
        text = bibtex(
            SimpleNamespace(
                name="s",
                title="t",
                tasks=[SimpleNamespace(name="circle", kind="circle", options={}, along={})],
                arms=[],
                criteria=(),
                gates=(),
            ),
            pd.DataFrame({"arm": ["own"], "method": ["foreign"], "task": ["circle"], "scale": ["full"]}),
        )
    finally:
        REGISTERED.unregister("foreign")
    keys = list(parse(text))
    assert keys == ["ebm_vs_prob", *ALWAYS, *Foreign.references, "loaizaganem2022diagnosing"]
    check_declaration(Foreign, "foreign")
    monkeypatch.setattr(Foreign, "references", ("hinton2002trainin",))
    with pytest.raises(AssertionError, match="did you mean 'hinton2002training'"):
        check_declaration(Foreign, "foreign")
    with pytest.raises(LookupError, match="did you mean 'holm1979simple'"):
        cited(["holm1979simpel"])
