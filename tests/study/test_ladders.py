# ruff: noqa: RUF001
"""A ladder of budgets: run in its cell alone, and where the effect moves the verdict holds at this budget only."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_files import CRITERION, write_study
from synthetic_results import criterion, noise, study, table

from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.report.training_tables import training_tables
from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.study.gates import at_gates
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.ladders import FACTOR, climbed, name_of, shrunk
from ebm_vs_prob.study.plan import places

DIFFERENCE = """
[[criteria]]
id = "gap"
claim = "C12"
statement = "One is ahead"
kind = "difference"
metric = "likelihood_gap"
arms = ["plain"]
against = ["other"]
tasks = ["circle"]
at = [0.3, 0.1]
above = 0.1
"""
ARMS = {"plain": ("ring", ""), "other": ("ring", "stiffness = 9.0"), "third": ("ring", "stiffness = 5.0")}


def ladder(**given):
    return SimpleNamespace(**({"criterion": "K1", "task": "", "at": None, "rungs": 3, "tolerance": None} | given))


def at_budgets(plant, arms, rungs=3, seeds=12, thickness=(0.1,)):
    """Results at each rung: `plant(arm, eps, seed, rung)`, rung 0 the scale's own budget."""
    tables = [
        table(lambda arm, eps, seed, r=r: plant(arm, eps, seed, r), "m", arms, seeds, thickness).assign(
            budget=name_of(r), steps=1600 // FACTOR**r
        )
        for r in range(rungs)
    ]
    return pd.concat(tables, ignore_index=True)


def judged(results, *criteria, ladders, seeds=12, scale=""):
    verdicts = judge(study(*criteria, claims=("C11",), ladders=ladders), results, range(seeds), scale)
    return {v.criterion if v.scope == "comparison" else v.claim: v for v in verdicts}


VALUE = {"kind": "value", "at": [0.1], "above": 0.5}


@pytest.mark.parametrize(
    ("moves", "tolerance", "caveat"),
    [(0.0, None, ""), (0.2, None, "at this budget"), (0.2, 0.3, ""), (0.2, 0.1, "at this budget")],
)
def test_an_effect_that_moves_between_the_last_two_budgets_is_one_at_this_budget(moves, tolerance, caveat):
    results = at_budgets(lambda arm, eps, seed, r: 1.0 - moves * (r > 0) + 0.01 * noise(seed, r), ("a",))
    found = judged(results, criterion(**VALUE), ladders=(ladder(tolerance=tolerance),))
    assert {name: (v.verdict, v.caveat) for name, v in found.items()} == {
        "K1": ("supported", caveat),
        "C11": ("supported", caveat),
    }


def test_what_the_smallest_budget_gives_is_shown_and_decides_nothing():
    results = at_budgets(lambda arm, eps, seed, r: (-9.0 if r == 2 else 1.0) + 0.01 * noise(seed, r), ("a",))
    planted = study(criterion(**VALUE), ladders=(ladder(),))
    (climb,) = climbed(planted, results, range(12))
    assert climb.stable
    assert [rung.steps for rung in climb.rungs] == [100, 400, 1600]
    assert [round(rung.cell.estimate) for rung in climb.rungs] == [-9, 1, 1]
    assert judged(results, criterion(**VALUE), ladders=(ladder(),))["C11"].caveat == ""


def test_the_caveats_of_a_scale_and_of_a_budget_stand_together():
    results = at_budgets(lambda arm, eps, seed, r: 1.0 - 0.2 * r + 0.01 * noise(seed, r), ("a",))
    found = judged(results, criterion(**VALUE), ladders=(ladder(),), scale="quick")
    assert found["C11"].caveat == "quick, not for citing; at this budget"


def test_a_secondary_criterion_leaves_the_claim_as_it_is():
    results = at_budgets(lambda arm, eps, seed, r: 1.0 - 0.2 * r + 0.01 * noise(seed, r), ("a",))
    first = criterion(id="first", primary=True, **VALUE)
    found = judged(results, first, criterion(id="second", **VALUE), ladders=(ladder(criterion="second"),))
    assert {name: v.caveat for name, v in found.items()} == {"first": "", "second": "at this budget", "C11": ""}


def test_one_arm_that_moves_is_enough_and_too_few_seeds_cannot_say():
    results = at_budgets(lambda arm, eps, seed, r: 1.0 - 0.2 * r * (arm == "b") + 0.01 * noise(seed, r), ("a", "b"))
    both = criterion(**VALUE | {"arms": ["a", "b"]})
    assert judged(results, both, ladders=(ladder(),))["C11"].caveat == "at this budget"
    climbs = climbed(study(both, ladders=(ladder(),)), results, range(12))
    assert [climb.stable for climb in climbs] == [True, False]
    few = results[(results["budget"] == name_of(0)) | (results["seed"] < 9)]
    (climb,) = climbed(study(criterion(**VALUE), ladders=(ladder(),)), few, range(12))
    assert "9 complete seeds, and it takes 10 to say" in climb.reason
    gone = results[results["budget"] == name_of(0)]
    assert judged(gone, criterion(**VALUE), ladders=(ladder(),))["C11"].caveat == "at this budget"


