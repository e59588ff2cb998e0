"""The power that `plan` states is that of the tests that verdicts take: exact, by statsmodels, or by simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statistical import within_standard_errors
from statsmodels.stats.power import TTestPower
from study_files import write_study
from synthetic_results import criterion, noise, study, table
from typer.testing import CliRunner

from ebm_vs_prob.cli.commands import app
from ebm_vs_prob.study import load_study
from ebm_vs_prob.study import power as p
from ebm_vs_prob.study import statistics as s
from ebm_vs_prob.study.comparisons import compare
from ebm_vs_prob.study.effects import GEOMETRIC, MEAN
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.planned_power import planned_power
from ebm_vs_prob.study.power_of_a_criterion import scatter_of
from ebm_vs_prob.study.published import published_scatters
from ebm_vs_prob.study.statistics import ALPHA

LEVEL = p.one_sided_level(1)
CRITERION = """
[[criteria]]
id = "asked"
claim = "C11"
statement = "It is so"
kind = "value"
metric = "{metric}"
arms = ["plain"]
tasks = ["circle"]
at = [{at}]
{bounds}
"""


def asked(folder, bounds, metric="likelihood_gap", at="0.1", seeds=20):
    extra = CRITERION.format(metric=metric, bounds=bounds, at=at)
    return load_study(write_study(folder / "rings.toml", seeds=seeds, extra=extra))


# ---- the tests themselves


@pytest.mark.parametrize("seeds", [10, 20, 40])
def test_halls_test_beside_students_costs_power(seeds):
    """Of so few seeds it costs much: of 10 seeds .19 where Student's alone finds .8."""
    distance = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8)
    assert 0.5 < p.mean_power(seeds, LEVEL, distance) < 0.8


@pytest.mark.parametrize("distance", [0.0, 0.03, 0.05, 0.08])
def test_of_many_seeds_the_power_is_that_of_statsmodels(distance):
    expected = TTestPower().power(distance, nobs=3000, alpha=LEVEL, alternative="larger")
    assert p.mean_power(3000, LEVEL, distance) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("seeds", [10, 20])
@pytest.mark.parametrize(("over", "under"), [(0.9, math.inf), (1.3, 1.3), (0.8, 2.0)])
def test_the_power_for_means_is_that_of_simulated_seeds(seeds, over, under):
    """2500 samples of normal seeds under the tests of verdicts; the law of the skewness is right to .005 (D'Agostino).

    A wrong power is seen where it is off by .05.
    """
    samples = np.random.default_rng(seeds).standard_normal((2500, seeds))
    inside = [
        s.mean_p_value(values, -over, "greater") <= LEVEL
        and (math.isinf(under) or s.mean_p_value(values, under, "less") <= LEVEL)
        for values in samples
    ]
    expected = p.mean_power(seeds, LEVEL, over, under)
    se = math.sqrt(expected * (1 - expected) / len(samples))
    assert within_standard_errors(np.mean(inside), expected, se, comparisons=6, slack=0.005)


@given(st.integers(10, 60), st.floats(0.05, 3.0), st.floats(0.05, 1.0), st.integers(1, 12))
def test_power_grows_with_seeds_effect_and_level(seeds, distance, more, comparisons):
    level = p.one_sided_level(comparisons)
    power = p.mean_power(seeds, level, distance)
    slack = 1e-6
    assert p.mean_power(seeds, level, distance + more) >= power - slack
    assert p.mean_power(seeds + 5, level, distance) >= power - slack
    assert p.mean_power(seeds, p.one_sided_level(comparisons + 1), distance) <= power + slack
    assert p.mean_power(seeds, level, distance, distance + more) <= power + slack


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("comparisons", [1, 12])
def test_the_detectable_effect_has_the_power_that_is_asked(comparisons, within):
    level = p.one_sided_level(comparisons)
    found = p.detectable_mean(20, level, 0.9, within)
    assert p.mean_power(20, level, found, found if within else math.inf) == pytest.approx(0.9, abs=1e-9)


def test_fewer_seeds_than_a_verdict_needs_have_no_power():
    with pytest.raises(ValueError, match="seeds = 9"):
        p.mean_power(9, LEVEL, 1.0)


@pytest.mark.parametrize(("seeds", "comparisons"), [(10, 1), (20, 1), (20, 12)])
def test_the_power_of_the_sign_test_is_the_sum_over_all_outcomes(seeds, comparisons):
    level = p.one_sided_level(comparisons)
    found = p.detectable_share(seeds, level)
    total = sum(
        stats.binom.pmf(hits, seeds, found)
        for hits in range(seeds + 1)
        if s.sign_p_value(np.repeat([1.0, -1.0], [hits, seeds - hits]), 0, 0.0, "greater") <= level
    )
    assert total == pytest.approx(p.sign_power(seeds, level, found), abs=1e-12)
    assert total == pytest.approx(p.POWER, abs=1e-9)


