"""The grid, its trials' keys and the batches, without running anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_files import CRITERION, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.study import cost, plan_study
from ebm_vs_prob.study.batches import MAX_REPLICATES, replicates_in_cache
from ebm_vs_prob.study.cost import seconds_to_measure
from ebm_vs_prob.study.grid import Condition, Trial
from ebm_vs_prob.study.keys import canonical
from ebm_vs_prob.study.plan import MOST_TRIALS, places, resolve_device
from ebm_vs_prob.study.step_times import COMPILED_BY, OPERATIONS, TYPICAL, WORTH

pytestmark = pytest.mark.usefixtures("plugin")


def plan(path, **kwargs):
    return plan_study(write_study(path / "rings.toml", **kwargs), device="cpu")


def grid(planned):
    """Every place of a plan, as its stored record tells."""
    return [SimpleNamespace(**place) for place in places(json.loads(json.dumps(planned.to_record())))]


def keys(planned, arm):
    return [place.trial for place in grid(planned) if place.arm == arm]


def test_grid_is_the_product_of_arms_thickness_and_seeds(tmp_path):
    planned = plan(tmp_path, arms={"a": ("ring", ""), "b": ("lonely_ring", "")}, seeds=4, thickness="0.3, 0.1, 0.0")
    assert len(grid(planned)) == 2 * 3 * 4
    assert {(place.setting, place.seed) for place in grid(planned)} == {
        (t, s) for t in (0.3, 0.1, 0.0) for s in range(4)
    }
    assert sorted(trial.key for trial in planned.trials) == sorted({place.trial for place in grid(planned)})


@pytest.mark.parametrize("options", ["stiffness = 4", "stiffness = 4.0", 'width = "inf"', "stiffness = 4, width = inf"])
def test_one_model_written_differently_is_one_trial_shown_in_both_arms(tmp_path, options):
    planned = plan(tmp_path, arms={"plain": ("ring", ""), "written": ("ring", options)})
    assert keys(planned, "plain") == keys(planned, "written")
    assert len(planned.trials) == len(grid(planned)) / 2


@pytest.mark.parametrize("options", ["stiffness = 4.0001", "width = 1.0", "learning_rate = 0.1", "fault_seed = 0"])
def test_any_other_option_is_another_trial(tmp_path, options):
    planned = plan(tmp_path, arms={"plain": ("ring", ""), "other": ("ring", options)})
    assert not set(keys(planned, "plain")) & set(keys(planned, "other"))


def condition_of(specification, seeds):
    return Condition(
        labels=None,
        specification=canonical(specification),
        seeds=seeds,
        group="",
        program="",
        batchable=True,
        compilable=True,
        widths=(),
        steps=0,
        evaluations=0.0,
        multiply_adds=0.0,
    )


@given(
    st.dictionaries(
        st.sampled_from(["budget", "dtype", "seam", 'seed"', "sef", "task", "日"]), st.integers(), min_size=1
    ),
    st.integers(0, 2**62),
)
def test_a_key_made_for_many_seeds_is_that_of_the_whole_specification(specification, first):
    condition = condition_of(specification, range(first, first + 3))
    whole = [Trial.of({**specification, "seed": seed}) for seed in range(first, first + 3)]
    assert list(condition.trials()) == whole


def test_keys_are_those_of_the_stores_there_are():
    condition = condition_of({"task": {"name": "circle"}, "dtype": "float32"}, range(7, 8))
    assert list(condition.keys()) == ["8db0e2b59b76cc2a0d6741b6441a16c43387f04968434e1827e3575fdb7939fb"]


def test_key_covers_task_method_version_budget_evaluation_seed_and_dtype(tmp_path, monkeypatch):
    import study_plugin

    before = plan(tmp_path)
    path = tmp_path / "rings.toml"
    text = path.read_text()
    changes = [("steps = 3", "steps = 4"), ("test_examples = 16", "test_examples = 17"), ("[4]", "[5]")]
    changes += [
        ('name = "circle"', 'name = "circle"\noptions = { concentration = 2 }'),
        ("seeds = 3", 'dtype = "float64"\nseeds = 3'),
    ]
    for old, new in changes:
        path.write_text(text.replace(old, new, 1))
        assert not {t.key for t in before.trials} & {t.key for t in plan_study(path, device="cpu").trials}, new
    path.write_text(text.replace("seeds = 3", "seeds = 5"))
    assert {t.key for t in before.trials} < {t.key for t in plan_study(path, device="cpu").trials}
    monkeypatch.setattr(study_plugin.Ring, "version", 2)
    path.write_text(text)
    assert not {t.key for t in before.trials} & {t.key for t in plan_study(path, device="cpu").trials}


def test_batches_hold_what_differs_only_in_numbers(tmp_path):
    arms = {
        "a": ("ring", ""),
        "stiff": ("ring", "stiffness = 9"),  # per replicate: trains with the first
        "narrow": ("ring", "width = 1.0"),  # shared: trains apart
        "lonely": ("lonely_ring", ""),
        "careful": ("careful_ring", ""),
    }
    planned = plan(tmp_path, arms=arms)
    arm_of = {place.trial: place.arm for place in grid(planned)}
    groups = sorted((sorted({arm_of[t.key] for t in b.trials}), len(b.trials)) for b in planned.batches)
    assert groups == [
        (["a", "stiff"], 12),
        *[(["careful"], 3)] * 2,
        *[(["lonely"], 1)] * 6,
        (["narrow"], 6),
    ]
    for batch in planned.batches:
        if arm_of[batch.trials[0].key] == "careful":
            assert len({trial.specification["task"]["options"]["thickness"] for trial in batch.trials}) == 1


def test_a_batch_has_tasks_of_one_space(tmp_path):
    """The room that noisy strips take grows with the noise: replicates of one model cannot share them."""
    path = write_study(tmp_path / "rings.toml", arms={"a": ("lattice_crf", "")}, thickness="0.6, 0.3, 0.1, 0.05")
    path.write_text(
        path.read_text().replace('name = "circle"', 'name = "segmentation"').replace("circle", "segmentation")
    )
    batches = plan_study(path, device="cpu").batches
    thicknesses = [{trial.specification["task"]["options"]["thickness"] for trial in batch.trials} for batch in batches]
    assert sorted(map(sorted, thicknesses)) == [[0.05, 0.1], [0.3], [0.6]]


def test_what_is_missing_is_put_into_batches_anew(tmp_path):
    planned = plan(tmp_path, seeds=MAX_REPLICATES["cpu"])
    assert len(planned.batches) == 2  # one a thickness
    missing = {batch.trials[k].key for batch in planned.batches for k in (1, 5)}
    (batch,) = planned.batches_of(missing)
    assert {trial.key for trial in batch.trials} == missing
    assert batch.multiply_adds == pytest.approx(planned.multiply_adds * 4 / len(planned.trials))
    assert planned.batches_of(()) == ()


CHEAP = TYPICAL.model_copy(update={"compile": 1e-6})
DEAR = TYPICAL.model_copy(update={"compile": 1e6})
NEVER = TYPICAL.model_copy(update={"compile": None})
LEARNED = {"score": ("denoising_score_matching", ""), "nuts": ("gibbs_nuts", ""), "exact": ("exact", "")}


@pytest.fixture
def few_steps(monkeypatch):
    """Short trainings count as long ones do."""
    monkeypatch.setattr("ebm_vs_prob.study.step_times.FEWEST_SECONDS", 0.0)


def test_what_is_too_short_to_be_measured_is_not_compiled(tmp_path):
    path = write_study(tmp_path / "rings.toml", arms={"score": LEARNED["score"]}, seeds=3)
    planned = plan_study(path, device="cpu", times=CHEAP)
    assert not planned.may_compile
    assert not any(batch.compile for batch in planned.batches)


@pytest.mark.parametrize(
    ("asked", "times", "device", "expected"),
    [
        ("auto", CHEAP, "cpu", True),
        ("auto", DEAR, "cpu", False),
        ("auto", NEVER, "cpu", False),
        ("auto", CHEAP, "cuda", False),
        ("always", DEAR, "cpu", True),
        ("never", CHEAP, "cpu", False),
    ],
)
@pytest.mark.usefixtures("few_steps")
def test_what_is_compiled_is_asked_for_or_predicted_to_pay(tmp_path, asked, times, device, expected):
    path = write_study(tmp_path / "rings.toml", arms=LEARNED, seeds=3)
    path.write_text(path.read_text().replace("seeds = 3", f'seeds = 3\ncompile = "{asked}"'))
    planned = plan_study(path, device=device, elsewhere=True, times=times)
    wanted = {"denoising_score_matching"} if expected else set()
    assert {t.specification["method"]["name"] for b in planned.batches if b.compile for t in b.trials} == wanted
    assert {c["method"] for c in planned.to_record()["conditions"] if c["compiled"]} == wanted
    rows = {row["method"]: row for row in planned.summary()["batches"]}
    assert {name for name, row in rows.items() if row["compiled"] == row["batches"]} == wanted
    assert {name for name, row in rows.items() if 0 < row["compiled"] < row["batches"]} == set()
    score = rows["denoising_score_matching"]
    assert 0 < score["compiled_ms"] < score["recorded_ms"]
    assert rows["exact"]["steps"] == rows["exact"]["recorded_ms"] == 0


@pytest.mark.usefixtures("few_steps")
def test_whether_it_is_compiled_depends_on_no_trial_that_is_there_already(tmp_path):
    """A batch of 32 that it pays to compile, of which one trial is left, by which alone it would not."""
    path = write_study(tmp_path / "rings.toml", arms={"score": LEARNED["score"]}, seeds=32, thickness="0.1")
    whole = plan_study(path, device="cpu", times=TYPICAL)
    (group,) = whole._groups()

    def spared(replicates):
        recorded, compiled = (group.step_seconds(TYPICAL, replicates, mode) for mode in (False, True))
        return group.first.steps * (WORTH * recorded - compiled)

    between = TYPICAL.model_copy(update={"compile": (spared(1) + spared(32)) / 2 / OPERATIONS / COMPILED_BY})
    planned = plan_study(path, device="cpu", times=between)
    (alone,) = planned.batches_of({planned.trials[5].key})
    (together,) = planned.batches
    assert spared(1) < spared(32)
    assert alone.compile
    assert together.compile


@pytest.mark.usefixtures("few_steps")
def test_one_compilation_pays_for_all_batches_of_its_program(tmp_path):
    """Likelihood trains one thickness a batch: ten times one batch are ten batches of one program."""
    arms = {"likelihood": ("gibbs_maximum_likelihood", "")}
    for count in (1, 10):
        thickness = ", ".join(f"{0.3 / (1 + k):.4f}" for k in range(count))
        path = write_study(tmp_path / "rings.toml", arms=arms, seeds=4, thickness=thickness)
        groups = plan_study(path, device="cpu", times=TYPICAL)._groups()
        assert len(groups) == count
        assert {group.program_steps for group in groups} == {count * groups[0].first.steps}
        (group, *_) = groups
        recorded, compiled = (group.step_seconds(TYPICAL, 4, mode) for mode in (False, True))
        spared = group.first.steps * (WORTH * recorded - compiled)
        times = TYPICAL.model_copy(update={"compile": 3 * spared / OPERATIONS / COMPILED_BY})
        assert {b.compile for b in plan_study(path, device="cpu", times=times).batches} == {count == 10}


@pytest.mark.usefixtures("few_steps")
def test_a_smaller_last_batch_is_compiled_by_itself(tmp_path):
    """Compiling takes nearly all that it saves in a full batch, and a lone trial's steps are short."""
    whole = MAX_REPLICATES["cpu"]
    modes = ("recorded", "compiled")
    sizes = TYPICAL.model_copy(
        update={name: getattr(TYPICAL, name).model_copy(update={"launch": 0.0}) for name in modes}
    )
    for count, expected in ((whole, True), (whole + 1, False), (2 * whole, True)):
        path = write_study(tmp_path / "rings.toml", arms={"score": LEARNED["score"]}, seeds=count, thickness="0.1")
        (group,) = plan_study(path, device="cpu", times=sizes)._groups()
        assert group.most_replicates == whole
        recorded, compiled = (group.step_seconds(sizes, whole, mode) for mode in (False, True))
        spared = group.first.steps * (WORTH * recorded - compiled)
        times = sizes.model_copy(update={"compile": 0.95 * spared / OPERATIONS / COMPILED_BY})
        assert {batch.compile for batch in plan_study(path, device="cpu", times=times).batches} == {expected}


