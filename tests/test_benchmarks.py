"""The benchmarks measure what their page says, and the tables on it are those of the files beside it."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import pytest
import torch
import typer

import ebm_vs_prob as evp
from benchmarks import aims, arithmetic, command_line, growth, modes, proposals, results, study_shares, tables, timing
from benchmarks.paced_training import UNTIMED
from benchmarks.trainings import Plan, TrainingFailed, Trainings, checkout
from ebm_vs_prob.ebm.objectives.contrastive import importance_sampled_loss
from ebm_vs_prob.study import Store, plan_study
from ebm_vs_prob.study.shards import FILES
from ebm_vs_prob.training import loop
from ebm_vs_prob.training.batches import Batch
from ebm_vs_prob.training.fitting import prepare

PLAN = Plan("denoising_score_matching", ("circle", {"thickness": 0.1}), 2, "recorded", (5, 4), steps=400)


def test_tables_of_the_page_are_those_of_the_files():
    page = (tables.HERE / "README.md").read_text(encoding="utf-8")
    assert tables.written(page, tables.results()) == page, "python -m benchmarks.tables writes them"


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match=r"aims: written by benchmarks/tables\.py.* is missing"):
        tables.written("no marks", {})


def test_every_file_has_a_table_a_command_and_a_quick_way():
    from benchmarks.__main__ import QUICK

    assert set(tables.TABLES) == set(tables.COMMANDS) == set(QUICK)


def test_a_row_for_every_objective_that_repeats_a_step():
    rows = list(modes.plans(modes.objectives(), modes.SHAPES))
    trained = {method.name for method in evp.list_methods() if method.compilable and method.principle != "exact"}
    assert {row.method for row in rows} >= {name for name in trained if evp.get_method(name).__module__[:4] == "ebm_"}
    for row in rows:
        task = evp.get_task(row.task[0], **row.task[1])
        assert evp.get_method(row.method).why_not(task) is None, row


def modes_row(method, replicates, hidden, base, **others):
    steps = {base: [0.02, 0.02], **others}
    spreads = {name: timing.spread([0.02 / value for value in values]) for name, values in steps.items()}
    shape = {"method": method, "replicates": replicates, "hidden": hidden}
    return {**shape, "seconds_a_step": steps, "ratio": spreads, "share_of_product_rate": 0.5}


def test_aims_are_of_the_fastest_mode_and_of_one_base_each():
    rows = [
        modes_row("one", 32, [32, 32], "earlier", recorded=[0.01, 0.01], compiled=[0.004, 0.004]),
        modes_row("other", 32, [32, 32], "written", recorded=[0.01, 0.01], compiled=[0.02, 0.02]),
    ]
    values = {aim.what: aim.values for aim in aims.aims({"modes": {"rows": rows}})}
    step, rate = "a step of every", "its multiply-adds, of the rate of products"
    assert values[f"{step} older objective, 32 of 2x32, x the earlier one"] == pytest.approx({"one": 5.0})
    assert values[f"{step} younger objective, 32 of 2x32, x its own as written"] == pytest.approx({"other": 2.0})
    assert values[f"{rate}, 32 of 2x32"] == {"one": 0.5, "other": 0.5}
    assert values[f"{step} older objective, 1 of 2x32, x the earlier one"] == {}
    found = {"modes": {"rows": rows, "against": "abc"}}
    cells = next(line for line in tables.modes(found["modes"]) if line.startswith("| `one`")).split(" | ")
    assert cells[1:4] == ["abc", "4", "5.00 (5.00 to 5.00)"]


def test_denoising_which_both_peers_train_is_in_their_aims():
    def arm(name, **ratios):
        return {"name": name, "speed_up": {peer: {"median": ratio} for peer, ratio in ratios.items()}}

    trained = arm("8 replicates, compiled", **{"torchebm train_step": 20.0, "ebmkit Trainer": 10.0})
    compared = arm("8 replicates", torchebm=30.0)
    found = {
        "training_step": {"sections": [{"title": "Denoising, hidden 32x32, batch 64", "arms": [trained]}]},
        "objectives": {"sections": [{"title": "Hyvarinen, hidden 32x32, batch 64", "arms": [compared]}]},
    }
    values = {aim.what: aim.values for aim in aims.aims(found)}
    assert values["objectives and samplers, 8 of 2x32, x torchebm"] == {"Denoising": 20.0, "Hyvarinen": 30.0}
    assert values["objectives and samplers, 8 of 2x32, x ebmkit"] == {"Denoising": 10.0}


@pytest.mark.parametrize("method", ["latent_free_energy", "hinge", "denoising_score_matching"])
def test_the_work_of_a_step_is_what_its_cost_counts(method):
    plan = Plan(method, ("circle", {"thickness": 0.1}), 2, "recorded", (5, 4), steps=2, batch_size=7, examples=30)
    model = evp.fit(
        method,
        evp.get_task("circle", thickness=0.1),
        range(plan.replicates),
        network=evp.Network(hidden=plan.hidden),
        budget=evp.Budget(steps=plan.steps, batch_size=plan.batch_size, examples=plan.examples),
    )
    assert arithmetic.multiply_adds(plan) == sum(cost.multiply_adds for cost in model.cost) / plan.steps


def test_an_aim_names_the_worst_and_those_within_its_bound():
    aim = aims.Aim("ratio", 2.5, True, {"one": 5.0, "other": 2.0})
    assert (aim.worst, aim.reached) == ("other", ["one"])


def test_an_aim_that_is_an_upper_bound_is_reached_from_below():
    aim = aims.Aim("seconds", 1.5, False, {"quick": 1.0, "slow": 2.0})
    assert (aim.worst, aim.reached) == ("slow", ["quick"])


@pytest.mark.parametrize("step", [1e-5, 1e-3, 0.1])
def test_turns_are_whole_blocks_within_bounds(step):
    steps = timing.turn_length(step, 0.2, 1000)
    assert steps % timing.BLOCK == 0
    assert timing.BLOCK <= steps <= 1000
    assert steps * step >= min(0.2, 960 * step)


def test_arms_are_timed_in_turn_and_compared_within_a_round():
    order: list[tuple[str, int]] = []

    def take(name, step):
        def taken(steps):
            order.append((name, steps))
            return timing.Seconds(step * steps, step * steps)

        return taken

    ended: list[str] = []
    slow = timing.Arm("slow", 1, take("slow", 2e-3), lambda: 3.0, lambda: ended.append("slow"))
    fast = timing.Arm("fast", 8, take("fast", 1e-3), end=lambda: ended.append("fast"))
    timing.interleave(timing.Section("both", [slow, fast], ("slow",)), rounds=2, seconds=0.256)
    assert [name for name, _ in order[-4:]] == ["slow", "fast"] * 2
    assert (slow.steps, fast.steps, slow.start, ended) == (128, 256, 3.0, ["slow", "fast"])
    assert timing.speed_up(fast, slow) == pytest.approx([16.0, 16.0])


@pytest.mark.parametrize("step", [1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("rounds", [1, 7, modes.MOST_ROUNDS])
def test_rounds_of_a_row_end_before_its_schedule(step, rounds):
    taken = dict.fromkeys(("slow", "fast"), UNTIMED)

    def take(name, seconds):
        def turn(steps):
            taken[name] += steps
            return timing.Seconds(seconds * steps, seconds * steps)

        return turn

    modes.timed([timing.Arm("slow", 1, take("slow", 50 * step)), timing.Arm("fast", 1, take("fast", step))], rounds)
    assert max(taken.values()) < modes.STEPS


def test_more_rounds_than_a_schedule_has_steps_for_are_refused():
    app = typer.Typer()
    app.command()(modes.main)
    command = typer.main.get_command(app)
    command.make_context("modes", ["--rounds", str(modes.MOST_ROUNDS)])
    with pytest.raises(typer.BadParameter, match=str(modes.MOST_ROUNDS)):
        command.make_context("modes", ["--rounds", str(modes.MOST_ROUNDS + 1)])


def test_the_exponent_is_that_of_a_power():
    sizes = (2, 4, 8, 16, 32, 64)
    assert growth.exponent(sizes, [3.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_seconds_that_a_batch_shares_count_once():
    def record(batch, **seconds):
        return {"batch": batch, "provenance": {"seconds": seconds}}

    records = [record("a", fit=2.0, evaluate=1.0, arrays=0.5)] * 3 + [record("b", fit=2.0, evaluate=1.0, arrays=0.5)]
    records += [record("c", total=9.0)]  # a trial that failed
    assert study_shares.seconds_of(records) == {"fit": 4.0, "evaluate": 2.0, "arrays": 1.0}


def test_the_minutes_of_a_study_are_those_with_two_workers_and_a_report():
    row = {"study": "some", "scale": "quick", "trials": 3, "seconds": {"fit": 90.0, "evaluate": 9.0, "rest": 1.0}}
    timed = {**row, "by_two": 120.0}
    assert study_shares.described(timed).endswith("; with two workers and its report 120 s")
    values = {aim.what: aim.values for aim in aims.aims({"study_shares": {"published": [row], "run": [timed]}})}
    assert values["minutes of a study and its report, two workers"] == {"some at quick": 2.0}


@pytest.mark.long
def test_a_study_is_timed_with_one_worker_and_with_two():
    row = study_shares.timed("thin_manifold", "quick", ["circle"], 1, 3)
    assert all(seconds > 0 for seconds in (*row["seconds"].values(), row["by_two"]))


def test_a_made_store_leaves_nothing_to_be_run(tmp_path):
    study = command_line.make(tmp_path, 50)
    store, planned = Store(tmp_path / "store"), plan_study(study, device="cpu")
    keys = {trial.key for trial in planned.trials}
    assert (len(keys), store.sound(keys)) == (50, keys)
    first = [trial.key for trial in planned.trials if trial.seed == planned.study.at(planned.scale).first_seed]
    assert all(store.kinds(key).issuperset(FILES) for key in first)


def test_gaps_are_read_off_between_trainings():
    points = [(1.0, 0.4), (100.0, 0.2)]
    assert proposals.at_seconds(points, 10.0) == pytest.approx(0.3)
    assert proposals.at_seconds(points, 1e6) == 0.2


def test_a_peer_that_is_absent_is_named_with_the_way_to_have_it(monkeypatch):
    monkeypatch.setattr(results, "installed", lambda peer: peer != "ebmkit")
    said = results.absent(list(results.PEERS))
    assert "ebmkit" in said
    assert "torchebm" not in said
    assert ".[benchmark]" in said


def test_the_memory_of_a_process_is_not_that_of_its_parent(tmp_path):
    assert results.peak_memory() > 150e6, "torch is imported here"
    _, megabytes = command_line.once("", tmp_path)
    assert 1 < megabytes < 100


def test_an_unknown_commit_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="'no-such-commit' is no folder and no commit"):
        checkout("no-such-commit", tmp_path)
    assert checkout(str(tmp_path), tmp_path / "unused") == tmp_path.resolve()


def test_a_training_elsewhere_is_the_one_that_fit_does_and_takes_turns():
    with Trainings() as trainings:
        losses = torch.tensor(trainings.losses(replace(PLAN, steps=6)))
        model = evp.fit(
            PLAN.method,
            evp.get_task("circle", thickness=0.1),
            range(PLAN.replicates),
            network=evp.Network(hidden=PLAN.hidden),
            budget=evp.Budget(steps=6, batch_size=PLAN.batch_size, examples=PLAN.examples),
        )
        assert torch.equal(losses, model.training.loss)
        with pytest.raises(TrainingFailed, match="no_such_method"):
            trainings.begin(replace(PLAN, method="no_such_method")).ready()
        training = trainings.begin(PLAN)
        assert training.ready() > 0
        short, long = training.take(64), training.take(256)
        assert 0 < short.wall < long.wall
        training.end()
        with pytest.raises(TrainingFailed, match="fewer steps than it was asked for"):
            trainings.begin(replace(PLAN, steps=3)).ready()
        deciding = replace(PLAN, method="latent_free_energy", options={"nodes": 8, "refine": 2})
        with pytest.raises(TrainingFailed, match="latent_free_energy that was to be recorded is written"):
            trainings.losses(replace(deciding, steps=2))
        with pytest.raises(TrainingFailed, match="latent_free_energy that was to be recorded is written"):
            trainings.begin(deciding).ready()
        assert len(trainings.losses(replace(deciding, mode="written", steps=2))) == PLAN.replicates


@pytest.mark.slow
def test_a_training_that_could_not_be_compiled_is_no_compiled_one(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path))
    compiled = replace(PLAN, mode="compiled")
    with Trainings() as trainings:
        with pytest.raises(TrainingFailed, match="denoising_score_matching that was to be compiled is recorded"):
            trainings.losses(replace(compiled, steps=2))
        with pytest.raises(TrainingFailed, match="denoising_score_matching that was to be compiled is recorded"):
            trainings.begin(compiled).ready()


def test_one_proposal_for_a_minibatch_is_importance_sampling_with_draws_that_all_share(monkeypatch):
    kept = {}
    monkeypatch.setattr(loop, "train", lambda model, loss, noise: kept.update(loss=loss, noise=noise))
    task, draws = evp.get_task("three_curves", thickness=0.1), 16
    setting = prepare(
        proposals.SharedProposal,
        task,
        range(2),
        energy=None,
        network=evp.Network(hidden=(4, 4)),
        budget=evp.Budget(steps=5, batch_size=7, examples=30),
        dtype=torch.float32,
        device="cpu",
        compile=False,
        options={"proposals": draws},
    )
    model = proposals.SharedProposal.build(setting)
    proposals.SharedProposal.train(model)
    x, y = (part.float().reshape(2, 7, -1) for part in task.sample(14))
    generator = torch.Generator().manual_seed(0)
    noise = {
        name: (torch.randn if spec.kind == "normal" else torch.rand)(2, *spec.shape, generator=generator)
        for name, spec in kept["noise"].items()
    }
    batch = Batch(x, y, torch.zeros(2, 7, dtype=torch.int64), noise)
    kernel = model.data_kernel
    samples, log_density = kernel.propose(y.unsqueeze(1), kernel.widths, noise["normal"], noise["uniform"])
    each = samples.expand(-1, 7, -1, -1)
    negative = model.module(x.unsqueeze(2), each)
    expected = importance_sampled_loss(model.module(x, y), negative, log_density.expand(-1, 7, -1))
    torch.testing.assert_close(kept["loss"](batch), expected, rtol=1e-4, atol=1e-5)
    assert not math.isnan(statistics.fmean(expected.tolist()))