def test_where_no_outcome_decides_nothing_is_found():
    level = p.one_sided_level(100)
    assert level < 0.5**10
    assert math.isnan(p.detectable_share(10, level))
    assert p.sign_power(10, level, 1.0) == 0.0
    assert math.isnan(p.detectable_bounded(10, level, 0.9))


@pytest.mark.parametrize("bound", [0.3, 0.7])
def test_the_power_of_gaffkes_test_is_that_of_zeros_and_ones(bound):
    seeds = 20
    found = p.detectable_bounded(seeds, LEVEL, bound)
    total = sum(
        stats.binom.pmf(hits, seeds, found)
        for hits in range(seeds + 1)
        if s.bounded_p_value(np.repeat([1.0, 0.0], [hits, seeds - hits]), (0.0, 1.0), bound, "greater") <= LEVEL
    )
    assert total == pytest.approx(p.bounded_power(seeds, LEVEL, bound, found), abs=1e-9)
    assert total >= p.POWER - 1e-9
    assert s.bounded_p_value(np.full(seeds, found), (0.0, 1.0), bound, "greater") <= LEVEL


def test_seeds_all_alike_may_need_the_larger_mean():
    """Of .83 twenty zeros and ones decide where all are 1, .83^20 = .024, which they are .8 of the time at .989."""
    found = p.detectable_bounded(20, LEVEL, 0.83)
    assert found > 0.8 ** (1 / 20)
    assert s.bounded_p_value(np.full(20, found + 1e-9), (0.0, 1.0), 0.83, "greater") <= LEVEL
    assert s.bounded_p_value(np.full(20, found - 1e-3), (0.0, 1.0), 0.83, "greater") > LEVEL


# ---- a study's criteria


@pytest.mark.parametrize("skewed", [False, True])
def test_the_scatter_of_a_cell_is_read_off_its_interval(skewed):
    drawn = np.random.default_rng(0).standard_normal(20)
    values = np.exp(drawn) if skewed else drawn
    rows = table(lambda arm, eps, seed: values[seed], "m", ("a",), seeds=20, thickness=(0.1,))
    (cell,) = compare(criterion(kind="value", at=(0.1,), above=0.0), rows, "a", "", range(20))
    assert scatter_of(cell, MEAN) == pytest.approx(values.std(ddof=1), rel=1e-9)
    rows = table(lambda arm, eps, seed: math.exp(values[seed]), "curvature_p95", ("a",), seeds=20, thickness=(0.1,))
    positive = criterion(kind="value", metric="curvature_p95", at=(0.1,), above=1.0)
    (cell,) = compare(positive, rows, "a", "", range(20))
    assert scatter_of(cell, GEOMETRIC) == pytest.approx(values.std(ddof=1), rel=1e-9)


@pytest.mark.parametrize("bounds", ["above = 0.1\nlaw = 0.3", "above = 0.1\nbelow = 0.5\nlaw = 0.3"])
def test_without_a_scatter_the_largest_that_will_do_is_told(tmp_path, bounds):
    (found,) = planned_power(asked(tmp_path, bounds), "quick")
    assert (found.effects, found.source, found.seeds) == ((0.3,), "law", 20)
    assert math.isnan(found.power)
    assert found.most_scatter == pytest.approx(0.2 / found.detectable, rel=1e-6)
    (stated,) = planned_power(asked(tmp_path, f"{bounds}\nscatter = {found.most_scatter}"), "quick")
    assert stated.power == pytest.approx(p.POWER, abs=1e-6)
    assert "stated" in stated.as_row()["power"]


def test_the_effect_that_is_stated_goes_before_the_law(tmp_path):
    bounds = "above = 0.1\nlaw = 0.3\nscatter = 0.1\nsmallest_effect = "
    near, far = (planned_power(asked(tmp_path, bounds + effect), "quick")[0] for effect in ("0.15", "0.25"))
    assert near.source == "smallest_effect"
    assert near.power < far.power
    # Beyond the bound, where the criterion would be refuted, as far is as far.
    (other,) = planned_power(asked(tmp_path, bounds + "-0.05"), "quick")
    assert other.power == pytest.approx(far.power, rel=1e-9)
    with pytest.raises(ValueError, match=r"criteria\.asked: smallest_effect = 0\.1 is not valid"):
        asked(tmp_path, bounds + "0.1")


def test_many_settings_and_comparisons_have_less_power(tmp_path):
    one, two = (planned_power(asked(tmp_path, "above = 0.1", at=at), "quick")[0] for at in ("0.1", "0.3, 0.1"))
    assert (one.settings, two.settings) == (1, 2)
    assert one.detectable == pytest.approx(p.detectable_mean(20, LEVEL))
    assert two.detectable == pytest.approx(p.detectable_mean(20, LEVEL, 0.9))


