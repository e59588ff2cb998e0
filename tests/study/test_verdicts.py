"""Planted results support, refute, qualify or leave undecided every kind of criterion."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic_results import criterion, noise, study, table

from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.statistics import holm


def power_law(exponent, spread=0.05):
    return lambda arm, eps, seed: max(eps, 1e-4) ** exponent * math.exp(spread * noise(arm, eps, seed))


def judged(results, *criteria, seeds=10, claims=("C11",), gates=()):
    verdicts = judge(study(*criteria, claims=claims, gates=gates), results, range(seeds))
    return [v for v in verdicts if v.scope == "comparison"], [v for v in verdicts if v.scope == "claim"]


# ---- slopes


@pytest.mark.parametrize(
    ("exponent", "given", "outcome"),
    [
        (-2.0, {"below": -1.0}, "supported"),
        (-0.2, {"below": -1.0}, "refuted"),
        (0.0, {"above": -0.5}, "supported"),
        (-2.0, {"above": -0.5}, "refuted"),
    ],
)
def test_slope(exponent, given, outcome):
    parts, claims = judged(table(power_law(exponent), "m", ("a",)), criterion(**given))
    assert [v.verdict for v in parts + claims] == [outcome, outcome]
    assert parts[0].estimate == pytest.approx(exponent, abs=0.05)
    assert parts[0].low < parts[0].estimate < parts[0].high
    assert (parts[0].seeds, parts[0].failed, parts[0].level) == (10, 0, 0.95)


def test_what_has_no_value_though_all_is_done_says_why_and_asks_for_no_more_seeds():
    asked = criterion(kind="value", range=None, at=[0.1], above=0.0)
    results = table(lambda arm, eps, seed: math.nan, "m", ("a",)).assign(note="m: no manifold is known")
    for given, said in (
        (results, "no value: m: no manifold is known"),
        (results.assign(metric="other", value=1.0), "no value: a has no m on circle"),
        (results.assign(status="pending"), "0 complete seeds, and a verdict needs 10"),
        (table(lambda arm, eps, seed: None, "m", ("a",)), "0 complete seeds, and a verdict needs 10; first failure"),
    ):
        parts, _ = judged(given, asked)
        assert parts[0].verdict == "undecided"
        assert parts[0].reason.startswith(said)


def test_slope_near_its_threshold_is_undecided():
    wide = table(lambda arm, eps, seed: max(eps, 1e-3) ** (-1.0 + 0.5 * (-1) ** seed), "m", ("a",))
    parts, _ = judged(wide, criterion(below=-1.0))
    assert parts[0].verdict == "undecided"
    assert "contains the threshold" in parts[0].reason
    assert parts[0].low < -1.0 < parts[0].high


def test_slope_uses_only_its_range_and_never_thickness_zero():
    def kinked(arm, eps, seed):
        return 1e9 if eps == 0 else (1.0 if eps < 0.02 else eps**-2.0) * math.exp(0.01 * noise(eps, seed))

    parts, _ = judged(table(kinked, "m", ("a",)), criterion(below=-1.0, range=[0.03, 0.3]))
    assert parts[0].cells[0].at == (0.03, 0.1, 0.3)
    assert parts[0].estimate == pytest.approx(-2.0, abs=0.05)


# ---- differences and ratios


@pytest.mark.parametrize(("gap", "outcome"), [(0.4, "supported"), (0.0, "refuted"), (0.1, "undecided")])
def test_difference_is_paired_over_seeds(gap, outcome):
    def plant(arm, eps, seed):  # the seeds differ by far more than the arms do
        return noise(seed, "shared") + (gap if arm == "a" else 0.0) + 0.03 * noise(arm, eps, seed)

    contrast = criterion(kind="difference", arms=["a"], against=["b"], at=[0.01, 0.003], above=0.1)
    parts, claims = judged(table(plant, "m", ("a", "b")), contrast)
    assert [v.verdict for v in parts + claims] == [outcome, outcome]
    assert parts[0].estimate == pytest.approx(gap, abs=0.05)
    assert parts[0].high - parts[0].low < 0.2


@pytest.mark.parametrize(("factor", "outcome"), [(10.0, "supported"), (1.0, "refuted"), (3.0, "undecided")])
def test_ratio_of_medians(factor, outcome):
    def plant(arm, eps, seed):
        return (factor if arm == "a" else 1.0) * math.exp(0.2 * noise(arm, eps, seed))

    contrast = criterion(kind="ratio", arms=["a"], against=["b"], at=[0.1, 0.01], above=3.0)
    parts, _ = judged(table(plant, "m", ("a", "b")), contrast)
    assert parts[0].verdict == outcome
    assert parts[0].estimate == pytest.approx(factor, rel=0.35)
    assert [len(parts[0].cells), parts[0].cells[0].at] == [2, (0.1,)]


@pytest.mark.parametrize(("level", "outcome"), [(0.999, "supported"), (0.6, "refuted"), (0.99, "undecided")])
def test_value_is_of_the_arm_itself(level, outcome):
    # Another arm's results lie beside it and must not matter.
    def plant(arm, eps, seed):
        return (level if arm == "a" else -5.0) + 0.001 * noise(arm, eps, seed)

    given = criterion(kind="value", at=[0.1, 0.0], above=0.99)
    results = table(plant, "m", ("a", "b")).assign(unit="share")
    parts, claims = judged(results, given)
    assert [v.verdict for v in parts + claims] == [outcome, outcome]
    assert parts[0].estimate == pytest.approx(level, abs=1e-3)
    assert [cell.at for cell in parts[0].cells] == [(0.1,), (0.0,)]
    assert (parts[0].unit, parts[0].against, parts[0].label) == ("share", "", "a on circle")
    some_failed = table(lambda arm, eps, seed: None if seed in (3, 4) else plant(arm, eps, seed), "m", ("a",), seeds=12)
    assert judged(some_failed, given, seeds=12)[0][0].failed == 2


def test_where_no_seed_scatters_the_reason_says_so():
    given = criterion(kind="value", at=[0.1, 0.0], above=0.99)
    for scatter, said in ((0.0, True), (1e-4, False)):
        parts, _ = judged(table(lambda arm, eps, seed, s=scatter: 0.999 + s * noise(seed), "m", ("a",)), given)
        assert parts[0].verdict == "supported"
        assert parts[0].reason.endswith("; the same at every seed") == said


def test_value_without_a_thickness_is_taken_at_the_tasks_own():
    results = table(lambda arm, eps, seed: 0.2 + 0.01 * noise(seed), "m", ("a",), thickness=(0.075,))
    parts, _ = judged(results, criterion(kind="value", thickness=(), below=0.3))
    assert parts[0].verdict == "supported"
    assert [cell.at for cell in parts[0].cells] == [(0.075,)]


def test_below_is_the_mirror_of_above():
    results = table(lambda arm, eps, seed: (0.2 if arm == "a" else 1.0) + 0.01 * noise(arm, eps, seed), "m", ("a", "b"))
    for kind, threshold in (("ratio", 0.5), ("difference", -0.5)):
        given = {"kind": kind, "against": ["b"], "at": [0.1]}
        below, _ = judged(results, criterion(**given, below=threshold))
        above, _ = judged(results, criterion(**given, above=threshold))
        assert (below[0].verdict, above[0].verdict) == ("supported", "refuted")


@pytest.mark.parametrize(
    ("value", "outcome"), [(0.0, "supported"), (0.5, "refuted"), (-0.5, "refuted"), (0.2, "undecided")]
)
def test_two_bounds_ask_for_the_effect_between_them(value, outcome):
    results = table(power_law(value), "m", ("a",))
    parts, _ = judged(results, criterion(above=-0.2, below=0.2))
    assert parts[0].verdict == outcome


def test_only_the_primary_budget_decides():
    results = table(power_law(-2.0), "m", ("a",))
    other = table(power_law(0.0), "m", ("a",)).assign(budget="equal_cost")
    parts, _ = judged(pd.concat([results, other]), criterion(below=-1.0))
    assert parts[0].verdict == "supported"
    assert judged(other, criterion(below=-1.0))[0][0].verdict == "undecided"


def test_a_part_of_the_range_qualifies():
    def plant(arm, eps, seed):
        return (0.5 if arm == "a" and eps < 0.02 else 0.0) + 0.01 * noise(arm, eps, seed)

    contrast = criterion(kind="difference", against=["b"], at=[0.1, 0.01], above=0.1)
    parts, claims = judged(table(plant, "m", ("a", "b")), contrast)
    assert parts[0].verdict == claims[0].verdict == "qualified"
    assert parts[0].holds_in == ("thickness 0.01",)
    assert parts[0].fails_in == ("thickness 0.1",)
    assert "thickness 0.01" in claims[0].holds_in[0]


def test_arms_that_disagree_qualify_the_claim_and_are_named():
    def plant(arm, eps, seed):
        return max(eps, 1e-3) ** (-2.0 if arm == "sharp" else 0.0) * math.exp(0.05 * noise(arm, eps, seed))

    parts, claims = judged(table(plant, "m", ("sharp", "flat")), criterion(arms=["sharp", "flat"], below=-1.0))
    assert [v.verdict for v in parts] == ["supported", "refuted"]
    assert claims[0].verdict == "qualified"
    assert claims[0].holds_in == ("K1: sharp on circle",)
    assert claims[0].fails_in == ("K1: flat on circle",)


def test_one_undecided_comparison_leaves_the_claim_undecided():
    results = table(power_law(-2.0), "m", ("a",))
    parts, claims = judged(results, criterion(arms=["a", "missing"], below=-1.0))
    assert [v.verdict for v in parts] == ["supported", "undecided"]
    assert claims[0].verdict == "undecided"
    assert claims[0].reason == "2 comparisons: 1 supported, 1 undecided"


def test_claim_reports_its_weakest_link():
    def plant(arm, eps, seed):
        return max(eps, 1e-3) ** (-4.0 if arm == "steep" else -1.5) * math.exp(0.2 * noise(arm, eps, seed))

    _, claims = judged(table(plant, "m", ("steep", "near")), criterion(arms=["steep", "near"], below=-1.0))
    assert (claims[0].verdict, claims[0].arm) == ("supported", "near")


# ---- a step chosen first


def test_a_rate_is_of_logarithms_in_the_setting_itself():
    lengths = (2.0, 4.0, 8.0)
    results = table(
        lambda arm, at, seed: 7.0 * math.exp(0.69 * at + 0.01 * noise(seed)), "m", ("a",), thickness=lengths
    )
    results["axis"] = "length"
    parts, _ = judged(results, criterion(kind="rate", range=[2, 8], above=0.6, below=0.8))
    assert parts[0].estimate == pytest.approx(0.69, abs=1e-9)
    assert (parts[0].verdict, parts[0].axis, parts[0].cells[0].at) == ("supported", "length", lengths)


def test_criteria_of_another_option_speak_of_it():
    results = table(lambda arm, at, seed: at + 0.01 * noise(seed, at), "m", ("a",), thickness=(2.0, 8.0))
    results["axis"] = "length"
    parts, _ = judged(results, criterion(kind="value", at=[2, 8], above=5.0))
    assert parts[0].verdict == "qualified"
    assert "below 5 at length 2" in parts[0].reason
    assert "at every length" in judged(results, criterion(kind="value", at=[2, 8], above=1.0))[0][0].reason


# ---- what gives no verdict


def test_fewer_than_ten_seeds_are_undecided_however_clear():
    parts, claims = judged(table(power_law(-2.0), "m", ("a",), seeds=9), criterion(below=-1.0), seeds=9)
    assert parts[0].verdict == claims[0].verdict == "undecided"
    assert "9 complete seeds" in parts[0].reason
    assert parts[0].estimate == pytest.approx(-2.0, abs=0.05)
    assert math.isnan(parts[0].p)


def test_a_failed_seed_is_counted_named_and_never_helps():
    def plant(arm, eps, seed):
        return None if (seed == 3 and eps == 0.01) else eps**-2.0 if eps else 1.0

    parts, _ = judged(table(plant, "m", ("a",)), criterion(below=-1.0))
    assert (parts[0].verdict, parts[0].seeds, parts[0].failed) == ("undecided", 9, 1)
    assert "training: step 7: NaN" in parts[0].reason
    clean, _ = judged(table(lambda *k: plant(k[0], k[1], 0), "m", ("a",), seeds=12), criterion(below=-1.0), seeds=12)
    some, _ = judged(table(plant, "m", ("a",), seeds=12), criterion(below=-1.0), seeds=12)
    assert clean[0].verdict == some[0].verdict == "supported"
    assert some[0].p > clean[0].p


def test_many_failures_undo_a_decision_of_the_complete_seeds():
    def plant(arm, eps, seed):
        return None if seed >= 10 else (1.0 + 0.01 * noise(arm, eps, seed)) * (5.0 if arm == "a" else 1.0)

    results = table(plant, "m", ("a", "b"), seeds=14)
    for kind, threshold in (("ratio", 3.0), ("difference", 1.0)):
        contrast = criterion(kind=kind, against=["b"], at=[0.1], above=threshold)
        assert judged(results, contrast, seeds=10)[0][0].verdict == "supported"
        assert judged(results, contrast, seeds=14)[0][0].verdict == "undecided"


def test_results_of_two_code_versions_give_no_verdict():
    results = table(power_law(-2.0), "m", ("a",)).assign(code_digest="one")
    assert judged(results, criterion(below=-1.0))[0][0].verdict == "supported"
    results.loc[results["seed"] == 4, "code_digest"] = "two"
    parts, claims = judged(results, criterion(below=-1.0))
    assert parts[0].verdict == claims[0].verdict == "undecided"
    assert "2 versions of the code" in parts[0].reason
    assert "2 versions of the code" in claims[0].reason


def test_results_of_two_scales_are_refused():
    results = table(power_law(-2.0), "m", ("a",))
    with pytest.raises(ValueError, match="one scale"):
        judged(pd.concat([results, results]), criterion(below=-1.0))


def test_criterion_without_a_threshold_or_of_no_known_kind_is_refused():
    results = table(power_law(-2.0), "m", ("a",))
    with pytest.raises(ValueError, match="above, below"):
        judged(results, criterion())
    with pytest.raises(LookupError, match="slope"):
        judged(results, criterion(kind="slopes", below=-1.0))


def test_a_claim_without_a_criterion_is_undecided():
    verdicts = judge(study(claims=("C3",)), table(power_law(-2.0), "m", ("a",)), range(10))
    assert [(v.scope, v.claim, v.verdict) for v in verdicts] == [("claim", "C3", "undecided")]


# ---- the correction, and what is written down


def test_verdicts_of_the_quick_scale_say_that_they_are_not_for_citing():
    results = table(power_law(-2.0), "m", ("a",))
    for scale, caveat in (("quick", "quick, not for citing"), ("standard", ""), ("", "")):
        verdicts = judge(study(criterion(below=-1.0)), results, range(10), scale)
        assert {v.caveat for v in verdicts} == {caveat}
        assert {v.verdict for v in verdicts} == {"supported"}


def test_holm_runs_over_every_comparison_of_a_primary_criterion():
    def plant(arm, eps, seed):
        return max(eps, 1e-3) ** -1.3 * math.exp(0.9 * noise(arm, eps, seed))

    arms = tuple(f"arm{k}" for k in range(8))
    results = table(plant, "m", arms)
    parts, _ = judged(results, criterion(arms=list(arms), below=-1.0))
    assert [v.adjusted_p for v in parts] == pytest.approx(holm([v.p for v in parts]))
    alone, _ = judged(results, criterion(arms=[arms[int(np.argmin([v.p for v in parts]))]], below=-1.0))
    assert alone[0].adjusted_p == pytest.approx(min(v.p for v in parts))
    corrected = [v for v in parts if v.p <= 0.05 < v.adjusted_p]
    assert corrected
    assert all(v.verdict == "undecided" and "Holm" in v.reason for v in corrected)


def test_a_claim_is_decided_by_its_primary_criterion_however_many_others_there_are():
    def plant(arm, eps, seed):
        return max(eps, 1e-3) ** {"steep": -2.0, "flat": 0.0, "near": -1.0}[arm] * math.exp(0.2 * noise(arm, eps, seed))

    results = table(plant, "m", ("steep", "flat", "near"))
    first = criterion(id="first", arms=["flat"], below=-1.0)
    primary = criterion(id="second", arms=["steep"], below=-1.0, primary=True)
    others = [criterion(id=f"more{k}", arms=["near"], below=-1.0) for k in range(30)]
    parts, claims = judged(results, first, primary, *others)
    assert [claims[0].verdict, claims[0].criterion, claims[0].primary] == ["supported", "second", True]
    assert [v.criterion for v in parts if v.primary] == ["second"]
    assert parts[1].adjusted_p == pytest.approx(parts[1].p)
    secondary = [v for v in parts if not v.primary]
    assert [v.adjusted_p for v in secondary] == pytest.approx(holm([v.p for v in secondary]))
    _, claims = judged(results, criterion(arms=["flat"], below=-1.0, primary=True), *others)
    assert claims[0].verdict == "refuted"


def gate(**given):
    return SimpleNamespace(
        **({"metric": "m", "at": 0.3, "below": None, "above": None, "arms": (), "tasks": ()} | given)
    )


def test_an_arm_that_misses_a_gate_decides_nothing():
    def plant(arm, eps, seed):
        return (9.0 if arm == "b" else 1.0) * max(eps, 1e-3) ** -2.0 * math.exp(0.05 * noise(arm, eps, seed))

    results, asked = table(plant, "m", ("a", "b")), criterion(arms=["a", "b"], below=-1.0)
    parts, claims = judged(results, asked, gates=(gate(below=20.0),))
    assert [v.verdict for v in parts] == ["supported", "untrained"]
    assert parts[1].reason.startswith("b: m 9")
    assert "thickness 0.3, and its gate is at most 20" in parts[1].reason
    assert parts[1].estimate == pytest.approx(-2.0, abs=0.1)
    assert claims[0].verdict == "undecided"
    assert "1 untrained" in claims[0].reason
    for passed in (
        gate(below=200.0),
        gate(below=20.0, arms=("a",)),
        gate(below=20.0, tasks=("other",)),
        gate(metric="n", below=0.0),
    ):
        parts, claims = judged(results, asked, gates=(passed,))
        assert [v.verdict for v in parts + claims] == ["supported"] * 3
    # An arm that has the metric, and for hardly any seed a number, has not trained; one without it is not asked.
    broken = results.assign(value=results["value"].where((results["arm"] != "b") | (results["seed"] < 4)))
    parts, _ = judged(broken, asked, gates=(gate(below=2000.0),))
    assert [v.verdict for v in parts] == ["supported", "untrained"]
    assert "m is finite for 4 of 10 seeds" in parts[1].reason
    # Against an arm that has not trained nothing is shown either; without a thickness the thickest counts.
    against = criterion(kind="ratio", arms=["a"], against=["b"], at=[0.1], below=1.0)
    assert judged(results, against, gates=(gate(below=20.0, at=None),))[0][0].verdict == "untrained"
    assert judged(results, against, gates=(gate(above=5.0, below=9e9, at=0.01),))[0][0].verdict == "supported"


def test_several_thicknesses_are_tested_by_the_worst_of_them():
    def plant(arm, eps, seed):
        return (0.5 if arm == "a" and eps < 0.05 else 0.0) + 0.05 * noise(arm, eps, seed)

    both = criterion(kind="difference", against=["b"], at=[0.01, 0.1], above=0.0)
    parts, _ = judged(table(plant, "m", ("a", "b")), both)
    assert parts[0].verdict == "undecided"
    assert parts[0].p >= max(cell.p for cell in parts[0].cells)
    only = criterion(kind="difference", against=["b"], at=[0.01], above=0.0)
    assert judged(table(plant, "m", ("a", "b")), only)[0][0].verdict == "supported"


@pytest.mark.slow
def test_false_decisions_stay_below_the_level():
    """At the threshold itself any decision is false: 100 studies of 4 comparisons, at most .05 + 4 standard errors."""
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(100):
        values = rng.normal(0.1, 0.2, (4, 10))
        plant = lambda arm, eps, seed, v=values: 0.0 if arm == "b" else v[int(arm), seed]  # noqa: E731
        results = table(plant, "m", ("0", "1", "2", "3", "b"), thickness=(0.01,))
        contrast = criterion(kind="difference", arms=list("0123"), against=["b"], at=[0.01], above=0.1)
        parts, _ = judged(results, contrast)
        false += any(v.verdict != "undecided" for v in parts)
    assert false / 100 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 100)


def test_verdicts_are_strict_json():
    results = table(power_law(-2.0), "m", ("a",))
    verdicts = judge(study(criterion(below=-1.0, arms=["a", "missing"])), results, range(10))
    written = json.loads(json.dumps([v.as_dict() for v in verdicts], allow_nan=False))
    assert written[0]["verdict"] == "supported"
    assert written[1]["estimate"] is None
    assert written[0]["cells"][0]["at"] == [0.003, 0.01, 0.03, 0.1, 0.3]


def test_a_criterion_may_ask_for_the_median_seed():
    results = table(lambda arm, eps, seed: 1.0 if seed else 0.0, "tube_mass", ("a",), seeds=20)
    mean = criterion(kind="value", metric="tube_mass", at=[0.1], above=0.9)
    assert judged(results, mean, seeds=20)[0][0].verdict == "undecided"
    parts, _ = judged(results, SimpleNamespace(**{**vars(mean), "statistic": "median"}), seeds=20)
    assert (parts[0].verdict, parts[0].estimate) == ("supported", 1.0)
