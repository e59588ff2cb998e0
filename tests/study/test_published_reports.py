"""The reports in `reports/` are of the studies in `studies/` as they stand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.report.overview import gather_findings
from ebm_vs_prob.study import load_study, open_model
from ebm_vs_prob.study.archives import FILE, RECORDS, unpack_results
from ebm_vs_prob.study.comparisons import contrasts
from ebm_vs_prob.study.recognition import check_recognised
from ebm_vs_prob.study.statistics import MIN_SEEDS
from ebm_vs_prob.study.verification import verify

REPORTS = Path(__file__).parents[2] / "reports"
#: Studies that re-derive a published experiment, and the criteria that it decided.
REDERIVED = {
    "nyu_ellipse": ("C7-axes", "C3-bias", "C7-coarse-floor", "C11-energy-gradient", "C11-likelihood-gradient"),
    "flow_on_circle": ("C11-curvature-smoothed", "C11-gap", "C11-thick"),
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
    store = unpack_results(REPORTS / name / FILE, tmp_path)
    found = verify(load_study(name), result["scale"], store, REPORTS / name)
    assert found.problems == []
    assert (found.identifier, found.published) == (result["id"], result["id"])
    assert found.differences == []


def is_current(record):
    told = record["specification"]["method"]
    return METHODS.get(told["name"]).version == told["version"]


def seconds_of_training(record):
    """What a trial took to train, those last that are compiled, as that takes half a minute more."""
    made = record["provenance"]
    return made["compiled"], made["seconds"]["fit"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "free_energy" else pytest.mark.slow) for name in REPORTED]
)
def test_the_model_behind_a_published_record_is_opened(name):
    """Of the trial that was trained soonest, of a method of which there is no later version. Its energies decide, since
    the code at hand need not be the record's."""
    with zipfile.ZipFile(REPORTS / name / FILE) as archive:
        records = [json.loads(line) for line in archive.read(RECORDS).splitlines()]
    trained = [each for each in records if each["status"] == "done" and each["steps"] and is_current(each)]
    record = min(trained, key=seconds_of_training)
    model = open_model(name, record["trial"], REPORTS / name / FILE)
    assert model.seeds == (record["specification"]["seed"],)
    check_recognised(record["trial"], record["energies"], model, model.tasks)


def test_the_index_has_every_report():
    found = {(claim, each.study) for claim, all_ in gather_findings(REPORTS).items() for each in all_}
    told = {(v["claim"], name) for name in REPORTED for v in verdicts(name) if v["scope"] == "claim"}
    assert found == told


@pytest.mark.parametrize("name", [*REDERIVED, "gustafsson_1d"])
def test_the_criteria_of_a_published_experiment_are_those_of_a_study(name):
    assert set(REDERIVED.get(name, ORDER)) <= {criterion.id for criterion in load_study(name).criteria}


@pytest.mark.parametrize("name", REDERIVED)
def test_published_experiments_come_out_as_published(name):
    for criterion in REDERIVED[name]:
        decided = [v for v in verdicts(name) if v["scope"] == "comparison" and v["criterion"] == criterion]
        assert decided
        assert {v["verdict"] for v in decided} == {"supported"}, criterion


def test_the_published_order_holds_in_the_seed_mean():
    compared = [v for v in verdicts("gustafsson_1d") if v["scope"] == "comparison" and v["criterion"] in ORDER]
    assert len(compared) == 6
    assert all(v["estimate"] > 0 for v in compared)
