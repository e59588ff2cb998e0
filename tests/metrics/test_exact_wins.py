"""The exact model of a task wins every metric that the task has: against laws of another width, and knowing nothing.

What it is held to: no metric that is better low or high prefers a rival by more than chance, and of those that tell
where the truth is, the named ones prefer the truth by more than chance. Where several laws have the same best answers,
as those of other widths have, metrics of the answers tie.
"""

from __future__ import annotations

import math

import pytest
from statistical import standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation, describe

LOOK = Evaluation(test_examples=512, inputs=16, starts=2, samples=512, max_steps=60)
FEW = Evaluation(test_examples=32, inputs=2, starts=2, samples=32, max_steps=8, partitions=4)
#: Where a density is a quadrature over three latents.
FEWEST = Evaluation(test_examples=8, inputs=2, starts=1, samples=8, max_steps=2, partitions=2)
#: Where that is so only what densities and draws say is looked at: descent would ask for thousands of quadratures.
DENSITIES = ("likelihood_gap", "log_score", "gibbs_gap_unit_beta", "sample_distance_median", "tube_mass")
#: What a metric of each task that tells the truth from the others is, where it can be had of both.
VECTORS = ("likelihood_gap", "log_score", "stein_discrepancy_samples")
STRINGS = ("likelihood_gap", "log_score")
#: Of one law several can be right, so that these are no contest: how a step suits a valley is its width's doing (the
#: perfect density is not the one to descend on), an energy that is flat stops at once, and {F <= tau} of a flat energy
#: is all of the box, which covers everything: coverage counts beside precision, as recall does.
NO_CONTEST = ("descent_success_fixed", "descent_success_scaled", "descent_steps", "critical_step", "sublevel_coverage")


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


TASKS = [
    slow("manifold", {"shape": "torus"}, (0.05, 0.15), VECTORS, LOOK),
    slow("manifold", {"shape": "sphere", "manifold_dim": 1, "ambient_dim": 2}, (0.05, 0.15), VECTORS, LOOK),
    ("discontinuous", {}, (0.05, 0.15), VECTORS, LOOK),
    slow("discontinuous", {"shape": "circle"}, (0.05, 0.15), VECTORS, LOOK),
    slow("particle", {}, (0.02, 0.06), VECTORS, LOOK),
    slow("super_resolution", {}, (0.02, 0.06), ("likelihood_gap", "log_score"), FEWEST),
    slow("video", {}, (0.02, 0.06), ("likelihood_gap", "log_score"), FEW),
    ("hard_strings", {"length": 6}, None, STRINGS, LOOK),
    ("fusion", {}, None, STRINGS, LOOK),
]


def measured(model, task, look):
    table = evp.evaluate(model, task, look, only=DENSITIES if look is FEWEST else None).set_index("metric")
    return {name: (row["value"], row["error"]) for name, row in table.iterrows() if math.isfinite(row["value"])}


@pytest.mark.parametrize(("name", "options", "widths", "decisive", "look"), TASKS)
def test_the_exact_model_wins(name, options, widths, decisive, look):
    if widths is None:  # a law of symbols: another chance of errors in its stead
        truth, other = evp.get_task(name, **options), evp.get_task(name, **{**options, "thickness": 0.4})
    else:
        truth, other = (evp.get_task(name, thickness=width, **options) for width in widths)
    exact = measured(evp.fit("exact", truth), truth, look)
    rivals = {"other": measured(evp.fit("exact", other), truth, look)}
    if widths is not None:
        rivals["constant"] = measured(evp.fit("exact", truth, potential="constant"), truth, look)
    contests = [metric for metric in exact if describe(metric).better in ("lower", "higher")]
    contests = [metric for metric in contests if not metric.startswith(NO_CONTEST)]
    assert len(contests) >= len(decisive) + 1
    reach = standard_errors(len(contests) * len(rivals))
    for rival, theirs in rivals.items():
        for metric in contests:
            if metric not in theirs:
                continue
            sign = 1.0 if describe(metric).better == "higher" else -1.0
            (ours, error), (other_value, other_error) = exact[metric], theirs[metric]
            chance = reach * math.hypot(*(0.0 if math.isnan(e) else e for e in (error, other_error)))
            assert sign * (ours - other_value) >= -chance - 1e-9, (rival, metric, ours, other_value)
    for metric in decisive:
        sign = 1.0 if describe(metric).better == "higher" else -1.0
        assert sign * (exact[metric][0] - rivals["other"][metric][0]) > 0, metric
    # Metrics of which the truth's own value is the best: its own is what they are there.
    assert exact["likelihood_gap"][0] == pytest.approx(0.0, abs=1e-9)
    if "tube_mass" in exact and "tube_mass" in rivals["constant"]:
        own, wrong = (abs(found["tube_mass"][0] - 0.99) for found in (exact, rivals["constant"]))
        assert own < wrong
    for metric in ("sample_distance_median_in_thickness", "sample_distance_p95_in_thickness"):
        if metric in exact:
            assert all(exact[metric][0] < theirs[metric][0] for theirs in rivals.values()), metric


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("hard_strings", "exact", {"length": 4}),
        ("translation", "exact", {"length": 5}),
        pytest.param("segmentation", "connectionist_temporal", {"length": 2}, marks=pytest.mark.slow),
    ],
)
def test_what_has_no_other_temperature_is_measured_at_its_own(name, method, options):
    task = evp.get_task(name, **options)
    budget = evp.Budget(steps=10, batch_size=16, examples=64)
    asked = ("gibbs_gap", "gibbs_gap_unit_beta", "likelihood_gap")
    table = evp.evaluate(evp.fit(method, task, budget=budget), task, Evaluation(test_examples=16), only=asked)
    found = table.set_index("metric")["value"]
    assert found["gibbs_gap_unit_beta"] == found["likelihood_gap"]
    assert math.isnan(found["gibbs_gap"])
    assert "read it at beta = 1" in table.attrs["notes"]["gibbs_gap"]
