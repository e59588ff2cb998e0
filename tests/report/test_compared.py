# ruff: noqa: RUF001
"""The page of two stores says first what flipped and moved, with the numbers of both, and needs no other file."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import numpy as np
import pytest
from study_files import copy_changed, registered_plugin, write_study

from ebm_vs_prob.report.compared import sentence, write_compared
from ebm_vs_prob.study import Store, run_study
from ebm_vs_prob.study.comparing import compare_stores

CRITERIA = """
[[criteria]]
id = "density"
claim = "C11"
primary = true
statement = "It has density where the data are"
kind = "value"
metric = "gibbs_log_score"
arms = ["plain"]
tasks = ["circle"]
at = [0.3, 0.1]
above = -3.0

[[criteria]]
id = "stiffer"
claim = "C12"
primary = true
statement = "A stiff ring is stiffer"
kind = "ratio"
metric = "weight_norm"
arms = ["stiff"]
against = ["plain"]
tasks = ["circle"]
at = [0.1]
above = 1.5

[[criteria]]
id = "told"
claim = "C12"
primary = false
statement = "Stiff and plain rings are told apart"
kind = "share"
metric = "weight_norm"
split = 6.0
arms = ["stiff"]
against = ["plain"]
tasks = ["circle"]
at = [0.3, 0.1]
above = 0.9
"""
ARMS = {"plain": ("ring", ""), "stiff": ("ring", "stiffness = 9.0")}


def moved(record, row):
    """Thin rings as if they had come out less dense, and half as stiff where they are stiff."""
    rng = np.random.default_rng([record["specification"]["seed"], 7])
    stiff = record["specification"]["method"]["options"]["stiffness"] == 9.0
    if record["specification"]["task"]["options"]["thickness"] == 0.1:
        if row["metric"] == "gibbs_log_score":
            row["value"] -= 2 + 0.1 * rng.standard_normal()
        if row["metric"] == "weight_norm" and stiff:
            row["value"] *= 0.5 * np.exp(0.05 * rng.standard_normal())
    return row


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    with registered_plugin():
        path = write_study(folder / "rings.toml", ARMS, seeds=10, extra=CRITERIA)
        run_study(path, engine="serial", device="cpu", store=folder / "first", progress=False)
        first = Store(folder / "first")
        yield first, copy_changed(first, folder / "second", "rings", moved)


@pytest.fixture(scope="module")
def found(stores):
    return compare_stores(*stores)


def test_means_of_both_lie_in_their_intervals_and_the_change_between_them(found):
    shifts = {(shift.criterion, shift.at): shift for shift in found[0].shifts}
    assert [key for key, shift in shifts.items() if shift.moved == "yes"] == [
        ("density", "thickness 0.1"), ("stiffer", "thickness 0.1"), ("told", "thickness 0.3, 0.1"),
    ]  # fmt: skip
    for shift in shifts.values():
        assert shift.first_low <= shift.first <= shift.first_high
        assert shift.second_low <= shift.second <= shift.second_high
        change = shift.second / shift.first if shift.ratio else shift.second - shift.first
        assert shift.change == pytest.approx(change)
    told = shifts["told", "thickness 0.3, 0.1"]
    assert (told.arm, told.against, told.first) == ("all arms", "", 1.0)
    assert told.second == pytest.approx(0.75)  # of four cells the stiff thin one is no longer told


def test_the_sentence_counts_what_moved_and_names_claims_that_flipped(found):
    assert sentence(found[0]) == (
        "Of 4 effects, 3 moved and 1 is identical; 2 claims and 3 comparisons flipped: C11 from supported to "
        "qualified and C12 from supported to refuted."
    )
    still = [replace(shift, moved="no") for shift in found[0].shifts]
    same = replace(found[0], shifts=still, flips=[])
    assert sentence(same) == "Of 4 effects, none moved and 4 did not move; no verdict flipped."
    assert sentence(replace(same, shifts=[])) == "No effect was compared; no verdict flipped."


def test_the_page_says_flips_before_effects_and_every_number_of_those_that_moved(found, stores, tmp_path):
    page = write_compared(found, *stores, tmp_path / "new" / "compared.html").read_text(encoding="utf-8")
    assert page.index(sentence(found[0])) < page.index("Verdicts that flipped") < page.index("Effects that moved")
    assert page.count('<li class="flip') == len(found[0].flips)
    assert re.findall(r"<figure id=\"rings-quick-(\w+)\"", page) == ["density", "stiffer", "told"]
    described = " ".join(re.findall(r"<desc[^>]*>([^<]*)</desc>", page))
    assert "plain, circle, thickness 0.1: −2.0" in described.replace("against ", "")
    assert "×0.5" in described
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#)', re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))
    assert "Their records say the same of their origin" in page


def test_what_comes_from_elsewhere_is_text_and_its_origin_is_told(found, stores, tmp_path):
    first, _ = stores
    hostile = "<script>alert(1)</script> & more"
    labels, statements = {"plain": hostile, "stiff": hostile}, dict.fromkeys(found[0].statements, hostile)
    planted = replace(found[0], title=hostile, labels=labels, statements=statements)
    other = copy_changed(first, tmp_path / hostile.replace("/", ""), "rings", moved, elsewhere=hostile)
    page = write_compared([planted], first, other, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "Where A and B differ in origin (1)" in page
    assert f'<td data-label="B">{html.escape(hostile)}</td>' in page


@pytest.mark.parametrize("name", ["page.txt", "reports", ".html"])
def test_a_page_needs_a_name_of_its_own(found, stores, tmp_path, name):
    (tmp_path / "reports").mkdir()
    with pytest.raises(ValueError, match=r"--out = .* is not valid: expected the path of a page"):
        write_compared(found, *stores, tmp_path / name)
