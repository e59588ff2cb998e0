"""Columns of the tables of tasks: what criteria speak of is in them, on the page and in a paper."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from synthetic_results import COLUMNS, row

from ebm_vs_prob.metrics.catalogue import METRICS
from ebm_vs_prob.report import sections, tables
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.report.latex import MOST_COLUMNS
from ebm_vs_prob.report.page import _for_paper
from ebm_vs_prob.study.files import list_studies, load_study

BESIDE = ("answer_distance_median", "tube_mass", "likelihood_gap", "gibbs_gap", "gibbs_log_score", "weight_norm")


def measured(study, left_out=()):
    """Inputs in which each task has two arms with a value of whatever its criteria speak of, and of a few more."""
    rows = []
    for grid in study.tasks:
        asked = [c.metric for c in study.criteria if grid.name in c.tasks]
        for arm in study.arms[:2]:
            for seed in range(2):
                for metric in dict.fromkeys([*BESIDE, *asked]):
                    value = np.nan if metric in left_out else 0.5
                    rows.append(row(grid.name, arm.name, (grid.settings or (0.02,))[0], seed, metric, value))
    return Inputs(study, next(iter(study.scales)), pd.DataFrame(rows, columns=COLUMNS))


def grid_of(inputs, task):
    frame = tables.task_table(inputs, task)
    return frame, sections.task_grid(inputs, task, frame, tables.every_metric(inputs, task))


@pytest.mark.parametrize("name", list_studies())
def test_what_a_criterion_speaks_of_has_a_column_on_the_page_and_in_a_paper(name):
    study = load_study(name)
    inputs = measured(study)
    for task in inputs.tasks:
        frame, grid = grid_of(inputs, task)
        shown = [column["metric"] for column in grid["columns"] if column["shown"]]
        assert len(shown) <= 6
        asked = {c.metric for c in study.criteria if task in c.tasks}
        assert asked <= {column["metric"] for column in grid["columns"]}
        assert {c.metric for c in study.primary_criteria.values() if task in c.tasks} <= set(shown)
        assert asked <= set(shown) or set(shown) - {""} <= asked
        paper = _for_paper({"name": task, "frame": frame}, {task: grid})
        assert paper.shape[1] <= MOST_COLUMNS
        told = {tables.heading(metric) for metric in asked}
        at_first = {column["title"] for column in grid["columns"] if column["shown"]}
        # Where criteria speak of more than there is room for, there is nothing else.
        assert told <= set(paper.columns) or set(paper.columns) <= told | at_first


def test_primary_metrics_come_first_and_what_has_no_value_has_no_column():
    study = load_study("decision")
    inputs = measured(study)
    order = tables.column_metrics(inputs, "steering")
    assert order[0] == "regret"
    assert "gibbs_gap" in order
    assert "gibbs_log_score" not in order
    frame, _ = grid_of(inputs, "steering")
    assert "regret of decisions (cost)" in frame.columns
    lacking = measured(study, left_out=("regret", "gibbs_gap"))
    assert "regret" not in tables.column_metrics(lacking, "steering")
    assert "gibbs_log_score" in tables.column_metrics(lacking, "steering")


def test_no_two_columns_of_a_table_have_one_title():
    fixed = ["arm", "ε", "family", "principle", "smoothing", "seeds done", "failed", "budget", "steps"]
    metrics = [name for name in METRICS if name not in tables._COST]
    titles = Counter([*map(tables.heading, metrics), *fixed, *tables._COST.values()])
    assert [title for title, count in titles.items() if count > 1] == []


def test_behind_the_first_success_stands_what_chance_has_of_it():
    inputs = measured(load_study("descent"))
    assert tables.CHANCE not in tables.column_metrics(inputs, "three_curves")
    rows = inputs.results[inputs.results["metric"] == "answer_success"].assign(metric=tables.CHANCE, value=0.1)
    beside = Inputs(inputs.study, inputs.scale, pd.concat([inputs.results, rows], ignore_index=True))
    assert tables.column_metrics(beside, "three_curves")[:2] == ["answer_success", tables.CHANCE]
    _, grid = grid_of(beside, "three_curves")
    assert tables.CHANCE in {column["metric"] for column in grid["columns"]}
