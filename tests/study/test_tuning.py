"""An option that is tuned is chosen before a study is run, at seeds of its own, and its optimum lies between values."""

from __future__ import annotations

import json
import math
import shutil
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fault_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from study_files import registered_plugin, write_study
from synthetic_results import noise, row
from typer.testing import CliRunner

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import app
from ebm_vs_prob.core.errors import UnknownName
from ebm_vs_prob.report import write_report
from ebm_vs_prob.report.inputs import gather
from ebm_vs_prob.report.training_tables import training_tables
from ebm_vs_prob.study import Store, load_study, plan_study, study_status
from ebm_vs_prob.study.engines import serial
from ebm_vs_prob.study.tuning import OBJECTIVES, Choice, objective, tuned_arms
from ebm_vs_prob.study.tuning_rounds import MOST_WIDENED, Tried, best_of, candidates, first_round, tune

pytestmark = pytest.mark.usefixtures("plugin")

#: The quadratic well round the circle has the least KL divergence from data of thickness ε at stiffness 1 / ε².
AT_TENTH = 100.0
TUNING = """
[tuning]
values = {{ stiffness = {values} }}
along = {{ thickness = [0.1] }}
"""
ARMS = {
    "open": ("ring", ""),
    "wide": ("ring", "width = 3.0"),
    "given": ("ring", "stiffness = 7.0"),
    "truth": ("exact", ""),
}


def tuned_study(path, values="[6.25, 25, 100, 400, 1600]", arms=None, extra="", change=lambda text: text):
    """A study of rings whose stiffness is tuned; `change` edits its text before the tuning comes."""
    write_study(path, arms=arms or ARMS, seeds=2)
    text = path.read_text().replace("test_examples = 16", "test_examples = 256")
    path.write_text(change(text) + extra + TUNING.format(values=values))
    return path


