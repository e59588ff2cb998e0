"""Criteria of kind `share`: of all cells, those that come out as told."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ebm_vs_prob.core.options import from_table
from ebm_vs_prob.study.comparisons import told_cell
from ebm_vs_prob.study.consistency import check_references
from ebm_vs_prob.study.schema import Study

SEEDS = range(10)


def results(cells):
    """Rows of (arm, task, values of the seeds)."""
    return pd.DataFrame(
        [
            {"arm": arm, "task": task, "setting": 0.1, "seed": seed, "metric": "learned_share", "value": value}
            | {"status": "done"}
            for arm, task, values in cells
            for seed, value in zip(SEEDS, values, strict=True)
        ]
    )


def criterion(**changes):
    table = {"id": "C10-told", "kind": "share", "metric": "learned_share", "split": 0.2, "at": ()}
    return SimpleNamespace(**{**table, "arms": ("good",), "against": ("flat",), "above": 0.7, "below": None, **changes})


def test_one_number_a_seed_is_the_share_of_cells_on_the_side_that_was_told():
    rows = results(
        [
            ("good", "one", [0.9] * 10),
            ("good", "two", [0.9] * 5 + [0.1] * 5),  # half of the seeds collapse
            ("flat", "one", [0.0] * 10),
            ("flat", "two", [0.0] * 9 + [math.nan]),  # a failure did not come out as told
            ("other", "one", [0.9] * 10),
        ]
    )
    cell = told_cell(criterion(), rows, SEEDS)
    each = [1.0] * 5 + [0.75] * 4 + [0.5]
    assert cell.estimate == pytest.approx(np.mean(each))
    assert cell.seeds == 10
    assert cell.failed == 0
    assert cell.holds


@pytest.mark.parametrize("waiting", [1, 4, 20])
def test_what_was_not_run_yet_never_decides(waiting):
    """All cells of the rest come out as told, and none of those that are waiting: a seed with one of them is none."""
    rows = results([("good", "one", [0.9] * 10), ("flat", "one", [0.0] * 10)])
    late = rows.index < waiting
    rows = rows.assign(value=rows["value"].where(~late, math.nan), status=np.where(late, "pending", "done"))
    cell = told_cell(criterion(), rows, SEEDS)
    assert cell.seeds == max(0, 10 - waiting)
    assert not (cell.p < 0.05 and not cell.holds)


def test_the_other_way_round_it_is_refuted():
    rows = results([("good", "one", np.linspace(-0.1, 0.1, 10)), ("flat", "one", np.linspace(0.3, 0.9, 10))])
    cell = told_cell(criterion(), rows, SEEDS)
    assert not cell.holds
    assert cell.p < 0.05


def study(**changes):
    told = {"id": "C10-told", "claim": "C10", "statement": "As told", "kind": "share", "metric": "learned_share"}
    told = {**told, "split": 0.2, "arms": ["good"], "against": ["flat"], "tasks": ["circle"], "above": 0.9, **changes}
    table = {
        "schema": 1,
        "name": "told",
        "title": "Told",
        "claims": ["C10"],
        "scales": {"quick": {"seeds": 10}},
        "tasks": [{"name": "circle"}],
        "arms": [{"name": "good", "method": "hinge"}, {"name": "flat", "method": "energy_loss"}],
        "criteria": [{key: value for key, value in told.items() if value is not None}],
    }
    return from_table(Study, table, "told.toml")


def test_a_study_may_have_one():
    check_references(study())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": None}, "split is missing"),
        ({"against": ["good"]}, "against = 'good'"),
        ({"kind": "difference"}, "split = 0.2"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        check_references(study(**changes))
