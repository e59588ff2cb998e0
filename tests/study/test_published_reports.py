"""The reports in `reports/` are of the studies in `studies/` as they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ebm_vs_prob.report.overview import gather_findings
from ebm_vs_prob.study import load_study
from ebm_vs_prob.study.archives import unpack_results
from ebm_vs_prob.study.comparisons import contrasts
from ebm_vs_prob.study.statistics import MIN_SEEDS
from ebm_vs_prob.study.verification import verify

REPORTS = Path(__file__).parents[2] / "reports"
#: Studies that re-derive a published experiment, and the criteria that it decided.
REDERIVED = {
    "nyu_ellipse": ("C7-axes", "C3-bias", "C7-coarse-floor", "C11-energy-gradient", "C11-likelihood-gradient"),
    "flow_on_circle": ("C11-curvature", "C11-gap", "C11-thick"),
    "von_mises_collapse": ("C10-collapse", "C10-support", "C10-density"),
}
REPORTED = sorted(path.parent.name for path in REPORTS.glob("*/verdicts.json"))
#: The published order of means on the regression toy, as differences that it makes positive.
ORDER = ("C10-kld-is", "C10-denoising", "C10-score")


def verdicts(name):
    return json.loads((REPORTS / name / "verdicts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", REPORTED)
def test_a_report_decides_the_criteria_of_its_study(name):
    scale = json.loads((REPORTS / name / "result.json").read_text(encoding="utf-8"))["scale"]
    study = load_study(name).held_at(scale)
    reported = [
        (v["criterion"], v["statement"], v["metric"], v["task"], v["arm"], v["against"], v["above"], v["below"])
        for v in verdicts(name)
        if v["scope"] == "comparison"
    ]
    asked = [
        (c.id, c.statement, c.metric, task, arm, against, c.above, c.below)
        for c in study.criteria
        for task, arm, against in contrasts(c)
    ]
    assert reported == asked
    assert all(v["seeds"] + v["failed"] >= MIN_SEEDS for v in verdicts(name) if v["scope"] == "comparison")
    assert {v["claim"] for v in verdicts(name) if v["scope"] == "claim"} == set(study.claims)
    for page in ("index.html", "report.md", "citation.bib"):
        assert (REPORTS / name / page).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTED)
def test_a_checkout_alone_verifies_a_report(name, tmp_path):
    """By the plan and the records beside it: the identifier that it names, and every verdict that it prints."""
    result = json.loads((REPORTS / name / "result.json").read_text(encoding="utf-8"))
    store = unpack_results(REPORTS / name / "records.zip", tmp_path)
    found = verify(load_study(name), result["scale"], store, REPORTS / name)
    assert found.problems == []
    assert (found.identifier, found.published) == (result["id"], result["id"])
    assert found.differences == []


def test_the_index_has_every_report():
    found = {(claim, each.study) for claim, all_ in gather_findings(REPORTS).items() for each in all_}
    told = {(v["claim"], name) for name in REPORTED for v in verdicts(name) if v["scope"] == "claim"}
    assert found == told


@pytest.mark.parametrize("name", sorted(set(REDERIVED) & set(REPORTED)))
def test_published_experiments_come_out_as_published(name):
    for criterion in REDERIVED[name]:
        decided = [v for v in verdicts(name) if v["scope"] == "comparison" and v["criterion"] == criterion]
        assert decided
        assert {v["verdict"] for v in decided} == {"supported"}, criterion


@pytest.mark.skipif("gustafsson_1d" not in REPORTED, reason="its report is not there")
def test_the_published_order_holds_in_the_seed_mean():
    compared = [v for v in verdicts("gustafsson_1d") if v["scope"] == "comparison" and v["criterion"] in ORDER]
    assert len(compared) == 6
    assert all(v["estimate"] > 0 for v in compared)