def run(path, store, **kwargs):
    return evp.run_study(path, store=store, engine="serial", device="cpu", **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    path = tuned_study(folder / "rings.toml")
    with registered_plugin():
        return path, folder / "results", run(path, folder / "results")


def test_the_value_of_the_law_is_chosen_and_run(finished):
    """The score of a neighbour is lower by .3 nat, its error over 768 pairs .02: wrong once in far more than 1e9."""
    _, store, frame = finished
    plan = Store(store).plan("rings", "quick")
    choices = {each["arm"]: each for each in plan["tuning"]}
    assert set(choices) == {"open", "wide"}
    for choice in choices.values():
        assert (choice["option"], choice["metric"], choice["better"]) == ("stiffness", "gibbs_log_score", "higher")
        assert choice["values"] == [6.25, 25, 100, 400, 1600]
        assert choice["chosen"] == AT_TENTH
        best = choice["scores"][2]
        for place, factor in ((1, 1 / 4), (3, 4.0)):  # ½ ln a - ½ a ε² of two radial Gaussians
            assert best - choice["scores"][place] == pytest.approx((factor - 1 - math.log(factor)) / 2, abs=0.12)
    stiffness = {
        (place.arm, Store(store).read(place.trial)["specification"]["method"]["options"].get("stiffness"))
        for place in frame.drop_duplicates("trial").itertuples()
    }
    assert stiffness == {("open", 100), ("wide", 100), ("given", 7), ("truth", None)}


def test_trials_of_a_tuning_are_stored_and_never_among_the_results(finished):
    path, store, frame = finished
    assert set(frame["arm"]) == {"open", "wide", "given", "truth"}
    assert set(frame["seed"]) == {0, 1}
    tried = evp.load_results(path, store=store)
    pd.testing.assert_frame_equal(tried, frame)
    plan = Store(store).plan("rings", "quick.tuning-1")
    keys = {key for condition in plan["conditions"] for key in condition["trials"]}
    assert {record["specification"]["seed"] for _, record, _ in Store(store).records(keys)} == {200, 201, 202}
    assert not keys & set(frame["trial"])
    assert len(keys) == 2 * 5 * 3
    assert [path.name for path in sorted((store / "studies" / "rings").iterdir())] == ["quick", "quick.tuning-1"]


def test_a_tuned_study_is_not_run_again_and_says_what_was_chosen(finished, tmp_path, monkeypatch, caplog):
    path, store, frame = finished
    shutil.copytree(store, tmp_path / "results")
    monkeypatch.setattr(serial, "run_batch", lambda *_, **__: pytest.fail("a batch was run"))
    pd.testing.assert_frame_equal(run(path, tmp_path / "results"), frame)
    assert set(study_status(path, store=store)["status"]) == {"done"}
    assert not caplog.records
    shown = CliRunner().invoke(app, ["plan", str(path), "--store", str(store), "--json"])
    told = json.loads(shown.stdout)
    assert [(each["arm"], each["chosen"]) for each in told["tuning"]] == [("open", "100"), ("wide", "100")]
    assert told["tuning_trials"] == 30
    table = training_tables(gather(path, "quick", store), [])["tuning"]
    assert table.loc[table["chosen"] == "yes", "value"].tolist() == ["100", "100"]
    assert table["value"].tolist() == ["6.25", "25", "100", "400", "1600"] * 2
    assert set(table["objective"]) == {"Gibbs density's log score"}


@pytest.mark.slow
def test_a_report_shows_what_was_tuned(finished, tmp_path):
    path, store, _ = finished
    page = write_report(path, store=store, out=tmp_path)
    assert "| open | stiffness | 100 | Gibbs density's log score | higher |" in (page.parent / "report.md").read_text()
    assert "Tuning (10 rows)" in page.read_text(encoding="utf-8")
    assert len(pd.read_csv(page.parent / "tables" / "tuning.csv")) == 10


def test_a_tuning_that_was_interrupted_goes_on_with_the_same_numbers(finished, tmp_path):
    path, store, frame = finished
    shutil.copytree(store, tmp_path / "results")
    kept = Store(tmp_path / "results")
    first = kept.plan("rings", "quick.tuning-1")
    gone = [condition["trials"][0] for condition in first["conditions"][::2]]
    stay = {key for condition in first["conditions"] for key in condition["trials"]} - set(gone)
    before = {key: record["provenance"]["written"] for key, record, _ in kept.records(stay)}
    kept.forget([*gone, *frame["trial"].unique()])
    shutil.rmtree(kept.study_folder("rings", "quick"))
    again = run(path, tmp_path / "results")
    assert kept.plan("rings", "quick")["tuning"] == Store(store).plan("rings", "quick")["tuning"]
    timed = frame["metric"] == "seconds"
    keep = ["trial", "metric", "value"]
    pd.testing.assert_frame_equal(again.loc[~timed, keep], frame.loc[~timed, keep])
    assert {key: record["provenance"]["written"] for key, record, _ in kept.records(stay)} == before


def test_other_values_are_another_study_and_only_what_is_new_is_run(finished, tmp_path, caplog):
    path, store, _ = finished
    shutil.copytree(store, tmp_path / "results")
    other = tuned_study(tmp_path / "rings.toml", values="[6.25, 25, 50, 100, 400, 1600]")
    evp.load_results(other, store=tmp_path / "results")
    assert "has changed since it was run" in caplog.text
    run(other, tmp_path / "results")
    chosen = Store(tmp_path / "results").plan("rings", "quick")["tuning"][0]
    assert (len(chosen["values"]), chosen["chosen"]) == (6, 100)
    assert path.read_text() != other.read_text()


def test_a_study_without_a_tuning_has_no_trace_of_one(tmp_path):
    plain = load_study(write_study(tmp_path / "rings.toml"))
    assert not {"tuning", "ladders"} & set(plain.runs("quick"))
    assert "tuning" not in plan_study(plain, device="cpu").to_record()
    shown = CliRunner().invoke(app, ["plan", str(plain.path), "--store", str(tmp_path / "none")])
    assert "uning" not in shown.stdout
    assert not (tmp_path / "none").exists()


def test_before_a_run_the_plan_says_that_arms_will_be_tuned(tmp_path):
    path = tuned_study(tmp_path / "rings.toml")
    planned = plan_study(path, device="cpu")
    # The three arms of rings ask for a model each at both settings, and the exact one too.
    assert planned.num_trials == 4 * 2 * 2
    shown = CliRunner().invoke(app, ["plan", str(path), "--store", str(tmp_path / "none")])
    assert shown.exit_code == 0, shown.output
    assert "open\tstiffness\tgibbs_log_score\t6.25, 25, 100, 400, 1600\tto be chosen by the run" in shown.stdout
    assert "tuning: 30 trials of its own come first" in shown.stdout
    assert set(study_status(path, store=tmp_path)["status"]) == {"pending"}


def test_a_scale_whose_arms_leave_none_open_is_not_tuned(tmp_path):
    path = tuned_study(
        tmp_path / "rings.toml",
        change=lambda text: text.replace("seeds = 2", 'seeds = 2\narms = ["given", "truth"]', 1),
    )
    assert load_study(path).at("quick").arms == ("given", "truth")
    shown = CliRunner().invoke(app, ["plan", str(path), "--store", str(tmp_path / "none")])
    assert shown.exit_code == 0, shown.output
    assert "uning" not in shown.stdout
    results = run(path, tmp_path / "results")
    assert set(results["arm"]) == {"given", "truth"}
    assert set(results["status"]) == {"done"}
    assert gather(path, "quick", tmp_path / "results").tuning == ()


def test_an_optimum_at_an_edge_is_looked_for_beyond_it(tmp_path):
    """From 80, a factor of 2 beyond: 160 scores .05 nat less, with an error of .01 over 768 pairs."""
    path = tuned_study(tmp_path / "rings.toml", values="[5, 10, 20, 40, 80]", arms={"open": ("ring", "")})
    run(path, tmp_path / "results")
    (choice,) = Store(tmp_path / "results").plan("rings", "quick")["tuning"]
    assert choice["values"] == [5, 10, 20, 40, 80, 160]
    assert choice["chosen"] == 80
    assert len(Store(tmp_path / "results").plan("rings", "quick.tuning-2")["conditions"]) == 1


def test_an_optimum_that_stays_at_an_edge_is_refused_with_values_and_scores(tmp_path):
    path = tuned_study(tmp_path / "rings.toml", values="[1, 1.5, 2, 3, 4]", arms={"open": ("ring", "")})
    with pytest.raises(ValueError, match=r"tuning\.values\.stiffness = .*optimum of open between") as caught:
        run(path, tmp_path / "results")
    told = str(caught.value)
    assert str(path) in told
    assert re_values(told) == [1, 1.5, 2, 3, 4, 5.33, 7.1]
    assert "gibbs_log_score, of which higher is better" in told
    with pytest.raises(LookupError, match="no results of study 'rings'"):
        evp.load_results(path, store=tmp_path / "results")


def re_values(told: str) -> list[float]:
    inside = told[told.index("edge (") + 6 : told.index("), and")]
    return [float(pair.split(":")[0]) for pair in inside.split(", ")]


# ---- rounds with planted scores


def planted(study, scale, score, failed=lambda arm, value, seed: None):
    """What runs the trials of a tuning: `score(arm, value, setting, seed)`, or why a trial failed."""
    asked = []

    def completed(tried, name):
        rows = []
        own = tried.at(name)
        for arm in tried.arms:
            base, value = arm.name.split("@")
            metric = tuned_arms(study)[base]
            asked.append((name, base, float(value)))
            for grid in tried.tasks:
                for setting in grid.settings:
                    for seed in own.all_seeds:
                        why = failed(base, float(value), seed)
                        if why is None:
                            found = score(base, float(value), setting, seed)
                            rows.append(row(grid.name, arm.name, setting, seed, metric, found))
                        else:
                            told = {"status": "failed", "reason": why, "batch": "" if "killed" in why else "b"}
                            rows.append(row(grid.name, arm.name, setting, seed, None, np.nan, **told))
        return pd.DataFrame(rows)

    return completed, asked


def study_of(tmp_path, **kwargs):
    return load_study(tuned_study(tmp_path / "rings.toml", **kwargs))


def one_arm(tmp_path, values="[1, 2, 4, 8, 16]"):
    return study_of(tmp_path, values=values, arms={"open": ("ring", "")})


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return one_arm(tmp_path_factory.mktemp("single"))


@given(peak=st.floats(-4.0, 8.0), spread=st.floats(0.0, 0.05))
@examples(25)
def test_any_peak_within_two_factors_of_the_values_is_found_or_refused(single, peak, spread):
    """The score is a parabola in ln value: the best is the value nearest to the peak, and lies between two others."""
    completed, asked = planted(
        # Noise is of seed and setting alone, so that values differ by what they do.
        single, "quick", lambda arm, value, at, seed: -((math.log2(value) - peak) ** 2) + spread * noise(seed, at)
    )  # fmt: skip
    if -1.5 < peak < 5.5:
        (choice,) = tune(single, "quick", completed)
        assert abs(math.log2(choice.chosen) - peak) <= 0.5 + 1e-9
        assert choice.values[0] < choice.chosen < choice.values[-1]
    elif peak < -2 or peak > 6:
        with pytest.raises(ValueError, match="at an edge"):
            tune(single, "quick", completed)
        assert len(asked) == 5 + MOST_WIDENED
    assert len(asked) == len(set(asked)) <= 5 + MOST_WIDENED


def test_values_of_which_a_trial_fails_are_not_chosen_and_bound_the_others(tmp_path):
    study = one_arm(tmp_path)
    completed, _ = planted(
        study,
        "quick",
        lambda arm, value, at, seed: value,
        lambda arm, value, seed: "training: step 3: the loss is not finite" if value > 9 and seed == 201 else None,
    )
    (choice,) = tune(study, "quick", completed)
    assert choice.chosen == 8
    assert choice.scores[-1] is None
    completed, _ = planted(study, "quick", lambda *_: 0.0, lambda *_: "training: step 3: the loss is not finite")
    with pytest.raises(ValueError, match=r"open has no gibbs_log_score .*step 3: the loss .*arms\.open\.validation"):
        tune(study, "quick", completed)


def test_trials_that_were_stopped_decide_nothing(tmp_path):
    study = one_arm(tmp_path)
    completed, _ = planted(
        study, "quick", lambda *_: 0.0, lambda arm, value, seed: "its worker was killed" if value == 2 else None
    )
    with pytest.raises(RuntimeError, match=r"3 trials were stopped .* run again.*open@2\.0: its worker was killed"):
        tune(study, "quick", completed)


def test_a_plateau_at_an_edge_is_no_optimum_and_needs_none(tmp_path):
    study = one_arm(tmp_path)
    flat, _ = planted(
        study, "quick", lambda arm, value, at, seed: 1 - 1 / value**3 + 0.3 * noise(seed, value) * (value > 30)
    )
    (choice,) = tune(study, "quick", flat)
    assert choice.chosen in (8, 16, 32, 64)
    steep, _ = planted(study, "quick", lambda arm, value, at, seed: value + 0.3 * noise(seed, value))
    with pytest.raises(ValueError, match="at an edge"):
        tune(study, "quick", steep)
    same, asked = planted(study, "quick", lambda *_: 1.0)
    assert tune(study, "quick", same)[0].chosen == 4
    assert len(asked) == 5


def test_one_value_serves_all_tasks_and_settings(tmp_path):
    """At ε = .3 the best is 2 and at .1 it is 8: by the mean of squared distances in logarithms, 4 serves both."""
    path = tuned_study(tmp_path / "rings.toml", values="[1, 2, 4, 8, 16]", arms={"open": ("ring", "")})
    path.write_text(path.read_text().replace("along = { thickness = [0.1] }\n", ""))
    study = load_study(path)
    best = {0.3: 1.0, 0.1: 3.0}
    completed, _ = planted(study, "quick", lambda arm, value, at, seed: -((math.log2(value) - best[at]) ** 2))
    assert tune(study, "quick", completed)[0].chosen == 4


@given(
    scores=st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=9),
    better=st.sampled_from(["lower", "higher"]),
)
@examples(100)
def test_the_best_score_is_no_worse_than_any(scores, better):
    if all(score is None for score in scores):
        scores = [*scores, 0.0]
    found = scores[best_of(scores, better)]
    known = [score for score in scores if score is not None]
    assert found == (max if better == "higher" else min)(known)


