# ruff: noqa: RUF001
"""The page over all reports: home studies decide, others are said beside them, what was not studied is said too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ebm_vs_prob.report import write_all
from ebm_vs_prob.report.overview import gather_findings, reconcile
from ebm_vs_prob.report.rendering import script
from ebm_vs_prob.study.claims import CLAIMS, LECTURE, REGISTER
from ebm_vs_prob.study.comparisons import Cell
from ebm_vs_prob.study.published import read_verdicts
from ebm_vs_prob.study.verdicts import Verdict


def report(out, study, claim, outcome, metric="curvature_p95", **other):
    """The verdicts of a study that decided one claim, as its report has them."""
    known = {"criterion": "K", "kind": "slope", "metric": metric, "task": "circle", "arm": "raw", "below": -1.5}
    numbers = {"estimate": -1.18, "low": -1.3, "high": -1.0, "seeds": 10, "p": 0.01, "axis": "thickness"}
    numbers["cells"] = (Cell((0.01, 0.1), -1.18, -1.3, -1.0, 10, 0, 0.01, False),)
    part = Verdict("comparison", claim, outcome, "why", primary=True, **{**known, **numbers, **other})
    whole = Verdict("claim", claim, outcome, "1 comparison", primary=True, **{**known, **numbers, **other})
    (out / study).mkdir(parents=True, exist_ok=True)
    text = json.dumps([part.as_dict(), whole.as_dict()], allow_nan=False)
    (out / study / "verdicts.json").write_text(text, encoding="utf-8")


def test_the_home_study_decides_and_the_others_stand_beside_it(tmp_path):
    report(tmp_path, "another", "C11", "supported")
    report(tmp_path, "thin_manifold", "C11", "refuted")
    found = gather_findings(tmp_path)["C11"]
    assert [(each.study, each.home) for each in found] == [("thin_manifold", True), ("another", False)]
    verdict, said = reconcile("C11", found)
    assert verdict == "refuted"
    assert "For “raw” on circle, the raw curvature grows as ε^−1.18 [−1.30, −1.00]; asked for an exponent" in said
    assert "Beside it: another finds it supported (raw curvature ∝ ε^−1.18)." in said


def test_of_a_qualified_claim_the_numbers_of_both_sides_are_told(tmp_path):
    cells = (Cell((0.3,), 0.8, 0.7, 0.9, 10, 0, 0.01, True), Cell((0.01,), 0.2, 0.1, 0.3, 10, 0, 0.01, False))
    about = {"kind": "value", "metric": "tube_mass", "below": None, "above": 0.5}
    report(tmp_path, "another", "C11", "qualified", cells=cells, **about)
    (found,) = gather_findings(tmp_path)["C11"]
    told = "holds: share of samples inside the tube: 0.800; does not: share of samples inside the tube: 0.200"
    assert found.number == told
    assert f"another finds it qualified ({told})" in reconcile("C11", [found])[1]
    assert told in write_all(tmp_path).read_text(encoding="utf-8")


def test_of_a_study_the_largest_scale_decides_and_a_shrunk_run_is_no_result(tmp_path):
    report(tmp_path, "thin_manifold", "C11", "refuted")
    (tmp_path / "thin_manifold" / "result.json").write_text('{"scale": "quick"}', encoding="utf-8")
    report(tmp_path / "standard", "thin_manifold", "C11", "supported")
    report(tmp_path / "full-shrunk-01234567", "thin_manifold", "C11", "undecided")
    found = gather_findings(tmp_path)["C11"]
    assert [(each.scale, each.place) for each in found] == [
        ("standard", "standard/thin_manifold"),
        ("quick", "thin_manifold"),
    ]
    verdict, said = reconcile("C11", found)
    assert verdict == "supported"
    assert "Beside it: thin_manifold at quick finds it refuted" in said
    assert 'href="standard/thin_manifold/index.html#claim-C11"' in write_all(tmp_path).read_text(encoding="utf-8")


def test_without_its_home_study_a_claim_is_not_decided_and_without_any_not_studied(tmp_path):
    report(tmp_path, "another", "C11", "supported")
    assert reconcile("C11", gather_findings(tmp_path)["C11"]) == (
        "elsewhere",
        "Not decided: there is no report of its home study, thin_manifold, in this folder. Beside it: another finds "
        "it supported (raw curvature ∝ ε^−1.18).",
    )
    verdict, said = reconcile("C1", [])
    assert verdict == "unstudied"
    assert said == "There is no report of its home study, descent, in this folder."


def test_the_page_has_every_claim_its_words_and_a_link_to_each_report(tmp_path):
    report(tmp_path, "thin_manifold", "C11", "supported")
    report(tmp_path, "of_ones_own", "<b>mine</b>", "undecided")
    page = write_all(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<li class="claim (\w+)" id="(C\d+)"', page) == [
        ("supported" if claim == "C11" else "unstudied", claim) for claim in CLAIMS
    ]
    assert page.count(f'cite="{LECTURE}"') == 20
    assert 'href="thin_manifold/index.html#claim-C11"' in page
    assert "<b>mine</b>" not in page
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    (drawing,) = (tmp_path / "assets").glob("vega-*.js")
    assert "vegaEmbed" in drawing.read_text(encoding="utf-8")


@pytest.mark.parametrize("with_home", [False, True])
def test_where_no_home_study_has_a_report_the_studies_own_claims_come_first_and_the_lectures_are_folded(
    tmp_path, with_home
):
    report(tmp_path, "of_ones_own", "mine", "supported")
    if with_home:
        report(tmp_path, "thin_manifold", "C11", "supported")
    page = write_all(tmp_path).read_text(encoding="utf-8")
    own, lecture = page.index('<h3 id="mine">'), page.index('<li class="claim')
    folded = page.count("<details>", 0, lecture) > page.count("</details>", 0, lecture)
    assert (own < lecture, folded) == (not with_home, not with_home)
    assert page.count('<li class="claim') == len(CLAIMS)
    assert page.count('class="map"') == page.count('class="question"') == page.count('class="filter"') == 1
    skip = re.search(r'class="skip" href="#(\w+)"', page)
    assert skip is not None
    assert page.count(f'id="{skip[1]}"') == 1
    assert "not studied" not in page.lower()


def test_the_script_gets_every_name_by_which_pages_ask_for_it_and_no_other(tmp_path):
    """As where pages were written with other versions of the libraries. One asks for what lies outside the folder."""
    out = tmp_path / "reports"
    asked = {
        "thin_manifold": "../assets/vega-0123456789ab.js",
        "standard/thin_manifold": "../../assets/vega-ba9876543210.js",
        "harmful": "../assets/../../vega-0123456789ab.js",
    }
    for place, name in asked.items():
        report(out / Path(place).parent, Path(place).name, "C11", "supported")
        (out / place / "index.html").write_text(f'<p></p>\n<script src="{name}"></script>\n', encoding="utf-8")
    (out / "assets").mkdir()
    (out / "assets" / "vega-ba9876543210.js").write_text("what drew them then", encoding="utf-8")
    write_all(out)
    found = {path.name: path.read_text(encoding="utf-8") for path in (out / "assets").iterdir()}
    assert found.pop("vega-ba9876543210.js") == "what drew them then"
    assert found.pop("vega-0123456789ab.js") == script()
    assert list(found.values()) == [script()]
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_without_reports_is_refused_and_stays_as_it_is(tmp_path):
    for out in (tmp_path / "not" / "there", tmp_path):
        with pytest.raises(ValueError, match=r"^out = .* a folder with reports"):
            write_all(out)
    assert list(tmp_path.iterdir()) == []
    report(tmp_path / "quick-shrunk-01234567", "thin_manifold", "C11", "undecided")
    with pytest.raises(ValueError, match="at least one of no shrunk run"):
        write_all(tmp_path)


def test_verdicts_of_an_earlier_version_are_read_and_broken_files_passed_over(tmp_path):
    numbers = {"estimate": 0.9, "low": 0.8, "high": "inf"}
    cell = {**numbers, "thickness": [0.1], "seeds": 10, "failed": 0, "p": None, "holds": True}
    names = {"criterion": "K", "kind": "value", "metric": "tube_mass", "task": "circle", "arm": "a"}
    old = {"scope": "comparison", "claim": "C11", "verdict": "supported", "reason": "", "steps": [], "cells": [cell]}
    old |= names | numbers
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "verdicts.json").write_text(json.dumps([old]), encoding="utf-8")
    (read,) = read_verdicts(tmp_path / "old" / "verdicts.json")
    assert read.primary
    assert read.cells[0].at == (0.1,)
    assert read.high == float("inf")
    for name, text in (("broken", "{"), ("other", "{}"), ("empty", "[{}]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "verdicts.json").write_text(text, encoding="utf-8")
    assert gather_findings(tmp_path) == {}


@pytest.mark.parametrize("claim", REGISTER)
def test_each_claim_has_a_home_a_short_quotation_and_tags(claim):
    entry = REGISTER[claim]
    assert re.fullmatch(r"[a-z_]+", entry.home)
    assert 3 <= len(entry.quote.split()) <= 35
    assert entry.tags