def test_two_settings_at_that_distance_are_decided_as_often_as_is_said(tmp_path):
    """Of independent settings .9^2 of the time, and .8 whatever ties them: 300 studies, by the rules of verdicts."""
    held = criterion(kind="value", at=(0.3, 0.1), above=0.0)
    (planned,) = planned_power(asked(tmp_path, "above = 0.0", at="0.3, 0.1"), "quick")
    rng, decided = np.random.default_rng(3), 0
    studies = 300
    for _ in range(studies):
        values = planned.detectable + rng.standard_normal((2, 20))
        drawn = dict(zip((0.3, 0.1), values, strict=True))
        rows = table(lambda arm, eps, seed, drawn=drawn: drawn[eps][seed], "m", ("a",), 20, (0.3, 0.1))
        decided += all(cell.p <= ALPHA for cell in compare(held, rows, "a", "", range(20)))
    se = math.sqrt(0.81 * 0.19 / studies)
    assert within_standard_errors(decided / studies, 0.81, se, slack=0.01)


def test_power_that_is_not_stated_leaves_results_their_names(tmp_path):
    plain = asked(tmp_path, "above = 0.1").criteria[0].model_dump(mode="json")
    assert not {"smallest_effect", "scatter"} & set(plain)
    stated = asked(tmp_path, "above = 0.1\nscatter = 0.5").criteria[0].model_dump(mode="json")
    assert stated == {**plain, "scatter": 0.5}


def test_plan_states_the_power_of_each_claim(tmp_path, plugin, monkeypatch):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    asked(tmp_path, "below = 0.5\nlaw = 0.0")
    path = str(tmp_path / "rings.toml")
    found = json.loads(CliRunner().invoke(app, ["plan", path, "--json"]).stdout)["power"]
    assert [each["criterion"] for each in found] == ["asked"]
    assert found[0]["power"] is None
    assert found[0]["most_scatter"] == pytest.approx(0.5 / p.detectable_mean(20, LEVEL))
    # A report of an earlier run says how seeds scatter.
    own = criterion(id="asked", kind="value", metric="likelihood_gap", arms=["plain"], at=(0.1,), below=0.5)
    rows = table(lambda arm, eps, seed: 0.1 * noise(seed), "likelihood_gap", ("plain",), 20, (0.1,))
    report = tmp_path / "reports" / "rings"
    report.mkdir(parents=True)
    verdicts = [verdict.as_dict() for verdict in judge(study(own), rows, range(20))]
    (report / "verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
    (report / "result.json").write_text(json.dumps({"scale": "quick"}), encoding="utf-8")
    known, source = published_scatters(load_study(path), "quick", tmp_path / "reports")
    assert known["asked"] == pytest.approx(np.std([0.1 * noise(seed) for seed in range(20)], ddof=1))
    assert source.endswith("rings at quick")
    shown = CliRunner().invoke(app, ["plan", path]).stdout
    assert "Power of primary criteria" in shown
    assert "1.00 at a scatter of" in shown


# ---- what an undecided verdict says


def test_an_undecided_mean_says_what_its_seeds_would_have_found():
    values = [0.5 * noise(seed, 1.0) for seed in range(20)]
    rows = table(lambda arm, eps, seed: values[seed], "m", ("a",), 20, (0.1,))
    part, claim = judge(study(criterion(kind="value", at=(0.1,), above=0.0)), rows, range(20))
    assert part.verdict == claim.verdict == "undecided"
    distance = p.detectable_mean(20, LEVEL) * np.std(values, ddof=1)
    assert f"20 seeds of this scatter find an effect {distance:.2g} from its bound with probability 0.8" in part.reason
    assert part.reason in claim.reason


def test_an_undecided_equivalence_says_how_often_it_would_be_found():
    values = [noise(seed, 2.0) for seed in range(20)]
    rows = table(lambda arm, eps, seed: values[seed], "m", ("a",), 20, (0.1,))
    part, _ = judge(study(criterion(kind="value", at=(0.1,), above=-0.4, below=0.4, law=0.1)), rows, range(20))
    scatter = float(np.std(values, ddof=1))
    middle = p.mean_power(20, LEVEL, 0.4 / scatter, 0.4 / scatter)
    law = p.mean_power(20, LEVEL, 0.3 / scatter, 0.5 / scatter)
    assert part.verdict == "undecided"
    expected = f"an effect in the middle of its bounds with probability {middle:.2g}, and 0.1 with {law:.2g}"
    assert expected in part.reason


def test_an_undecided_median_says_which_share_would_have_been_found():
    rows = table(lambda arm, eps, seed: float(seed % 2) - 0.5, "m", ("a",), 20, (0.1,))
    part, _ = judge(study(criterion(kind="value", at=(0.1,), above=0.0, statistic="median")), rows, range(20))
    share = p.detectable_share(20, LEVEL)
    assert f"{share:.2f} of all seeds beyond its bound with probability 0.8" in part.reason


def test_seeds_that_all_agree_have_no_scatter_to_tell_of():
    rows = table(lambda arm, eps, seed: 0.0, "m", ("a",), 20, (0.1,))
    part, _ = judge(study(criterion(kind="value", at=(0.1,), above=0.0)), rows, range(20))
    assert part.verdict == "undecided"
    assert "seeds of this scatter" not in part.reason