def test_what_some_options_make_no_fixed_step_is_not_planned_as_compiled(tmp_path):
    arms = {
        "descent": ("latent_free_energy", "refine = 3"),
        "angle": ("latent_free_energy", 'decoder = "angle", refine = 3'),
    }
    path = write_study(tmp_path / "rings.toml", arms=arms)
    path.write_text(path.read_text().replace("seeds = 3", 'seeds = 3\ncompile = "always"'))
    stored = plan_study(path, device="cpu").to_record()["conditions"]
    assert {(condition["arm"], condition["compiled"]) for condition in stored} == {("descent", False), ("angle", True)}


def test_batch_key_covers_device_and_compile(tmp_path):
    planned = plan(tmp_path)
    path = tmp_path / "rings.toml"
    path.write_text(path.read_text().replace("seeds = 3", 'seeds = 3\ncompile = "always"'))
    compiled = plan_study(path, device="cpu")
    assert [t.key for t in planned.trials] == [t.key for t in compiled.trials]
    assert planned.batches[0].key != compiled.batches[0].key


def test_halves_cover_a_batch_once(tmp_path):
    batch = plan(tmp_path, seeds=5).batches[0]
    first, second = batch.halves()
    assert first.trials + second.trials == batch.trials
    assert len({batch.key, first.key, second.key}) == 3
    assert first.multiply_adds + second.multiply_adds == pytest.approx(batch.multiply_adds)