def test_means_of_what_spans_decades_are_geometric():
    tried = Tried("answer_distance_median")
    rows = [row("circle", "a", 0.1, seed, "answer_distance_median", value) for seed, value in enumerate((0.01, 1.0))]
    tried.add(1.0, pd.DataFrame(rows))
    assert tried.scores == (pytest.approx(0.1),)
    linear = Tried("log_score")
    linear.add(1.0, pd.DataFrame([{**each, "metric": "log_score"} for each in rows]))
    assert linear.scores == (pytest.approx(0.505),)
    linear.add(2.0, pd.DataFrame(rows))  # another metric's rows
    assert linear.scores[1] is None


# ---- what is tuned, and by what


def test_a_round_is_a_study_of_its_own(tmp_path):
    study = study_of(
        tmp_path,
        change=lambda text: text.replace("time_limit", "budgets = { twice = { steps = 6 } }\ntime_limit"),
        extra="",
    )
    tried, name = first_round(study, "quick")
    assert name == "quick.tuning-1"
    assert [arm.name for arm in tried.arms] == [f"{arm}@{value}" for arm in ("open", "wide") for value in
                                                (6.25, 25.0, 100.0, 400.0, 1600.0)]  # fmt: skip
    assert tried.at(name).budgets == {}
    assert list(tried.at(name).all_seeds) == [200, 201, 202]
    assert [grid.settings for grid in tried.tasks] == [(0.1,)]
    assert (tried.criteria, tried.gates, tried.ladders, tried.tuning) == ((), (), (), None)
    specified = [condition.specification for condition in plan_study(tried, name, device="cpu").conditions]
    assert {each["method"]["options"]["stiffness"] for each in specified} == {6.25, 25, 100, 400, 1600}
    text = study.path.read_text()
    study.path.write_text(text.replace("along = { thickness = [0.1] }\n", "budget = { steps = 9 }\nseeds = 1\n"))
    tried, name = candidates(load_study(study.path), "quick", {"open": (3.0,)}, 2)
    assert (name, tried.at(name).budget["steps"], tried.at(name).budget["batch_size"]) == ("quick.tuning-2", 9, 8)
    assert [grid.settings for grid in tried.tasks] == [(0.3, 0.1)]
    assert len(plan_study(tried, name, device="cpu").trials) == 2


