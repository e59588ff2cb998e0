"""What every packaged study must do: decide as its results say, be possible to pass and to fail, and run."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from synthetic_results import COLUMNS, noise, row

from ebm_vs_prob.metrics.catalogue import METRICS
from ebm_vs_prob.study.comparisons import in_range
from ebm_vs_prob.study.feasibility import check_feasible
from ebm_vs_prob.study.files import list_studies, load_study
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.plan import plan_study
from ebm_vs_prob.study.run import run_study
from ebm_vs_prob.study.schema import Criterion, Study

SEEDS = 20
BOUNDS = {"share": (0.0, 1.0), "log": (0.0, math.inf), "linear": (-math.inf, math.inf)}
STUDIES = [name for name in list_studies() if load_study(name).criteria]


def planted(criterion: Criterion, side: int) -> float:
    """An effect on the side of the bounds that is asked for (1), on the other (-1), or on the bound itself (0)."""
    above, below = criterion.above, criterion.below
    if above is not None and below is not None:
        return {1: (above + below) / 2, 0: below, -1: below + (below - above) / 2}[side]
    bound = above if above is not None else below or 0.0
    upwards = side * (1 if above is not None else -1)
    return bound if not side else bound + upwards * room(criterion, bound, upwards)


def room(criterion: Criterion, bound: float, upwards: int) -> float:
    """How far from a bound an effect is planted: half of the bound, or of the way to the end of the metric's range,
    because a share near its bound is not told from it by twenty seeds."""
    scale = "share" if criterion.kind == "share" else METRICS[criterion.metric].scale
    if scale == "share" and not criterion.statistic and criterion.kind in ("value", "difference", "share"):
        end = 1.0 if upwards > 0 else (-1.0 if criterion.kind == "difference" else 0.0)
        return 0.9 * abs(end - bound)
    positive = criterion.kind == "ratio" or (criterion.kind == "value" and scale == "log")
    return abs(bound) / 2 if positive else max(abs(bound) / 2, 0.02)


def values_of(criterion: Criterion, effect: float, setting: float) -> tuple[float, float]:
    """What the arm and the other measure where the criterion's effect is this."""
    low, high = BOUNDS[METRICS[criterion.metric].scale]
    if criterion.kind == "slope":
        return setting**effect, math.nan
    if criterion.kind == "rate":
        return math.exp(effect * setting), math.nan
    if criterion.kind == "value":
        return min(effect, high), math.nan
    if criterion.kind == "share":
        told = 1.0 if effect else -1.0
        return (criterion.split or 0.0) + told, (criterion.split or 0.0) - told
    if criterion.kind == "ratio":
        other = 0.5 / max(effect, 1.0) if high == 1.0 else 1.0
        return effect * other, other
    other = max(low, 0.0) + max(0.0, -effect) + (1e-3 if low == 0.0 and high > 1 else 0.0)
    return other + effect, other


def results_of(study: Study, effects: dict[str, float], gates_met: bool = True) -> pd.DataFrame:
    """Results in which every criterion has the effect that is given for it, with a little noise between seeds."""
    rows: dict[tuple[str, str, float, int, str], float] = {}
    tiny = 1e-12
    for criterion in sorted(study.criteria, key=lambda each: each.primary):
        for task in criterion.tasks:
            settings = list(criterion.at) or [
                at for at in study.grid(task).settings if criterion.range and in_range(at, criterion.range)
            ]
            for setting in settings or [math.nan]:
                for seed in range(SEEDS):
                    effect = effects[criterion.id] * (1 + 0.01 * noise(seed, setting)) + tiny * noise(seed, setting)
                    if criterion.kind == "share":  # so many seeds of ten whose cells all come out as told
                        share, bound = effects[criterion.id], criterion.above or criterion.below or 0.0
                        if criterion.statistic == "median":  # of which all, half or none tell the middle one's side
                            share = 0.5 + 0.5 * np.sign(share - bound)
                        effect = float(seed % 10 < round(10 * share))
                    own, other = values_of(criterion, effect, setting)
                    for arm in criterion.arms:
                        rows[task, arm, setting, seed, criterion.metric] = own
                    for arm in criterion.against:
                        rows[task, arm, setting, seed, criterion.metric] = other
    for gate in study.gates:
        bound = gate.below if gate.below is not None else gate.above or 0.0
        side = (1 if gate.below is not None else -1) * (-1 if gates_met else 1)
        for task in gate.tasks or [grid.name for grid in study.tasks]:
            settings = study.grid(task).settings
            at = gate.at if gate.at is not None else (max(settings) if settings else math.nan)
            for arm in gate.arms or [arm.name for arm in study.arms]:
                for seed in range(SEEDS):
                    value = bound + side * max(abs(bound), 0.1) * (0.5 + 0.01 * noise(seed))
                    rows[task, arm, at, seed, gate.metric] = value
    axes = {grid.name: grid.axis for grid in study.tasks}
    found = [
        row(task, arm, setting, seed, metric, value, axis=axes[task])
        for (task, arm, setting, seed, metric), value in rows.items()
    ]
    return pd.DataFrame(found, columns=COLUMNS)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize(("side", "outcome"), [(1, "supported"), (-1, "refuted"), (0, "undecided")])
