"""A criterion is held against what needs no training: it must be one that can be passed and can be failed."""

from __future__ import annotations

import json

import pytest
from study_files import write_study
from typer.testing import CliRunner

from ebm_vs_prob.cli.commands import app
from ebm_vs_prob.study import check_feasible, list_studies, load_study
from ebm_vs_prob.study.feasibility import feasibility

CRITERION = """
[[criteria]]
id = "asked"
claim = "C11"
statement = "It is so"
kind = "{kind}"
metric = "{metric}"
arms = ["plain"]
tasks = ["circle"]
{bounds}
"""


def asked(folder, kind, metric, bounds):
    return load_study(
        write_study(folder / "rings.toml", extra=CRITERION.format(kind=kind, metric=metric, bounds=bounds))
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch, plugin):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("kind", "metric", "bounds"),
    [
        ("slope", "curvature_p95", "range = [0.05, 0.5]\nbelow = -1.5\nlaw = -2.0"),
        ("value", "likelihood_gap", "at = [0.1]\nbelow = 0.1"),
        ("value", "likelihood_gap", "at = [0.1]\nabove = 0.1"),
        ("value", "likelihood_gap", "at = [0.1]\nabove = 0.1\nbelow = 0.3"),
        ("value", "tube_mass", "at = [0.3, 0.1]\nabove = 0.9"),
        ("difference", "descent_success_line_search", 'against = ["plain"]\nat = [0.1]\nabove = 0.3'),
        ("ratio", "answer_distance_median", 'against = ["plain"]\nat = [0.1]\nabove = 3.0'),
        ("slope", "training_gradient_late", "range = [0.05, 0.5]\nbelow = -0.5\nlaw = -1.0"),
        ("value", "elbo_gap", "at = [0.1]\nabove = 0.1"),
    ],
)
def test_what_can_be_passed_and_failed_is_feasible(tmp_path, kind, metric, bounds):
    (held,) = check_feasible(asked(tmp_path, kind, metric, bounds), "quick")
    assert held.problem == ""
    assert (held.criterion, held.task) == ("asked", "circle")
    assert not set(held.passed) & set(held.failed)


@pytest.mark.parametrize(
    ("kind", "metric", "bounds", "why"),
    [
        ("value", "likelihood_gap", "at = [0.1]\nbelow = -0.1", "passed by anything known: .* exact 0"),
        ("value", "tube_mass", "at = [0.1]\nabove = 1.5", "passed by anything known: .* constant energy 0"),
        ("value", "tube_mass", "at = [0.1]\nabove = -0.5", "failed by anything known: passed by exact 1"),
        ("slope", "curvature_p95", "range = [0.05, 0.5]\nbelow = 1.0", "failed by anything known: passed by exact -"),
        (
            "slope",
            "curvature_p95",
            "range = [0.05, 0.5]\nbelow = -9.0\nlaw = -2.0",
            "passed by anything known: .*law -2",
        ),
        (
            "difference",
            "descent_success_line_search",
            'against = ["plain"]\nat = [0.1]\nabove = 1.0',
            "passed by anything known",
        ),
    ],
)
def test_what_cannot_is_refused_with_the_numbers(tmp_path, kind, metric, bounds, why):
    study = asked(tmp_path, kind, metric, bounds)
    with pytest.raises(
        ValueError, match=rf"rings\.toml: criteria\.asked: on circle it cannot be {why}|{why}"
    ) as caught:
        check_feasible(study, "quick")
    assert "\n" not in str(caught.value)
    assert feasibility(study, "quick")[0].problem


def test_plan_shows_what_is_known_and_refuses_what_decides_nothing(tmp_path):
    path = write_study(
        tmp_path / "rings.toml",
        extra=CRITERION.format(kind="value", metric="tube_mass", bounds="at = [0.1]\nabove = 0.9"),
    )
    shown = CliRunner().invoke(app, ["plan", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "Criteria, held against what is known" in shown.output
    assert "exact 1" in shown.output
    (row,) = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout)["criteria"]
    assert row["criterion"] == "asked"
    path.write_text(path.read_text().replace("above = 0.9", "above = -0.9"))
    with pytest.raises(ValueError, match="cannot be failed"):
        CliRunner().invoke(app, ["plan", str(path)], catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name == "flow_on_circle")) for name in list_studies()]
)
def test_every_packaged_study_is_feasible(name):
    study = load_study(name)
    held = check_feasible(study, "quick")
    assert {each.criterion for each in held} == {criterion.id for criterion in study.held_at("quick").criteria}


def test_seeds_that_cannot_decide_a_claim_are_refused_but_for_a_first_look(tmp_path):
    shares = CRITERION.format(kind="value", metric="tube_mass", bounds="at = [0.1]\nabove = 0.95")
    path = write_study(tmp_path / "rings.toml", extra=shares, seeds=20)
    text = path.read_text()
    assert check_feasible(load_study(path), "quick")
    path.write_text(text.replace("[scales.quick]", "[scales.standard]"))
    # Of twenty seeds that are all 1, .95^20 is .36 of the time a law whose mean is .95.
    with pytest.raises(ValueError, match=r"20 seeds cannot decide it: where all come out at their best p is 0\.72"):
        check_feasible(load_study(path), "standard")
    path.write_text(path.read_text().replace("above = 0.95", 'above = 0.95\nstatistic = "median"'))
    assert check_feasible(load_study(path), "standard")
