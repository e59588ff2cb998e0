"""The standard panel is a study, and its rounds say where a method wins, ties and fails."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ebm_vs_prob as evp
from ebm_vs_prob.cli.checking import Panel
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.study import check_feasible, load_study, plan_study, standard_panels
from ebm_vs_prob.study.challenge import rounds, summary, tally
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.shrinking import shrunk
from ebm_vs_prob.study.standard_panels import CHALLENGER, PANELS, SCALE, is_challenge, panel
from ebm_vs_prob.study.statistics import MIN_SEEDS
from ebm_vs_prob.study.step_times import TYPICAL

DISCRETE = ("structured_perceptron", "softmax_classifier", "linear_chain_crf")


@pytest.mark.parametrize("method", ["hinge", "mixture_density", *DISCRETE, "lattice_crf", "end_to_end_decision"])
def test_a_panel_can_be_planned_and_judged(method):
    study, _ = panel(method)
    assert study.name == f"challenge_{method}"
    assert_can_be_decided(study)


def assert_can_be_decided(study):
    """Every task of the challenger has rivals of both families, and every criterion can be passed and failed."""
    plan = plan_study(study, SCALE, "cpu", times=TYPICAL)
    families: dict[str, set[str]] = {}
    tasks = set()
    for condition in plan.conditions:
        labels = condition.labels
        if labels["arm"] == CHALLENGER:
            tasks.add(labels["task"])
        else:
            families.setdefault(labels["task"], set()).add(labels["family"])
    assert tasks
    assert all(families[task] == {"ebm", "prob"} for task in tasks)
    assert study.at(SCALE).seeds >= MIN_SEEDS
    assert plan.wall_seconds(2) < 30 * 60
    assert is_challenge(study)
    check_feasible(study, SCALE)


def test_energies_of_whole_strings_have_a_panel_of_their_own():
    """Its challenger is an energy of the whole string, and on parity its rivals are trials of the study of strings."""
    study, _ = panel("sampled_softmax", name="strings")
    assert study.name == "challenge_sampled_softmax-strings"
    assert_can_be_decided(study)
    known = {trial.key for trial in plan_study("strings", "quick", "cpu", times=TYPICAL).trials}
    for condition in plan_study(study, SCALE, "cpu", times=TYPICAL).conditions:
        labels, network = condition.labels, condition.specification["network"]
        assert ("factors" in network) == (labels["arm"] != "autoregressive")
        if labels["task"] == "parity" and labels["arm"] != CHALLENGER:
            assert set(condition.keys()) <= known


def test_rivals_on_strips_are_trials_of_the_study_of_deliberation():
    study, _ = panel("lattice_margin")
    known = {trial.key for trial in plan_study("deliberation", "quick", "cpu", times=TYPICAL).trials}
    rivals = [c for c in plan_study(study, SCALE, "cpu", times=TYPICAL).conditions if c.labels["arm"] != CHALLENGER]
    assert rivals
    assert all(set(rival.keys()) <= known for rival in rivals)


def test_every_panel_can_be_asked_for():
    assert [each.value for each in Panel] == list(PANELS)
    with pytest.raises(LookupError, match="unknown panel 'string'"):
        panel("autoregressive", name="string")
    with pytest.raises(ValueError, match="circle: its answers are real vectors") as refused:
        panel("linear_chain_crf", name="real")
    assert "labelled_chain" not in str(refused.value)


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


def test_no_two_challenges_have_one_name(tmp_path):
    """Names of studies are of small letters and short, those of methods are not; two folders may have one method."""
    long = "m" * 60
    given = [("ab", None), ("Ab", None), ("aB", None), (f"{long}1", None), (f"{long}2", None), ("größe", None)]
    given += [("ab", tmp_path / "one"), ("ab", tmp_path / "two")]
    names = [standard_panels.name_of(method, folder, end) for method, folder in given for end in ("", "decisions")]
    assert len(set(names)) == len(names)
    assert names[0] == "challenge_ab"
    assert all(re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", name) for name in names)
    assert standard_panels.name_of("ab", tmp_path / "one", "") == names[12]


def results(values, failed=()):
    """A tidy table of `answer_distance_median` on the circle, from (10,) values by (arm, family).

    Of the seeds in `failed` the challenger's training failed.
    """
    rows = [
        {"budget": "equal_steps", "task": "circle", "arm": arm, "family": family, "setting": 0.1, "seed": seed}
        | {"axis": "thickness", "status": "done", "reason": "", "metric": "answer_distance_median", "value": value}
        | {"unit": "data units"}
        | ({"status": "failed", "metric": None, "value": np.nan} if arm == CHALLENGER and seed in failed else {})
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


def planted(own, rival, failed=()):
    """The one round of a challenger against one rival, from (n,) distances, of which less is better."""
    study, _ = panel("hinge")
    study, scale = shrunk(study, SCALE, seeds=len(own))
    found = rounds(study, results({(CHALLENGER, "ebm"): own, ("score_1", "ebm"): rival}, failed), scale)
    assert len(found) == 1
    return found[0]


NOISE = np.exp(0.05 * np.random.default_rng(200).standard_normal((2, 10)))
MISSING = np.full(10, np.nan)


def first(count, values, others):
    """(10,) the first of some, the others of others."""
    return np.where(np.arange(10) < count, values, others)


@pytest.mark.parametrize(
    ("count", "missing", "failed"),
    [
        (0, "wins", "wins"),
        (4, "too few seeds", "too few seeds"),
        (9, "too few seeds", "fails"),
        (10, "no value", "fails"),
    ],
)
def test_what_the_challenger_has_no_value_for_never_helps_it(count, missing, failed):
    """Better at all seeds it wins, at six of ten it does not; failed trainings are losses, other lacks are not."""
    found = planted(first(count, np.nan, NOISE[0]), 2.0 * NOISE[1])
    assert (found.outcome, found.seeds, found.failed) == (missing, 10 - count, 0)
    lost = planted(first(count, np.nan, NOISE[0]), 2.0 * NOISE[1], range(count))
    assert (lost.outcome, lost.seeds, lost.failed) == (failed, 10 - count, count)


def test_losses_and_failed_trainings_fail_together_where_neither_would_alone():
    losses = planted(first(5, np.nan, 2.0 * NOISE[0]), first(9, NOISE[1], np.nan), range(5))
    assert (losses.outcome, losses.seeds, losses.failed) == ("fails", 4, 5)
    undefined = planted(first(6, np.nan, MISSING), NOISE[1], range(6))
    assert undefined.outcome == "no value"  # six lost of ten that the rival has, and the others no loss


def test_what_its_rival_has_no_value_for_does_not_make_it_fail():
    assert planted(2.0 * NOISE[0], NOISE[1]).outcome == "fails"
    assert planted(2.0 * NOISE[0], first(7, np.nan, NOISE[1])).outcome == "too few seeds"


def test_an_interval_that_says_nothing_is_no_tie():
    """Of two methods that are as good the interval lies near 1 where they scatter little, and far round it else."""
    assert planted(NOISE[0], NOISE[1]).outcome == "ties"
    wide = planted(NOISE[0] ** 40, NOISE[1])
    assert wide.low < 0.5 < 1.5 < wide.high
    assert wide.outcome == "undecided"
    assert "leaves 1 undecided" in tally("hinge", [wide])


def test_too_few_seeds_are_no_tie():
    assert planted(NOISE[0][:9], NOISE[1][:9]).outcome == "too few seeds"
    assert planted(NOISE[0][:1], 2.0 * NOISE[1][:1]).outcome == "too few seeds"
    for count in (1, 2):
        assert planted(MISSING[:count], NOISE[1][:count], range(count)).outcome == "too few seeds"


@pytest.mark.parametrize(("seeds", "better", "worse"), [(5, "too few seeds", "too few seeds"), (10, "wins", "fails")])
def test_seeds_that_all_agree_decide_by_their_number(seeds, better, worse):
    one = np.ones(seeds)
    assert planted(one, 2 * one).outcome == better
    assert planted(2 * one, one).outcome == worse
    assert planted(one, one).outcome == ("ties" if seeds >= MIN_SEEDS else "too few seeds")


def test_a_method_without_any_training_has_no_rounds():
    study, _ = panel("hinge")
    assert rounds(study, results({("score_1", "ebm"): NOISE[1]})) == []


def test_the_page_says_what_the_rounds_say():
    study, _ = panel("hinge")
    frame = results({(CHALLENGER, "ebm"): NOISE[0], ("score_1", "ebm"): 2.0 * NOISE[1]})
    found = rounds(study, frame)
    page = summary("hinge", found, judge(study, frame, study.at(SCALE).all_seeds), "evp-0123456789abcdef")
    assert "hinge wins 1, ties 0 and fails 0 of 1 comparisons" in page
    assert "| Distance of answers, median | circle | thickness 0.1 | ebm | score_1 | x0." in page
    assert "Result evp-0123456789abcdef." in page
    few = [planted(NOISE[0][:1], NOISE[1][:1]), planted(MISSING, NOISE[1])]
    assert "fails 0 of 2 comparisons with the best arm of each family, has no value in 1, and too few seeds in 1." in (
        summary("hinge", few, [])
    )


SMALL = """
schema = 1
name = "challenge"
title = "A panel small enough for a test"
claims = ["answers"]