def test_replicates_follow_width_and_batch_size():
    assert replicates_in_cache((2, 32, 32, 1), 64) > replicates_in_cache((2, 128, 128, 1), 64)
    assert replicates_in_cache((2, 128, 128, 1), 64) > replicates_in_cache((2, 128, 128, 1), 512)
    assert replicates_in_cache((2, 128, 128, 1), 128) // 2 == replicates_in_cache((2, 128, 128, 1), 128, 8)
    assert replicates_in_cache((2, 4096, 4096, 1), 4096) == 1


def test_longest_batches_come_first_and_cost_is_three_forward_passes(tmp_path):
    planned = plan(tmp_path, arms={"a": ("ring", ""), "b": ("lonely_ring", "")})
    costs = [batch.multiply_adds for batch in planned.batches]
    assert costs == sorted(costs, reverse=True)
    assert planned.multiply_adds == 12 * 3 * (2 * 4 + 4 * 1) * 8 * 3


@pytest.mark.parametrize("kind", ["parity", "knapsack"])
def test_an_energy_of_whole_strings_costs_what_training_says_that_it_spent(kind):
    """And takes the time of what is asked: once a minibatch where there is no x to tell its examples apart."""
    task = evp.get_task("hard_strings", kind=kind, length=4)
    network = evp.Network(hidden=(8,), factors="whole")
    budget = evp.Budget(steps=3, batch_size=4, examples=16)
    model = evp.fit("linear_chain_crf", task, network=network, budget=budget)
    layers, answers = cost.widths(task, network), cost.answers_asked(task, network)
    steps, work = cost.steps_and_multiply_adds(model.method, model.setting.options, task, layers, budget, answers)
    assert answers == 2**4
    assert (steps, work) == (3, model.cost[0].multiply_adds)
    assert cost.examples_asked(task, network, 4) == (1 if kind == "parity" else 4)
    assert cost.examples_asked(task, evp.Network(hidden=(8,)), 4) == 4


