"""Home studies of claims: fed results with a planted effect, each says what was planted."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from synthetic_results import COLUMNS, row

from ebm_vs_prob.study import load_study
from ebm_vs_prob.study.judging import judge

#: The claim that each is the home of.
HOMES = {
    "descent": "C1",
    "temperature": "C5",
    "objectives": "C10",
    "smoothness_prior": "C14",
    "wrong_model": "C15",
    "averages": "C17",
    "scoring_rules": "C18",
}
#: Those whose primary criterion compares arms that have a gate.
GATED = ("descent", "temperature", "smoothness_prior", "scoring_rules")
SEEDS = range(20)
#: Of what is compared, the other side's value: a share, a distance, nats. No gate is missed by it.
BASE = 0.05


def effect(criterion, holds):
    """A number well inside the criterion's bounds, or well outside."""
    above, below = criterion.above, criterion.below
    if criterion.kind == "ratio":
        inside = math.sqrt((above or below / 4) * (below or above * 4))
        return inside if holds else (below or above / 4) * 2 if below else above / 2
    if above is not None and below is not None:
        return (above + below) / 2 if holds else below + 1
    return above + (0.1 if holds else -0.1) if above is not None else below - (0.1 if holds else -0.1)


def planted(study, claim, holds, spread=0.0):
    """Results of the primary criterion's metric that lie inside its bounds, or outside, with a spread over seeds."""
    criterion = study.primary_criteria[claim]
    rng = np.random.default_rng(0)
    rows = []
    for task in criterion.tasks:
        grid = study.grid(task)
        for arm in study.arms:
            if arm.name not in criterion.arms + criterion.against or (arm.tasks and task not in arm.tasks):
                continue
            for setting in grid.settings or (0.1,):
                for seed in SEEDS:
                    noise = (0.01 + spread) * rng.standard_normal()
                    if criterion.kind == "share":
                        told = (arm.name in criterion.arms) == (holds if spread == 0.0 else bool(rng.integers(2)))
                        value = criterion.split + (0.5 if told else -0.5)
                    elif arm.name in criterion.against:
                        value = BASE
                    elif criterion.kind == "ratio":
                        value = BASE * effect(criterion, holds) * math.exp(noise)
                    else:
                        value = (BASE if criterion.kind == "difference" else 0.0) + effect(criterion, holds) + noise
                    where = {"axis": grid.axis, "setting": setting}
                    rows.append(row(task, arm.name, setting, seed, criterion.metric, value, **where))
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict_on(study, claim, results):
    (found,) = [each for each in judge(study, results, SEEDS) if each.scope == "claim" and each.claim == claim]
    return found.verdict


@pytest.mark.parametrize(("name", "claim"), HOMES.items())
def test_it_says_what_was_planted(name, claim):
    study = load_study(name)
    assert verdict_on(study, claim, planted(study, claim, holds=True)) == "supported"
    assert verdict_on(study, claim, planted(study, claim, holds=False)) == "refuted"


@pytest.mark.parametrize(("name", "claim"), HOMES.items())
def test_where_seeds_disagree_it_decides_nothing(name, claim):
    study = load_study(name)
    wide = planted(study, claim, holds=True, spread=30.0)
    if study.primary_criteria[claim].kind == "share":  # half of the cells as told is none too many for .9
        assert verdict_on(study, claim, wide) == "refuted"
    else:
        assert verdict_on(study, claim, wide) == "undecided"


@pytest.mark.parametrize(("name", "claim"), [home for home in HOMES.items() if home[0] in GATED])
def test_what_has_not_trained_decides_nothing(name, claim):
    study = load_study(name)
    criterion = study.primary_criteria[claim]
    results = planted(study, claim, holds=True)
    compared = (*criterion.arms, *criterion.against)
    missed = []
    for gate in study.gates:
        for task in gate.tasks or criterion.tasks:
            for arm in set(gate.arms or compared) & set(compared):
                grid = study.grid(task)
                setting = gate.at if gate.at is not None else (grid.settings or (0.1,))[0]
                where = {"axis": grid.axis, "setting": setting}
                bad = gate.below + 1 if gate.below is not None else gate.above - 1
                missed += [row(task, arm, setting, seed, gate.metric, bad, **where) for seed in SEEDS]
    assert missed
    results = pd.concat([results[results["metric"] != missed[0]["metric"]], pd.DataFrame(missed, columns=COLUMNS)])
    assert verdict_on(study, claim, results) == "undecided"


def test_every_study_has_an_exact_arm_and_as_many_seeds_as_a_verdict_needs():
    for name in HOMES:
        study = load_study(name)
        assert any(arm.method == "exact" for arm in study.arms)
        assert study.at("quick").seeds >= 10
        assert study.at("standard").seeds >= 20