def test_arms_are_tuned_by_their_own_objective():
    def method(principle, normalised):
        return SimpleNamespace(principle=principle, normalised=normalised)

    def arm(validation=None):
        return SimpleNamespace(validation=validation)

    assert objective(arm(), method("likelihood", True)) == "log_score"
    assert objective(arm(), method("likelihood", False)) == "gibbs_log_score"
    assert objective(arm(), method("score", False)) == "gibbs_log_score"
    assert objective(arm(), method("regression", False)) == "squared_error"
    assert objective(arm("energy_score"), method("margin", False)) == "energy_score"
    from ebm_vs_prob.metrics.catalogue import METRICS

    for metric in ("log_score", "gibbs_log_score", *OBJECTIVES.values()):
        assert METRICS[metric].better in ("lower", "higher")


def test_held_out_rows_that_every_seed_has_are_not_tuned_on(tmp_path):
    digits = '[[tasks]]\nname = "digits"\n'
    both = study_of(tmp_path, change=lambda text: text.replace("[[arms]]", f"{digits}\n[[arms]]", 1))
    assert [grid.name for grid in first_round(both, "quick")[0].tasks] == ["circle"]
    both.path.write_text(both.path.read_text() + 'tasks = ["digits"]\n')
    both.path.write_text(both.path.read_text().replace("along = { thickness = [0.1] }\n", ""))
    with pytest.raises(ValueError, match=r"tuning\.tasks = 'digits' is not valid: expected a task whose held-out data"):
        first_round(load_study(both.path), "quick")


