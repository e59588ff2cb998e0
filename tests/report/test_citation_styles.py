# ruff: noqa: RUF001
"""Every paper of the package in the forms that are printed: readable text, and YAML as the format asks for."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import ebm_vs_prob as evp
from ebm_vs_prob.core.bibliography import Entry, parse, references
from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.report.citation import entries
from ebm_vs_prob.report.citation_styles import apa, cff, link, plain, short
from ebm_vs_prob.study import load_study

yaml = pytest.importorskip("yaml")
PAPERS = references()


@pytest.mark.parametrize("style", [apa, short])
def test_no_latex_is_left(style):
    for paper in PAPERS.values():
        text = style(paper)
        assert not re.search(r"[\\{}$]", text), text
        assert paper.fields["year"] in text


def test_an_article_as_the_manual_has_it():
    assert apa(PAPERS["arrow1951optimal"]) == (
        "Arrow, K. J., Harris, T., & Marschak, J. (1951). Optimal Inventory Policy. Econometrica, 19(3), 250–272. "
        "https://doi.org/10.2307/1906813"
    )
    assert short(PAPERS["arrow1951optimal"]) == "Arrow, Harris and Marschak 1951"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x"])
def test_what_is_no_place_on_the_web_is_linked_in_no_style(url):
    bad = Entry("misc", "k", {"author": "A, B", "title": "T", "year": "2000", "url": url})
    assert link(bad) == ""
    assert url not in apa(bad)
    assert url not in cff([bad, bad])


@pytest.mark.parametrize(
    ("latex", "text"),
    [(r"Svens{\'e}n", "Svensén"), (r"Schr{\"o}der", "Schröder"), (r"{\c{C}}elik", "Çelik"), (r"A \& B", "A & B")],
)
def test_accents_are_composed(latex, text):
    assert plain(latex) == text


def test_the_citation_file_is_yaml_with_what_the_format_asks_for():
    package = Entry("software", "x", {"author": "{The developers}", "title": "T: {A}", "version": "1.0", "note": "n"})
    read = yaml.safe_load(cff([package, *PAPERS.values()]))
    assert {"cff-version", "message", "title", "authors", "type"} <= read.keys()
    assert read["authors"] == [{"name": "The developers"}]
    assert len(read["references"]) == len(PAPERS)
    for paper in read["references"]:
        assert {"type", "title", "authors"} <= paper.keys()
        assert paper["authors"]


def test_papers_of_a_plugin_are_cited_too():
    @evp.register_method
    class WithPaper(METHODS.get("mean_squared_error")):
        name = "with_paper"
        references = ("own2026",)
        bibliography = "@article{own2026, author = {Own, Ada}, title = {A Paper}, journal = {J}, year = {2026}}"

    try:
        study = load_study("thin_manifold")
        run = pd.DataFrame([{"task": "circle", "arm": "own", "method": "with_paper", "scale": "full"}])
        found = {entry.key: entry for entry in entries(study, run, "evp-0123456789abcdef")}
    finally:
        METHODS.unregister("with_paper")
    assert apa(found["own2026"]) == "Own, A. (2026). A Paper. J."
    assert "evp-0123456789abcdef" in found["ebm_vs_prob"].fields["note"]
    assert parse(str(found["ebm_vs_prob"])).keys() == {"ebm_vs_prob"}
