"""The KL of branch weights where the model's weights are known, its standard error, and the exact model's value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hand_made import HandMade
from scipy import stats
from statistical import level, within_standard_errors
from test_gibbs_gap import HandMadeEnergy

import ebm_vs_prob as evp
from ebm_vs_prob.metrics.branches import branch_kl, branch_kl_density
from ebm_vs_prob.metrics.observation import Observation
from ebm_vs_prob.metrics.options import Evaluation
from ebm_vs_prob.tasks.three_curves import WEIGHTS, curves

LOOK = Evaluation(test_examples=64, inputs=8, starts=2, samples=512, max_steps=3)
TRUTH = np.array(WEIGHTS)  # of both tasks


def modes(thickness=0.1, **options):
    return evp.get_task("three_modes", thickness=thickness, **options)


def divergence(p, q):
    return float(np.asarray(p) @ np.log(np.asarray(p) / np.asarray(q)))


def at_the_modes(*counts):
    """Samples that lie on the modes, so many on each."""
    places = modes(0.0).reference.answers(torch.empty(1, 0))[0]
    return lambda x, num_samples, r: places.repeat_interleave(torch.tensor(counts), 0).expand(len(x), -1, -1)


def mixture_energy(task, weights):
    """-ln of the task's density with other weights of its branches, for any x, up to 3 nats."""

    def energy(x, y, r):
        x = x.double()
        places = curves(x).unsqueeze(-1) if x.shape[-1] else modes(0.0).reference.answers(torch.empty(1, 0))[0]
        square = (y.unsqueeze(-2) - places).square().sum(-1) / task.thickness**2
        return 3.0 - torch.logsumexp(torch.tensor(weights, dtype=torch.float64).log() - 0.5 * square, -1)

    return energy


def nothing(x, y, r):
    return y.square().sum(-1)


def test_of_samples_whose_branches_are_counted():
    model = HandMade([modes(0.0)], nothing, sample=at_the_modes(100, 300, 112))
    found = branch_kl(Observation(model, (modes(0.0),), LOOK))["branch_kl"]
    shares = (np.array([100, 300, 112]) + 0.5) / 513.5
    assert found.value[0] == pytest.approx(divergence(TRUTH, shares), rel=1e-12)
    assert found.n[0] == 512


def test_an_empty_branch_costs_what_is_stated():
    model = HandMade([modes(0.0)], nothing, sample=at_the_modes(320, 192, 0))
    found = branch_kl(Observation(model, (modes(0.0),), LOOK))["branch_kl"]
    empty = 0.2 * math.log(0.2 * (2 * 512 + 3))
    assert found.value[0] == pytest.approx(empty + divergence([0.5, 0.3], [320.5 / 513.5, 192.5 / 513.5]), rel=1e-12)


def test_samples_that_are_not_finite_give_no_value():
    model = HandMade([modes()], nothing, sample=lambda x, n, r: torch.full((len(x), n, 2), math.nan))
    found = branch_kl(Observation(model, (modes(),), LOOK))["branch_kl"]
    assert math.isnan(found.value[0])
    assert found.n[0] == 0
    assert "not finite" in found.note


@pytest.mark.parametrize(
    ("shares", "most"), [(WEIGHTS, 1.5), ((0.2, 0.2, 0.6), 1.15), ((0.6, 0.399, 0.001), 2.5)], ids=str
)
def test_the_standard_error_is_the_scatter_of_the_value(shares, most):
    """Of 200 sets of samples; right weights are the case in which the first order vanishes."""
    counts = np.random.default_rng(0).multinomial(512, shares, 200)
    values, errors = [], []
    for each in counts:
        model = HandMade([modes(0.0)], nothing, sample=at_the_modes(*each))
        found = branch_kl(Observation(model, (modes(0.0),), LOOK))["branch_kl"]
        values.append(found.value[0])
        errors.append(found.error[0])
    # A standard deviation of 200 values is known to 5 %, or to three times that where they are skewed.
    assert 0.85 < np.sqrt(np.square(errors).mean()) / np.std(values) < most
    # Each count has a binomial law, from which the mean follows.
    count = np.arange(513)
    logarithm = [stats.binom(512, share).pmf(count) @ np.log((count + 0.5) / 513.5) for share in shares]
    expected = float(TRUTH @ (np.log(TRUTH) - logarithm))
    assert within_standard_errors(np.mean(values), expected, np.std(values) / len(values) ** 0.5, comparisons=3)