def test_a_scale_that_leaves_an_arm_no_task_of_the_tuning_is_refused_before_anything_is_trained(tmp_path):
    line = '[[tasks]]\nname = "line"\ntask = "circle"\noptions = { thickness = 0.3 }\n\n[[arms]]'
    only = 'tasks = ["line"]\n'
    small = study_of(
        tmp_path, change=lambda text: text.replace("[[arms]]", line, 1).replace("seeds = 2\n", f"seeds = 2\n{only}", 1)
    )
    small.path.write_text(f'{small.path.read_text()}tasks = ["circle"]\n')
    with pytest.raises(ValueError, match=r"tuning\.tasks = 'circle' .*a task that quick has and open runs on"):
        first_round(load_study(small.path), "quick")


def test_choices_survive_the_plan_that_keeps_them(tmp_path):
    choice = Choice("open", "stiffness", "log_score", "higher", (1.0, 2.5), (None, -0.5), 2.5)
    assert Choice.of(json.loads(json.dumps(choice.as_record()))) == choice
    planned = plan_study(tuned_study(tmp_path / "rings.toml"), device="cpu", tuning=[choice])
    Store(tmp_path / "store").write_plan(planned.to_record())
    assert Choice.of(Store(tmp_path / "store").plan("rings", "quick")["tuning"][0]) == choice


# ---- what a file may say

