"""The page of a challenge says first how many rounds came out how, then shows every one, and needs no other file."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_results import COLUMNS, hash_of, row

from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.report.challenged import PAGE, PLAIN, challenge_pages, rules_in_words
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.report.page import html
from ebm_vs_prob.study.challenge import OUTCOMES, rounds
from ebm_vs_prob.study.provenance import code_digest
from ebm_vs_prob.study.standard_panels import CHALLENGER, SCALE, keep_panel, panel

IDENTIFIER = "evp-0123456789abcdef"
UNITS = {"answer_distance_median": "data units", "gibbs_log_score": "nats", "two_sample_accuracy": "share"}


def challenged() -> Inputs:
    """A panel with every outcome: of two tasks at three settings, the hinge against two arms of each family.

    Its answers are better at the thickest and worse at the thinnest, two of its trainings failed between, it has no
    density on one task, and at the thinnest samples of three seeds only, on the other too scattered to tell at the
    thickest.
    """
    study, _ = panel("hinge")
    rows = []
    for grid in study.tasks:
        for arm in study.arms:
            for eps in grid.settings:
                for seed in range(10):
                    told = {"method": arm.method, "family": METHODS.get(arm.method).family, "study": study.name}
                    if arm.name == CHALLENGER and eps == 0.1 and seed < 2:
                        rows.append(row(grid.name, arm.name, eps, seed, None, np.nan, status="failed", **told))
                        continue
                    for metric, value in planted(grid.name, arm.name, eps, seed).items():
                        rows.append(row(grid.name, arm.name, eps, seed, metric, value, unit=UNITS[metric], **told))
    return Inputs(study, SCALE, pd.DataFrame(rows, columns=COLUMNS), identifier=IDENTIFIER)


def planted(task, arm, eps, seed):
    draw = np.random.default_rng([hash_of(task), hash_of(arm), hash_of(eps), seed])
    own = arm == CHALLENGER
    better = {0.3: 0.5, 0.1: 1.0, 0.03: 2.0}[eps] if own else 1.0
    found = {"answer_distance_median": 0.1 * better * np.exp(0.1 * draw.standard_normal())}
    if not own or task == "circle":
        found["gibbs_log_score"] = -1.0 + 0.5 * own + 0.1 * draw.standard_normal()
    if not own or eps > 0.03 or seed < 3:
        found["two_sample_accuracy"] = 0.7 + (0.2 if own and task == "circle" else 0.02) * draw.standard_normal()
    return found


@pytest.fixture(scope="module")
def inputs():
    return challenged()


@pytest.fixture(scope="module")
def pages(inputs):
    return challenge_pages(inputs, inputs.verdicts(), html())


def test_every_round_is_drawn_told_and_counted(inputs, pages):
    found = rounds(inputs.study, inputs.results, SCALE)
    assert len(found) == 36
    assert {each.outcome for each in found} == set(OUTCOMES)
    text = pages[PAGE]
    counts = {outcome: sum(each.outcome == outcome for each in found) for outcome in OUTCOMES}
    sentence = re.search(r'<p class="question">([^<]*)</p>', text)[1]
    assert sentence.startswith(f"hinge wins {counts['wins']}, ties {counts['ties']} and fails {counts['fails']} of 36")
    assert text.index(sentence) < text.index("<figure")
    figures = re.findall(r'<figure id="challenge_hinge-(\w+)-(\w+)">(.*?)</figure>', text, re.DOTALL)
    assert [(criterion, task) for criterion, task, _ in figures] == [
        (criterion.id, task) for criterion in inputs.study.criteria for task in criterion.tasks
    ]
    for criterion, task, figure in figures:
        here = [each for each in found if (each.criterion, each.task) == (criterion, task)]
        drawn, told = figure.split("</desc>")[1], re.search(r"<desc[^>]*>([^<]*)</desc>", figure)[1]
        for each in here:
            label = inputs.study.arm(each.rival).title
            assert f"ε = {each.setting:g}, {each.family}: {label}" in told
        for outcome in {each.outcome for each in here}:
            assert drawn.count(f" {outcome}</text>") == sum(each.outcome == outcome for each in here)
            assert told.count(f", {outcome}") == sum(each.outcome == outcome for each in here)
    assert text.count('<td data-label="outcome">') == 36


def test_units_rivals_what_was_asked_and_the_result_are_named(inputs, pages):
    text = pages[PAGE]
    assert "Ratio of the median distance of answers (data units), its own over the rival's: it wins below 1" in (
        text.replace("&#39;", "'")
    )
    assert "log score (nats)" in text
    assert IDENTIFIER in text
    for arm in inputs.study.arms:
        assert arm.title in text
    assert "0 to 9" in text
    assert "2 failed" in text
    assert "<script" not in text
    led = re.findall(r'(?:src|href)="(?!#)([^"]*)', re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
    assert set(led) == {"index.html"}
    assert f"Result {IDENTIFIER}." in pages[PLAIN]


def test_what_comes_from_elsewhere_is_text(inputs):
    hostile = "<script>alert(1)</script> & more"
    arms = tuple(arm.model_copy(update={"label": hostile}) for arm in inputs.study.arms)
    claims = tuple(each.model_copy(update={"statement": hostile}) for each in inputs.study.criteria)
    study = inputs.study.model_copy(update={"arms": arms, "criteria": claims})
    text = challenge_pages(replace(inputs, study=study), [], html())[PAGE]
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_without_any_number_of_a_rival_the_page_says_so(inputs):
    results = inputs.results
    alone = replace(inputs, results=results[results["arm"] == CHALLENGER])
    text = challenge_pages(alone, [], html())[PAGE]
    assert "hinge wins 0, ties 0 and fails 0 of 0" in text
    assert text.count("No rival has this number") == 3


def test_rules_are_said_to_be_kept_by_the_code_that_they_were_checked_with(inputs, tmp_path):
    study, text = panel("hinge")
    assert "Nothing here says whether it keeps the rules of a method" in rules_in_words(inputs)
    kept = keep_panel(tmp_path, text, "hinge")
    keys = inputs.results.loc[inputs.results["arm"] == CHALLENGER, "trial"].unique()
    for digest, said in ((code_digest(), "with the code that trained it"), ("0" * 64, "with other code than that")):
        records = {key: {"code_digest": digest, "plugins": {}} for key in keys}
        assert said in rules_in_words(replace(inputs, study=kept, records=records))
    assert kept.name == study.name