class Unsampled(HandMade):
    """A hand-made density that is not drawn from: its partition functions are those of quadrature."""

    sampling_kernel = "quadrature"


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("weights", [WEIGHTS, (0.1, 0.1, 0.8)])
@pytest.mark.parametrize("task", [modes(), evp.get_task("three_curves", thickness=0.05)], ids=lambda task: task.name)
def test_of_densities_of_known_weights(task, weights, normalised):
    """The energy is twice -ln q where beta is a half: what counts is the density at the model's own beta. A density is
    its own at beta = 1."""
    energy = mixture_energy(task, weights)
    if normalised:
        model = Unsampled([task], energy, log_prob=lambda x, y, r: -energy(x, y, r))
    else:
        model = HandMadeEnergy([task], lambda x, y, r: 2.0 * energy(x, y, r), [0.5])
    measured = branch_kl_density(Observation(model, (task,), LOOK))
    found = measured["branch_kl_density_unit_beta" if normalised else "branch_kl_density"]
    # The quadrature's own tolerance is 1e-4 of Z at the sharper beta; no two branches are less than 5 deviations from
    # their middle.
    assert found.value[0] == pytest.approx(divergence(TRUTH, weights), abs=5e-4)
    assert found.n[0] == (8 if task.x_space.dim else 1)
    if task.x_space.dim:
        assert found.error[0] < 1e-4


def test_a_density_without_a_branch_is_finite():
    task = modes()
    energy = mixture_energy(task, (0.625, 0.375, 0.0))
    found = branch_kl_density(Observation(HandMadeEnergy([task], energy, [1.0]), (task,), LOOK))["branch_kl_density"]
    assert found.value[0] == pytest.approx(divergence([0.5, 0.3, 0.2], [0.625, 0.375, 1e-12]), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("three_curves", {"thickness": 0.3}),
        ("three_curves", {"thickness": 0.03}),
        ("three_modes", {"thickness": 0.4}),
        ("three_modes", {"thickness": 0.05, "bridge": 0.2}),
        ("three_modes", {"thickness": 0.3, "shape": "circles", "bridge": 0.2}),
    ],
)
def test_the_exact_model_wins(name, options):
    """Its weights are the truth's at any thickness, because these include what noise carries to other branches."""
    task = evp.get_task(name, **options)
    observed = Observation(evp.fit("exact", task), (task,), LOOK)
    # Cells of the quadrature that a middle between branches cuts are counted with the one or the other.
    measured = branch_kl_density(observed)
    assert abs(measured["branch_kl_density_unit_beta"].value[0]) < 2e-4
    assert abs(measured["branch_kl_density"].value[0]) < 5e-3  # at a beta that 64 or more pairs tell to √(2 / 64)
    found = branch_kl(observed)["branch_kl"]
    # Twice n times the divergence of n samples of the truth has a chi-square law of K - 1 degrees of freedom.
    assert found.value[0] < stats.chi2(2).isf(level(5)) / (2 * found.n[0])
    model = HandMade([task], nothing, sample=lambda x, n, r: torch.zeros(len(x), n, task.y_space.dim))
    wrong = branch_kl(Observation(model, (task,), LOOK))["branch_kl"]
    assert wrong.value[0] > found.value[0] + 0.5


def test_replicates_have_the_weights_of_their_own_tasks():
    tasks = (modes(0.05), modes(0.3))
    found = branch_kl_density(Observation(evp.fit("exact", tasks, seeds=[0, 1]), tasks, LOOK))
    assert (np.abs(found["branch_kl_density_unit_beta"].value) < 2e-4).all()


def test_answers_without_branches_say_so():
    table = evp.evaluate(evp.fit("exact", evp.get_task("circle")), evp.get_task("circle"), LOOK)
    for metric in ("branch_kl", "branch_kl_density", "branch_kl_density_unit_beta"):
        assert table.set_index("metric").loc[metric, "n"] == 0
        assert table.attrs["notes"][metric] == "circle: its answers have no branches"


def test_a_regression_stands_for_no_density():
    task = evp.get_task("three_curves")
    model = evp.fit("mean_squared_error", task, budget=evp.Budget(steps=2, batch_size=8, examples=16))
    with pytest.raises(ValueError, match="mean_squared_error stands for no density"):
        branch_kl_density(Observation(model, (task,), LOOK))