def test_a_study_decides_each_claim_as_its_results_say(name, side, outcome):
    study = load_study(name)
    for claim, primary in study.primary_criteria.items():
        effects = {each.id: planted(each, 1) for each in study.criteria} | {primary.id: planted(primary, side)}
        parts = {"criteria": (primary,), "claims": (claim,), "gates": (), "ladders": (), "sensitivity": ()}
        alone = study.model_copy(update=parts)
        found = judge(alone, results_of(alone, effects), range(SEEDS))
        said = next(v for v in found if v.scope == "claim")
        assert said.verdict == outcome, (claim, said.reason)


@pytest.mark.parametrize("name", [name for name in STUDIES if load_study(name).gates])
def test_an_untrained_arm_decides_nothing(name):
    study = load_study(name)
    effects = {each.id: planted(each, 1) for each in study.criteria}
    found = judge(study, results_of(study, effects, gates_met=False), range(SEEDS))
    held = {(task, arm) for gate in study.gates for task in gate.tasks or [g.name for g in study.tasks]
            for arm in gate.arms or [a.name for a in study.arms]}  # fmt: skip
    for verdict in found:
        if verdict.scope == "comparison":
            missed = {(verdict.task, verdict.arm), (verdict.task, verdict.against)} & held
            assert (verdict.verdict == "untrained") == bool(missed)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_scales_and_seeds_that_its_verdicts_need(name):
    study = load_study(name)
    assert {"quick", "standard", "full"} <= set(study.scales)
    assert study.at("quick").seeds >= 10
    assert study.at("standard").seeds >= 20
    assert study.question
    for scale in ("quick", "standard"):
        assert plan_study(study, scale, device="cpu").num_trials > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", [pytest.param("quick", marks=pytest.mark.long), "standard"])
def test_a_studys_criteria_can_be_passed_and_failed(name, scale):
    assert check_feasible(load_study(name), scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs(name, tmp_path):
    """One seed and a few steps: nothing fails but what its method says has not learned anything."""
    study = load_study(name)
    quick = study.at("quick")
    smaller = {
        "seeds": 1,
        "budget": {**quick.budget, "steps": 3, "examples": 64, "batch_size": 16},
        "budgets": {},
        "network": {**quick.network, "hidden": (8, 8)},
        "evaluation": {
            **quick.evaluation,
            "test_examples": 16,
            "inputs": 2,
            "starts": 2,
            "samples": 8,
            "partitions": 2,
        },
        "compile": "never",
    }
    small = study.model_copy(
        update={"scales": {"quick": quick.model_copy(update=smaller)}, "ladders": (), "sensitivity": ()}
    )
    table = run_study(small, engine="serial", store=tmp_path / "store", device="cpu", progress=False)
    assert set(table["status"]) == {"done"}, table.loc[table["status"] != "done", ["arm", "task", "reason"]]
    # Three steps may leave too few samples near the answers to measure an angle by: then the row says so.
    measured = table.loc[table["value"].notna() | (table["note"] != "")]
    for criterion in study.held_at("quick").criteria:
        for task in criterion.tasks:
            for arm in (*criterion.arms, *criterion.against):
                here = measured[(measured["task"] == task) & (measured["arm"] == arm)]
                if criterion.kind == "share" and here.empty:  # of all cells that there are
                    continue
                assert criterion.metric in set(here["metric"]), (criterion.id, task, arm)