[scales.panel]
seeds = 2
network = { hidden = [4] }
budget = { steps = 3, batch_size = 8, examples = 32 }
evaluation = { test_examples = 16, inputs = 2, starts = 2, samples = 8, max_steps = 3 }

[[tasks]]
name = "circle"
along = { thickness = [0.1] }

[[arms]]
name = "hinge"
method = "hinge"

[[arms]]
name = "mixture"
method = "mixture_density"

[[criteria]]
id = "answers"
claim = "answers"
statement = "Its answers lie nearer to the true ones"
kind = "ratio"
metric = "answer_distance_median"
arms = ["challenger"]
against = ["hinge", "mixture"]
tasks = ["circle"]
at = [0.1]
below = 1.0
"""
MODULE = """
from parts_of_it.numbers import COMPONENTS

from ebm_vs_prob import register_method
from ebm_vs_prob.core.registry import METHODS

mixture = METHODS.get("mixture_density")


@register_method
class Challenging(mixture):
    name = "größe"
    summary = f"a mixture density of {COMPONENTS} components"
"""


@pytest.fixture
def own_method(tmp_path, monkeypatch):
    """The file of a method with a package that it imports, in a folder to work in; the panel is a small one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(standard_panels, "panel_text", lambda name: SMALL)
    folder = Path("my_methods")
    folder.mkdir()
    (folder / "my_mixture.py").write_text(MODULE, encoding="utf-8")
    (folder / "parts_of_it").mkdir()
    (folder / "parts_of_it" / "__init__.py").touch()
    (folder / "parts_of_it" / "numbers.py").write_text("COMPONENTS = 8\n", encoding="utf-8")

    def forget():
        METHODS.unregister("größe")
        for name in ("my_mixture", "parts_of_it", "parts_of_it.numbers"):
            sys.modules.pop(name, None)

    yield folder / "my_mixture.py", forget
    forget()