OWN = "values = { stiffness = [1, 2, 3, 4, 5] }"
MISTAKES = [
    (OWN, "values = { stiffness = [1, 2, 3, 4] }", r"values\.stiffness.*at least 5"),
    ("3, 4, 5]", "4, 3, 5]", r"tuning\.values\.stiffness = .*ascending order, none twice"),
    ("3, 4, 5]", "3, 3, 5]", r"tuning\.values\.stiffness = .*ascending order, none twice"),
    ("[1, 2,", "[0, 2,", r"values\.stiffness\.0 = 0.*greater than 0"),
    ("5] }", "5], width = [1, 2, 3, 4, 5] }", r"tuning\.values = .*at most 1 item"),
    ("values =", "value =", r"tuning: 'value': did you mean 'values'\?"),
    (OWN, f"{OWN}\nfirst_seed = 1", r"tuning: seeds = '1 to 3' .*scales\.quick, with 0 to 1, has not"),
    (OWN, f"{OWN}\ntasks = ['cirle']", r"tuning\.tasks: 'cirle': did you mean 'circle'\?"),
    (OWN, f"{OWN}\nalong = {{ thicknes = [0.1] }}", r"tuning\.along: 'thicknes': did you mean 'thickness'\?"),
    (OWN, f"{OWN}\nalong = {{ thickness = [0.1, 0.1] }}", r"tuning\.along\.thickness = 0\.1 .*no value twice"),
    ('"ring"', '"ring"\nvalidation = "log_scor"', r"plain\.validation: 'log_scor': did you mean 'log_score'"),
    ('"ring"', '"ring"\nvalidation = "seconds"', r"plain\.validation = 'seconds' .*of which less is better"),
]


def stated(path, old="", new=""):
    write_study(path, seeds=2)
    text = f"{path.read_text()}\n[tuning]\n{OWN}\n"
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text)
    return path


@pytest.mark.parametrize(("old", "new", "why"), MISTAKES)
def test_a_mistake_in_a_tuning_is_one_line_with_file_field_and_choices(tmp_path, old, new, why):
    load_study(stated(tmp_path / "rings.toml"))
    with pytest.raises(ValueError, match=why) as caught:
        load_study(stated(tmp_path / "rings.toml", old, new))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "rings.toml") in str(caught.value)


def test_what_no_arm_leaves_open_cannot_be_tuned_and_validation_needs_a_tuning(tmp_path):
    path = stated(tmp_path / "rings.toml", "stiffness", "stifness")
    with pytest.raises(ValueError, match=r"tuning\.values = 'stifness' is not valid: expected an option of a method"):
        plan_study(path, device="cpu")
    path = write_study(tmp_path / "plain.toml")
    path.write_text(path.read_text().replace('method = "ring"', 'method = "ring"\nvalidation = "log_score"'))
    with pytest.raises(
        ValueError, match=r"arms\.plain\.validation = 'log_score' .*none where the study has no \[tuning\]"
    ):
        load_study(path)


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-5, 10**10)
lists = st.lists(numbers, max_size=8) | st.lists(st.floats(1e-6, 1e6), min_size=5, max_size=8, unique=True).map(sorted)


@given(
    values=st.dictionaries(st.sampled_from(["stiffness", "learning_rate", "no_such"]), lists, max_size=2),
    seeds=st.integers(-1, 5),
    first=st.integers(-1, 6) | st.integers(0, 2**63 - 1),
)
@examples(60)
def test_any_tuning_is_read_or_refused_in_one_line(tmp_path_factory, values, seeds, first):
    """Read are ascending, positive lists of five values or more of one option, at seeds that the study has not."""
    path = tmp_path_factory.mktemp("any") / "rings.toml"
    write_study(path, seeds=3)
    written = ", ".join(f"{name} = [{', '.join(map(repr, own))}]" for name, own in values.items())
    path.write_text(f"{path.read_text()}\n[tuning]\nvalues = {{ {written} }}\nseeds = {seeds}\nfirst_seed = {first}\n")
    is_list = len(values) == 1 and all(
        len(own) >= 5 and all(a < b for a, b in pairwise(own)) and own[0] > 0 and own[-1] <= 1e9
        for own in values.values()
    )
    if is_list and seeds >= 1 and 3 <= first <= 2**62:
        assert load_study(path).tuning.all_seeds == range(first, first + seeds)
    else:
        with pytest.raises((ValueError, UnknownName)) as caught:
            load_study(path)
        assert "\n" not in str(caught.value)
        assert "rings.toml" in str(caught.value)