@pytest.mark.parametrize(("exponent", "stable"), [(-2.0, True), (-1.0, False)])
def test_a_slope_is_followed_over_its_whole_range(exponent, stable):
    def plant(arm, eps, seed, r):
        return eps ** (exponent if r else -2.0) * math.exp(0.05 * noise(eps, seed, r))

    results = at_budgets(plant, ("a",), thickness=(0.3, 0.1, 0.03))
    (climb,) = climbed(study(criterion(below=-1.5), ladders=(ladder(),)), results, range(12))
    assert climb.stable is stable
    assert climb.rungs[1].cell.estimate == pytest.approx(exponent, abs=0.1)


# ---- what is run


def budgets_in(planned):
    found = {}
    for place in places(planned.to_record()):
        found.setdefault((place["arm"], place["setting"]), set()).add((place["budget"], place["steps"]))
    return found


@pytest.mark.usefixtures("plugin")
def test_smaller_budgets_are_run_in_the_cell_alone(tmp_path):
    path = write_study(
        tmp_path / "rings.toml", arms=ARMS, extra=DIFFERENCE + '\n[[ladders]]\ncriterion = "gap"\nat = 0.1\n'
    )
    path.write_text(path.read_text().replace("steps = 3,", "steps = 40,"))
    found = budgets_in(plan_study(path, device="cpu"))
    own = {("equal_steps", 40)}
    assert found[("plain", 0.1)] == found[("other", 0.1)] == own | {("equal_steps/4", 10), ("equal_steps/16", 2)}
    assert {key for key, budgets in found.items() if budgets == own} == {
        ("plain", 0.3), ("other", 0.3), ("third", 0.3), ("third", 0.1),
    }  # fmt: skip
    path.write_text(path.read_text().replace("at = 0.1\n", "rungs = 4\n").replace("steps = 40,", "steps = 64,"))
    found = budgets_in(plan_study(path, device="cpu"))  # the criterion's first setting
    assert found[("plain", 0.1)] == {("equal_steps", 64)}
    assert {steps for _, steps in found[("plain", 0.3)]} == {64, 16, 4, 1}
    path.write_text(path.read_text().replace("steps = 64,", "steps = 63,"))
    with pytest.raises(
        ValueError, match=r"scales\.quick: budget: steps = 63 is not valid: expected 64 or more"
    ) as caught:
        plan_study(path, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("plugin")
def test_of_a_slope_all_its_settings_are_the_cell(tmp_path):
    path = write_study(
        tmp_path / "rings.toml", thickness="0.3, 0.1, 0.001", extra=f'{CRITERION}[[ladders]]\ncriterion = "slope"\n'
    )
    path.write_text(path.read_text().replace("steps = 3,", "steps = 16,"))
    found = budgets_in(plan_study(path, device="cpu"))
    assert {key[1]: len(budgets) for key, budgets in found.items()} == {0.3: 3, 0.1: 3, 0.001: 1}


@given(steps=st.integers(1, 10**8), rung=st.integers(0, 7), work=st.none() | st.floats(1.0, 1e18))
def test_a_rung_is_a_fourth_of_the_next(steps, rung, work):
    budget = Budget(steps=steps, multiply_adds=work)
    if steps < FACTOR**rung:
        with pytest.raises(ValueError, match="for the rungs"):
            shrunk(budget, rung, "here")
        return
    found = shrunk(budget, rung, "here")
    assert found.steps * FACTOR**rung <= steps < (found.steps + 1) * FACTOR**rung
    assert found.multiply_adds == (None if work is None else work / FACTOR**rung)
    assert (found.batch_size, found.examples) == (budget.batch_size, budget.examples)


MISTAKES = [
    ('criterion = "gap"', 'criterion = "gab"', r"ladders\.0\.criterion: 'gab': did you mean 'gap'\?"),
    ('criterion = "gap"', 'criterion = "gap"\ntask = "cirle"', r"ladders\.0\.task: 'cirle': did you mean 'circle'\?"),
    (
        'criterion = "gap"',
        'criterion = "gap"\nat = 0.2',
        r"ladders\.0\.at = 0\.2 .*one of criteria\.gap\.at: 0\.3, 0\.1",
    ),
    ('criterion = "gap"', 'criterion = "slope"\nat = 0.1', r"ladders\.0\.at = 0\.1 .*expected none"),
    ('criterion = "gap"', 'criterion = "gap"\nrungs = 2', r"ladders\.0\.rungs = 2 .*greater than or equal to 3"),
    ('criterion = "gap"', 'criterion = "gap"\ntolerance = 0.0', r"ladders\.0\.tolerance = 0\.0 .*greater than 0"),
    (
        'criterion = "gap"',
        'criterion = "gap"\nstep = 1',
        r"ladders\.0: 'step': valid: at, criterion, rungs, task, tolerance",
    ),
]


@pytest.mark.parametrize(("old", "new", "why"), MISTAKES)
def test_a_mistake_in_a_ladder_is_one_line(tmp_path, old, new, why):
    extra = f'{CRITERION}{DIFFERENCE}[[ladders]]\ncriterion = "gap"\n'
    path = write_study(tmp_path / "rings.toml", arms=ARMS, extra=extra)
    load_study(path)
    head, mark, tail = path.read_text().partition("[[ladders]]")
    path.write_text(head + mark + tail.replace(old, new, 1))
    with pytest.raises(ValueError, match=why) as caught:
        load_study(path)
    assert "\n" not in str(caught.value)


def test_a_scale_keeps_the_setting_of_a_ladder(tmp_path):
    extra = f'{DIFFERENCE}[[ladders]]\ncriterion = "gap"\nat = 0.1\n'
    path = write_study(tmp_path / "rings.toml", arms=ARMS, extra=extra)
    path.write_text(path.read_text().replace("seeds = 3", "seeds = 3\nwithin = { thickness = [0.2, 1] }"))
    with pytest.raises(ValueError, match=r"within\.thickness = .*a range with 0\.1, for ladders\.0"):
        load_study(path)


def test_what_a_ladder_is_run_at_is_part_of_what_is_run_and_its_tolerance_is_not(tmp_path):
    def runs(text):
        return load_study(write_study(tmp_path / "rings.toml", arms=ARMS, extra=DIFFERENCE + text)).runs("quick")

    plain, own = runs(""), runs('[[ladders]]\ncriterion = "gap"\n')
    assert plain != own != runs('[[ladders]]\ncriterion = "gap"\nat = 0.1\n')
    assert own == runs('[[ladders]]\ncriterion = "gap"\ntolerance = 0.1\n')


# ---- what is shown


def gate(**given):
    return SimpleNamespace(
        **({"metric": "m", "at": None, "below": None, "above": None, "arms": (), "tasks": ()} | given)
    )


def inputs_of(results, *criteria, gates=(), ladders=()):
    planted = study(*criteria, gates=gates, ladders=ladders)
    planted.arms = [SimpleNamespace(name=name, label=f"Arm {name}") for name in ("a", "b")]
    planted.scales = {"standard": SimpleNamespace(all_seeds=range(12), seeds=12)}
    return Inputs(planted, "standard", results)


def test_the_table_of_ladders_has_every_rung_with_its_interval():
    results = at_budgets(lambda arm, eps, seed, r: 1.0 - 0.25 * r + 0.01 * noise(seed, r), ("a",))
    frame = training_tables(inputs_of(results, criterion(**VALUE), ladders=(ladder(),)), ())["ladders"]
    assert frame["steps"].tolist() == ["100", "400", "1600"]
    assert frame["arm"].tolist() == ["Arm a"] * 3
    assert frame["at"].tolist() == ["ε 0.1"] * 3
    assert frame["stable"].tolist()[:2] == ["", ""]
    assert frame["stable"].iloc[2].startswith("no: the effects at the last two budgets are 0.2")
    assert "intervals do not overlap" in frame["stable"].iloc[2]
    assert all("[" in text for text in frame["estimate [95 %]"])


def test_the_table_of_gates_says_what_passed_what_missed_and_what_lacks_the_metric():
    results = at_budgets(lambda arm, eps, seed, r: (9.0 if arm == "b" else 1.0) + 0.01 * noise(seed, r), ("a", "b"), 1)
    none = results[results["arm"] == "a"].assign(arm="c", value=math.nan, note="c stands for no density")
    results = pd.concat([results, none], ignore_index=True)
    named = gate(below=5.0, arms=("a", "b", "c"))
    frame = training_tables(inputs_of(results, criterion(**VALUE), gates=(named,)), ())["gates"]
    assert frame["outcome"].tolist() == ["passed", "missed", "no value"]
    assert frame["value"].tolist()[2] == "–"
    assert frame["seeds"].tolist() == ["12 of 12", "12 of 12", "0 of 12"]
    assert frame["why"].iloc[2] == "c stands for no density"
    assert set(frame["asked"]) == {"at most 5"}
    # A gate for all that have the metric says nothing of one that has not.
    everyone = at_gates(study(gates=(gate(above=0.5, below=5.0),)), results, range(12))
    assert [(each.arm, each.outcome) for each in everyone] == [("a", "passed"), ("b", "missed")]
    assert everyone[0].asked == "at least 0.5 and at most 5"


def test_without_any_of_them_there_is_no_table():
    results = at_budgets(lambda arm, eps, seed, r: 1.0, ("a",), 1)
    assert training_tables(inputs_of(results, criterion(**VALUE)), ()) == {}