@pytest.fixture
def conformance(monkeypatch):
    """The methods that were checked, none of which is."""
    checked = []
    monkeypatch.setattr("ebm_vs_prob.testing.check_method", lambda kind: checked.append(kind.name))
    return checked


def test_a_challenge_is_a_study_that_can_be_run_verified_and_reported_again(own_method, conformance, capsys):
    """Where the file that was challenged is gone: what the study needs lies beside it."""
    file, forget = own_method
    here = ("--engine", "serial", "--device", "cpu")
    assert main(["challenge", str(file), *here, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert conformance == ["größe"]
    page, study = Path(told["page"]), Path(told["study"])
    assert page.parent == study.parent
    assert {each["family"] for each in told["rounds"]} == {"ebm", "prob"}
    text = page.read_text(encoding="utf-8")
    assert told["result"] in text
    assert f"ebm-vs-prob run {study} --scale panel" in text
    assert "It kept the rules of a method" in text
    assert "with the code that trained it here" in text
    assert 'href="challenge.html"' in (page.parent / "index.html").read_text(encoding="utf-8")
    assert told["result"] in page.with_suffix(".md").read_text(encoding="utf-8")
    forget()
    shutil.rmtree(file.parent)
    assert main(["verify", told["result"], "--rerun", "3"]) == 0
    assert "reproduces 3 of 3 trials" in capsys.readouterr().out
    assert main(["status", str(study)]) == 0
    assert "at panel: 6 trials: 6 done" in capsys.readouterr().out
    assert main(["run", str(study), *here]) == 0
    page.unlink()
    assert main(["report", str(study)]) == 0
    assert page.read_text(encoding="utf-8") == text


def test_what_cannot_be_challenged_is_told_before_the_rules_are_checked(own_method, conformance, capsys):
    file, _ = own_method
    other = file.rename(file.with_name("my-mixture.py"))
    for arguments, said in (
        ([str(other)], "the name of a Python module"),
        (["exact_latent"], "one that applies to a task of a panel"),
        (["hinge", "--seeds", "3"], "at most 2"),
        (["hinge", "--at", "0.2"], "one that its tasks list"),
    ):
        assert main(["challenge", *arguments]) == 1, arguments
        assert said in capsys.readouterr().err
    assert conformance == []
    assert not Path("reports").exists()