def test_second_budget_is_another_arm_of_the_grid(tmp_path):
    path = write_study(tmp_path / "rings.toml")
    text = path.read_text().replace(
        "time_limit", "budgets = { equal_multiply_adds = { multiply_adds = 1e6 } }\ntime_limit"
    )
    path.write_text(text)
    planned = plan_study(path, device="cpu")
    by_budget = {
        name: {p.trial for p in grid(planned) if p.budget == name} for name in ("equal_steps", "equal_multiply_adds")
    }
    assert [len(trials) for trials in by_budget.values()] == [6, 6]
    assert not by_budget["equal_steps"] & by_budget["equal_multiply_adds"]
    path.write_text(text.replace("equal_multiply_adds =", "equal_steps ="))
    with pytest.raises(ValueError, match="equal_steps"):
        plan_study(path)


def test_thin_data_are_float64_where_a_scale_says_so(tmp_path):
    path = write_study(tmp_path / "rings.toml")
    path.write_text(path.read_text().replace("seeds = 3", "seeds = 3\nfloat64_below = 0.3"))
    planned = plan_study(path, device="cpu")
    found = {(t.specification["task"]["options"]["thickness"], t.specification["dtype"]) for t in planned.trials}
    assert found == {(0.3, "float32"), (0.1, "float64")}


