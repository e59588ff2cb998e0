"""The standard panel is a study, and its rounds say where a method wins, ties and fails."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ebm_vs_prob as evp
from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.study.challenge import CHALLENGER, SCALE, panel, rounds, summary
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.statistics import MIN_SEEDS
from ebm_vs_prob.study.step_times import TYPICAL

DISCRETE = ("structured_perceptron", "softmax_classifier", "linear_chain_crf")


@pytest.mark.parametrize("method", ["hinge", "mixture_density", *DISCRETE])
def test_a_panel_can_be_planned_and_judged(method):
    study, _ = panel(method)
    plan = plan_study(study, SCALE, "cpu", times=TYPICAL)
    tasks = {condition.labels["task"] for condition in plan.conditions if condition.labels["arm"] == CHALLENGER}
    families = {condition.labels["family"] for condition in plan.conditions}
    assert tasks
    assert families == {"ebm", "prob"}
    assert study.at(SCALE).seeds >= MIN_SEEDS
    assert study.name == f"challenge_{method}"


def test_rivals_are_trials_of_the_headline_study():
    """All that a rival is trained with is the headline's, so that its records serve the panel."""
    study, text = panel("sliced_score_matching")
    mine = plan_study(study, SCALE, "cpu", times=TYPICAL).conditions
    headline = plan_study("thin_manifold", "quick", "cpu", times=TYPICAL)
    known = {trial.key: trial for trial in headline.trials}
    rivals = {condition.labels["arm"]: condition for condition in mine if condition.labels["arm"] != CHALLENGER}
    assert sorted(rivals) == ["hinge", "likelihood", "mixture", "score_1"]
    for condition in mine:
        assert set(condition.keys()) <= set(known) or condition.labels["arm"] == CHALLENGER
    assert "as_in" not in text
    labels = {arm.name: arm.title for arm in load_study("thin_manifold").arms}
    assert all(arm.title == labels[arm.name] for arm in study.arms if arm.name != CHALLENGER)


def test_a_method_that_applies_nowhere_is_refused_with_the_reasons():
    @evp.register_method
    class Nowhere(METHODS.get("mean_squared_error")):
        name = "nowhere"

        @classmethod
        def why_not(cls, task):
            return "it is picky"

    try:
        with pytest.raises(ValueError, match="it is picky"):
            panel("nowhere")
    finally:
        METHODS.unregister("nowhere")


def results(values):
    """A tidy table of `answer_distance_median` on the circle, from (10,) values by (arm, family)."""
    rows = [
        {"budget": "equal_steps", "task": "circle", "arm": arm, "family": family, "setting": 0.1, "seed": seed}
        | {"axis": "thickness", "status": "done", "reason": "", "metric": "answer_distance_median", "value": value}
        | {"unit": "data units"}
        for (arm, family), each in values.items()
        for seed, value in enumerate(each)
    ]
    return pd.DataFrame(rows)


def test_the_rival_is_the_best_of_its_family_and_the_interval_decides():
    study, _ = panel("hinge")
    noise = np.exp(0.05 * np.random.default_rng(200).standard_normal((5, 10)))
    frame = results(
        {
            (CHALLENGER, "ebm"): 1.0 * noise[0],
            ("score_1", "ebm"): 2.0 * noise[1],
            ("hinge", "ebm"): 3.0 * noise[2],
            ("likelihood", "prob"): 0.5 * noise[3],
            ("mixture", "prob"): 0.9 * noise[4],
        }
    )
    found = {each.family: each for each in rounds(study, frame)}
    assert (found["ebm"].rival, found["ebm"].outcome) == ("score_1", "wins")
    assert (found["prob"].rival, found["prob"].outcome) == ("likelihood", "fails")
    assert found["ebm"].low < 0.5 < found["ebm"].high
    even = results({(CHALLENGER, "ebm"): noise[0], ("score_1", "ebm"): noise[1]})
    assert [each.outcome for each in rounds(study, even)] == ["ties"]


def test_what_the_challenger_has_no_value_for_never_helps_it():
    """Ten seeds that are better win; six of ten with four that have none do not; none at all is no round less."""
    study, _ = panel("hinge")
    noise = np.exp(0.05 * np.random.default_rng(200).standard_normal((2, 10)))
    rival = {("score_1", "ebm"): 2.0 * noise[1]}
    for missing, outcome in ((0, "wins"), (4, "ties"), (10, "no value")):
        own = np.where(np.arange(10) < missing, np.nan, noise[0])
        frame = results({(CHALLENGER, "ebm"): own, **rival})
        (found,) = rounds(study, frame)
        assert (found.outcome, found.seeds) == (outcome, 10 - missing)
    assert "wins 0, ties 0 and fails 0 of 1 comparisons with the best arm of each family, and has no value in 1" in (
        summary("hinge", [found], [])
    )
    failed = frame.assign(status=frame["status"].where(frame["arm"] != CHALLENGER, "failed"))
    (found,) = rounds(study, failed)
    assert (found.outcome, found.seeds) == ("fails", 0)
    assert "fails 1 of 1" in summary("hinge", [found], [])
    assert rounds(study, frame[frame["arm"] != CHALLENGER]) == []


def test_the_page_says_what_the_rounds_say():
    study, _ = panel("hinge")
    noise = np.exp(0.05 * np.random.default_rng(200).standard_normal((2, 10)))
    frame = results({(CHALLENGER, "ebm"): noise[0], ("score_1", "ebm"): 2.0 * noise[1]})
    page = summary("hinge", rounds(study, frame), judge(study, frame, study.at(SCALE).all_seeds))
    assert "hinge wins 1, ties 0 and fails 0 of 1 comparisons" in page
    assert "| Distance of answers, median | circle | 0.1 | ebm | score_1 | x0." in page
