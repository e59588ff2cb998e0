"""Home studies of latent variables and priors: fed results with a planted effect, each says what was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_results import COLUMNS, row

from ebm_vs_prob.study import load_study
from ebm_vs_prob.study.judging import judge

#: The claim that each is the home of.
HOMES = {
    "free_energy": "C3",
    "latent_sweep": "C4",
    "minimise_or_marginalise": "C6",
    "variational_gap": "C7",
    "prior_is_regulariser": "C13",
}
SEEDS = range(20)


def inside(criterion):
    """Well inside the bounds of a criterion, and well outside."""
    above, below = criterion.above, criterion.below
    if above is not None and below is not None:
        return (above + below) / 2, below + 1
    return (above + 0.04, above - 0.5) if above is not None else (below - 0.04, below + 0.5)


def planted(study, claim, holds, spread=0.003):
    """Results of the primary criterion's metric: inside its bounds where `holds(task, arm)`, else outside."""
    criterion = study.primary_criteria[claim]
    good, bad = inside(criterion)
    rng, rows = np.random.default_rng(0), []
    for task in criterion.tasks:
        grid = study.grid(task)
        for arm in (*criterion.arms, *criterion.against):
            for setting in grid.settings:
                for seed in SEEDS:
                    value = good if holds(task, arm) or setting not in criterion.at else bad
                    value += spread * rng.standard_normal()
                    if arm in criterion.against:
                        value = 1.0 if criterion.kind == "ratio" else 0.0
                    where = {"axis": grid.axis, "setting": setting}
                    rows.append(row(task, arm, setting, seed, criterion.metric, value, **where))
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict_on(study, claim, results):
    (found,) = [each for each in judge(study, results, SEEDS) if each.scope == "claim" and each.claim == claim]
    return found.verdict


@pytest.mark.parametrize(("name", "claim"), HOMES.items())
def test_it_says_what_was_planted(name, claim):
    study = load_study(name)
    criterion = study.primary_criteria[claim]
    last = criterion.tasks[-1], criterion.arms[-1]
    assert verdict_on(study, claim, planted(study, claim, lambda task, arm: True)) == "supported"
    assert verdict_on(study, claim, planted(study, claim, lambda task, arm: False)) == "refuted"
    assert verdict_on(study, claim, planted(study, claim, lambda task, arm: (task, arm) != last)) == "qualified"


@pytest.mark.parametrize(("name", "claim"), HOMES.items())
def test_where_seeds_disagree_it_decides_nothing(name, claim):
    study = load_study(name)
    assert verdict_on(study, claim, planted(study, claim, lambda task, arm: True, spread=3.0)) == "undecided"


@pytest.mark.parametrize(("name", "claim"), HOMES.items())
def test_what_has_not_trained_decides_nothing(name, claim):
    study = load_study(name)
    criterion = study.primary_criteria[claim]
    results = planted(study, claim, lambda task, arm: True)
    missed = []
    for gate in study.gates:
        for task in set(gate.tasks or criterion.tasks) & set(criterion.tasks):
            for arm in set(gate.arms or criterion.arms) & {*criterion.arms, *criterion.against}:
                grid = study.grid(task)
                setting = gate.at if gate.at is not None else max(grid.settings)
                where = {"axis": grid.axis, "setting": setting}
                missed += [row(task, arm, setting, seed, gate.metric, gate.below + 1, **where) for seed in SEEDS]
    assert missed
    gated = results["metric"].isin(
        {entry["metric"] for entry in pd.DataFrame(missed, columns=COLUMNS).to_dict("records")}
    )
    results = pd.concat([results[~gated], pd.DataFrame(missed, columns=COLUMNS)])
    assert verdict_on(study, claim, results) == "undecided"


def test_every_study_has_an_exact_arm_a_ladder_and_seeds_enough():
    for name in HOMES:
        study = load_study(name)
        assert any(arm.method == "exact" for arm in study.arms)
        assert study.at("quick").seeds >= 10
        assert study.at("standard").seeds >= 20
        followed = {ladder.criterion for ladder in study.ladders}
        assert followed & {criterion.id for criterion in study.primary_criteria.values()}