def test_a_task_varies_along_any_of_its_options_and_may_be_run_twice(tmp_path):
    path = write_study(tmp_path / "rings.toml")
    wide = (
        '[[tasks]]\nname = "wide"\ntask = "circle"\noptions = { thickness = 0.1 }\nalong = { ambient_dim = [2, 4] }\n'
    )
    path.write_text(path.read_text().replace("[[arms]]", wide + "[[arms]]"))
    planned = plan_study(path, device="cpu")
    found = {(place.task, place.axis, place.setting, place.thickness) for place in grid(planned)}
    assert found == {
        ("circle", "thickness", 0.3, 0.3),
        ("circle", "thickness", 0.1, 0.1),
        ("wide", "ambient_dim", 2.0, 0.1),
        ("wide", "ambient_dim", 4.0, 0.1),
    }
    dims = {trial.specification["task"]["options"]["ambient_dim"] for trial in planned.trials}
    assert dims == {2, 4}
    assert {trial.specification["task"]["name"] for trial in planned.trials} == {"circle"}
    # Two dimensions at thickness .1 are asked for twice, and trained once.
    assert len({trial.key for trial in planned.trials}) == 3 * 3


def test_aware_arm_gets_the_thickness_floored(tmp_path):
    path = write_study(tmp_path / "rings.toml", thickness="0.3, 0.0")
    path.write_text(path.read_text() + 'scale = "thickness"\nscale_floor = 0.01\n')
    planned = plan_study(path, device="cpu")
    scales = {
        t.specification["task"]["options"]["thickness"]: t.specification["method"]["options"]["scale"]
        for t in planned.trials
    }
    assert scales == {0.3: 0.3, 0.0: 0.01}


def test_a_method_that_declines_a_task_is_left_out_with_its_reason(tmp_path):
    path = write_study(tmp_path / "rings.toml", extra='[[tasks]]\nname = "three_curves"\n')
    planned = plan_study(path, device="cpu")
    assert planned.skipped == ({"arm": "plain", "task": "three_curves", "reason": "the data are not on a circle"},)
    path.write_text(path.read_text().replace('method = "ring"', 'method = "ring"\ntasks = ["three_curves"]'))
    with pytest.raises(ValueError, match=r"arms\.plain\.tasks = 'three_curves' is not valid.*not on a circle"):
        plan_study(path)


MISTAKES = {
    'method = "ring" -> method = "rong"': r"method at .*arms\.plain\.method: 'rong': did you mean 'ring'\?",
    'name = "circle" -> name = "cirle"': r"task at .*: 'cirle': did you mean 'circle'\?",
    "options = {  } -> options = { stifness = 1 }": r"arms\.plain\.options: 'stifness': did you mean 'stiffness'\?",
    "options = {  } -> options = { stiffness = 0 }": r"arms\.plain\.options: stiffness = 0 is not valid",
    "options = {  } -> options = { stiffness = nan }": r"stiffness = nan is not valid",
    "options = {  } -> options = { stiffness = inf }": r"stiffness = inf is not valid: expected a finite number",
    "options = {  } -> options = { width = nan }": r"width = nan is not valid",
    "steps = 3 -> stepz = 3": r"scales\.quick\.budget: 'stepz': did you mean 'steps'\?",
    "hidden = [4] -> hidden = [0]": r"scales\.quick\.network: hidden\.0 = 0 is not valid",
    "test_examples = 16 -> test_exampels = 16": r"quick\.evaluation: 'test_exampels': did you mean 'test_examples'\?",
    "max_steps = 3 -> max_stepz = 3": r"evaluation: 'max_stepz': did you mean 'max_steps'\?",
    'plugins = ["study_plugin"] -> plugins = ["no_such_module"]': r"plugins = 'no_such_module' is not valid",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_in_options_names_file_field_value_and_choices(tmp_path, change):
    old, new = change.split(" -> ")
    path = write_study(tmp_path / "rings.toml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=MISTAKES[change]) as caught:
        plan_study(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_unknown_scale_and_device(tmp_path):
    path = write_study(tmp_path / "rings.toml")
    with pytest.raises(LookupError, match="did you mean 'quick'"):
        plan_study(path, scale="quik")
    with pytest.raises(ValueError, match="device = 'tpu' is not valid: expected one of auto, cpu, cuda"):
        resolve_device("tpu")
    assert resolve_device("cuda", elsewhere=True) == "cuda"


def test_every_batch_knows_the_studys_first_seed(tmp_path):
    path = write_study(tmp_path / "rings.toml")
    path.write_text(path.read_text().replace("seeds = 3", "seeds = 3\nfirst_seed = 7"))
    plan = plan_study(path, device="cpu")
    assert {trial.seed for trial in plan.trials} == {7, 8, 9}
    assert {part.first_seed for batch in plan.batches for part in (batch, *batch.halves())} == {7}


#: Two criteria of the arm `plain`: at two thicknesses, and over a range of them.
THIN = (
    """
[[criteria]]
id = "level"
claim = "C11"
primary = true
statement = "It is sharp"
kind = "value"
metric = "curvature_p95"
arms = ["plain"]
tasks = ["circle"]
at = [0.3, 0.01]
above = 1.0
"""
    + CRITERION
)


def test_headline_study_is_planned_whole():
    planned = plan_study("thin_manifold", device="cpu")
    summary = planned.summary()
    assert summary["places"] == sum(1 for _ in grid(planned))
    assert summary["trials"] == len(planned.trials)
    assert summary["batch_count"] == len(planned.batches)
    assert summary["multiply_adds"] == pytest.approx(sum(batch.multiply_adds for batch in planned.batches))
    assert max(row["largest_batch"] for row in summary["batches"]) == max(len(b.trials) for b in planned.batches)
    assert {place.task for place in grid(planned)} == {"circle", "three_curves", "digits"}
    quick = planned.study.at("quick")
    thin_enough = [eps for eps in planned.study.grid("circle").settings if eps >= quick.within["thickness"][0]]
    assert 2 < len(thin_enough) < len(planned.study.grid("circle").settings)
    assert sum(p.arm == "score_1" and p.task == "circle" for p in grid(planned)) == len(thin_enough) * quick.seeds
    assert all(len(batch.trials) <= MAX_REPLICATES["cpu"] for batch in planned.batches)
    smoothing = {place.arm: place.smoothing for place in grid(planned) if place.task == "circle"}
    assert smoothing["likelihood"] == 0.0
    assert smoothing["score_1"] == smoothing["likelihood_1"] == 0.1


def test_a_scale_leaves_out_what_is_too_thin_for_it(tmp_path):
    path = write_study(tmp_path / "rings.toml", thickness="0.3, 0.1, 0.01, 0.0", extra=THIN)
    path.write_text(path.read_text().replace("seeds = 3", "seeds = 3\nwithin = { thickness = [0.1, 1] }"))
    planned = plan_study(path, device="cpu")
    assert {place.setting for place in grid(planned)} == {0.3, 0.1}
    held = planned.study.held_at("quick")
    assert [criterion.at for criterion in held.criteria] == [(0.3,), ()]
    assert planned.study.criteria[0].at == (0.3, 0.01)
    whole = path.read_text().replace("within = { thickness = [0.1, 1] }", "")
    path.write_text(whole)
    assert {place.setting for place in grid(plan_study(path, device="cpu"))} == {0.3, 0.1, 0.01, 0.0}


def test_a_million_seeds_are_counted_at_once_and_not_run(tmp_path):
    path = write_study(tmp_path / "rings.toml", seeds=1_000_000)
    started = time.process_time()
    planned = plan_study(path, device="cpu")
    summary = planned.summary()
    assert time.process_time() - started < 5  # none of the two million is made
    assert summary["trials"] == 2_000_000
    assert summary["batch_count"] == 2 * -(-1_000_000 // MAX_REPLICATES["cpu"])
    assert summary["core_seconds"] > summary["trials"] * 0.1
    assert summary["stored_bytes"] > summary["trials"] * 1000
    for ask in (lambda: planned.trials, planned.to_record):
        with pytest.raises(
            ValueError, match=f"trials = 2000000 is not valid: expected at most {MOST_TRIALS}"
        ) as caught:
            ask()
        assert str(path) in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_ten_thousand_trials_are_planned_in_little_memory(tmp_path):
    path = tmp_path / "rings.toml"
    write_study(
        path,
        seeds=1000,
        thickness="0.5, 0.4, 0.3, 0.2, 0.1",
        arms={"a": ("mean_squared_error", ""), "b": ("hinge", "")},
    )
    path.write_text(path.read_text().replace('plugins = ["study_plugin"]', ""))
    # What the parent used stays in a child's `getrusage`; the peak of its own memory does not.
    script = f"""
from pathlib import Path
from ebm_vs_prob.cli.commands import main
main(["plan", {str(path)!r}, "--device", "cpu"])
print(Path("/proc/self/status").read_text())
"""
    command = [sys.executable, "-c", script]
    started = time.perf_counter()
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "trials: 10000" in shown
    assert time.perf_counter() - started < 30  # five on a quiet machine
    assert int(re.search(r"VmHWM:\s+(\d+) kB", shown).group(1)) < 330_000


@pytest.mark.parametrize("count", ["test_examples", "partitions", "inputs", "starts", "samples", "max_steps"])
def test_measuring_more_is_predicted_to_take_longer(count):
    counts = Evaluation().model_dump(mode="json")
    assert seconds_to_measure({**counts, count: 10_000 * counts[count]}) > 1.5 * seconds_to_measure(counts)


def test_the_time_of_a_plan_is_that_of_training_and_measuring(tmp_path):
    path = write_study(tmp_path / "rings.toml", seeds=4)
    planned = plan_study(path, device="cpu", times=TYPICAL)
    path.write_text(path.read_text().replace("max_steps = 3", "max_steps = 3\npartitions = 5000"))
    longer = plan_study(path, device="cpu", times=TYPICAL)
    own, other = (seconds_to_measure(plan.trials[0].specification["evaluation"]) for plan in (planned, longer))
    assert longer.wall_seconds(1) - planned.wall_seconds(1) == pytest.approx(planned.num_trials * (other - own))


def test_the_time_of_a_plan_falls_with_workers_and_not_below_its_longest_batch(tmp_path):
    arms = {"plain": ("ring", ""), "stiff": ("ring", "stiffness = 9.0"), "lonely": ("lonely_ring", "")}
    planned = plan_study(write_study(tmp_path / "rings.toml", arms=arms, seeds=4), device="cpu", times=TYPICAL)
    whole = planned.wall_seconds(1)
    assert round(whole) == planned.summary()["core_seconds"]
    assert whole / 2 <= planned.wall_seconds(2) < whole
    batches = planned.summary()["batch_count"]
    assert planned.wall_seconds(batches) == planned.wall_seconds(10 * batches) > 0
