"""Each regulariser against a hand value, each doing what it says, and none leaving a trace where its weight is 0."""

from __future__ import annotations

import pytest
import torch
from gaussian import Quadratic, gaussian
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.ebm import regularisers
from ebm_vs_prob.energies.evaluation import energy_and_gradient
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.energies.replicated import Replicated

METHOD = "denoising_score_matching"
CIRCLE = evp.get_task("circle", thickness=0.1)
BUDGET = evp.Budget(steps=150, batch_size=32, examples=200)


def fitted(**options) -> evp.Model:
    return evp.fit(METHOD, CIRCLE, seeds=[0, 1], budget=BUDGET, network=Network(hidden=(8, 8)), **options)


def spectral_norms(model: evp.Model) -> torch.Tensor:
    """(L, R), by singular value decomposition."""
    return torch.stack([torch.linalg.matrix_norm(weight, 2) for weight in model.module.trunk.weights])


def test_terms_by_hand():
    gradient = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    assert regularisers.gradient_penalty(gradient).tolist() == [0.5 * (25 + 1) / 2]
    data, other = torch.tensor([[1.0, -3.0]]), torch.tensor([[2.0, 0.0]])
    assert regularisers.energy_magnitude(data, other).tolist() == [(1 + 9) / 2 + 4 / 2]
    matrices = [torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]]]), torch.tensor([[[2.0]], [[3.0]]])]
    assert regularisers.weight_decay(matrices).tolist() == [0.5 * (1 + 4 + 4), 0.5 * (1 + 9)]
    assert regularisers.l1_penalty([-matrix for matrix in matrices]).tolist() == [1 + 2 + 2, 1 + 3]
    norms, bound = torch.tensor([[3.0, 1.0], [2.5, 0.5]]), torch.tensor([2.0, 0.0])
    assert regularisers.spectral_penalty(norms, bound).tolist() == [0.5 * (1 + 0.25), 0.5 * (1 + 0.25)]


def test_spectral_norms_are_those_of_the_decomposition_and_so_is_their_slope():
    matrices = [
        torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(k)).requires_grad_()
        for k, shape in enumerate([(4, 6), (6, 6), (6, 1)])
    ]
    estimate = regularisers.SpectralNorms(lambda: matrices, (0, 1, 2))
    for _ in range(300):
        norms = estimate()
    exact = torch.stack([torch.linalg.matrix_norm(matrix, 2) for matrix in matrices])
    torch.testing.assert_close(norms, exact, rtol=1e-8, atol=0)
    for own, expected in zip(
        torch.autograd.grad(norms.sum(), matrices), torch.autograd.grad(exact.sum(), matrices), strict=True
    ):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_spectral_norms_of_a_replicate_do_not_see_the_others():
    matrix = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    alone = regularisers.SpectralNorms(lambda: [matrix[1:]], (7,))()
    torch.testing.assert_close(regularisers.SpectralNorms(lambda: [matrix], (3, 7))()[:, 1:], alone)
    sick = torch.stack([torch.full((5, 5), float("nan")), matrix[1]])
    norms = regularisers.SpectralNorms(lambda: [sick], (3, 7))()
    assert norms[0, 0].isnan()
    torch.testing.assert_close(norms[:, 1:], alone)


def test_weights_are_the_matrices_and_not_the_biases():
    shapes = [tuple(w.shape) for w in regularisers.weight_matrices(MLPEnergy((0, 1), 1, 2, Network(hidden=(4, 5))))]
    assert shapes == [(2, 3, 4), (2, 4, 5), (2, 5, 1)]

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv1d(2, 3, 5)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        stack = Replicated([Convolution(), Convolution()])
    assert [tuple(w.shape) for w in regularisers.weight_matrices(stack)] == [(2, 3, 10)]


WEIGHTED = [
    {"gradient_penalty": 0.5},
    {"gradient_penalty": 0.5, "gradient_penalty_at": "uniform"},
    {"energy_magnitude": 0.5},
    {"weight_decay": 0.1},
    {"l1_penalty": 0.01},
    {"spectral_penalty": 1.0, "spectral_bound": 0.5},
]


@pytest.mark.parametrize("options", WEIGHTED, ids=str)
def test_a_weight_of_zero_leaves_training_as_it_was_bit_for_bit(options):
    """For a replicate beside one that is regularised, which it changes; with all at 0 the loss is the very same one."""
    (name, weight), *rest = options.items()
    plain, mixed = fitted(), fitted(**{name: [0.0, weight]}, **dict(rest))
    x, y = CIRCLE.sample(32, seed=3)
    assert torch.equal(plain.training.loss[0], mixed.training.loss[0])
    assert torch.equal(plain.energy(x, y)[0], mixed.energy(x, y)[0])
    assert not torch.allclose(plain.energy(x, y)[1], mixed.energy(x, y)[1])


def test_zero_weights_give_back_the_loss_and_the_noise():
    model, noise = fitted(), {}

    def loss(batch):
        raise AssertionError

    assert regularisers.regularised(model, loss, noise) == (loss, noise)


def test_terms_add_up_with_the_weights_of_each_replicate():
    """One step on the same minibatch: the first loss is the objective plus Σ weight · term of the initial energy."""
    budget = evp.Budget(steps=1, batch_size=32, examples=200)
    weights = {"weight_decay": [0.5, 2.0], "spectral_penalty": [1.0, 0.0]}

    def first(**options) -> tuple[torch.Tensor, list[torch.Tensor]]:
        network = Network(hidden=(8, 8))
        model = evp.fit(METHOD, CIRCLE, seeds=[0, 1], budget=budget, network=network, **options)
        start = MLPEnergy((0, 1), 0, 2, network)
        return model.training.loss[:, 0], list(start.trunk.weights)

    plain, start = first()
    added = first(**weights)[0] - plain
    decay = 0.5 * sum(w.square().sum((1, 2)) for w in start)
    spectral = 0.5 * sum(torch.linalg.matrix_norm(w, 2).square() for w in start)
    expected = torch.tensor([0.5, 2.0]) * decay + torch.tensor([1.0, 0.0]) * spectral
    torch.testing.assert_close(added, expected.detach(), rtol=1e-3, atol=1e-4)


def test_each_does_what_it_says():
    plain = fitted()
    y = CIRCLE.sample(200, seed=5)[1].float().expand(2, -1, -1)
    box = (torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(0)) * 4 - 2).expand(2, -1, -1)
    x = torch.zeros(2, 200, 0)

    def slope(model: evp.Model, points: torch.Tensor) -> torch.Tensor:
        return energy_and_gradient(model.module, x, points)[1].square().sum(-1).mean(-1)

    def square(model: evp.Model) -> torch.Tensor:
        return model.module(x, y).square().mean(-1) + model.module(x, box).square().mean(-1)

    def weights(model: evp.Model) -> torch.Tensor:
        return sum(w.square().sum((1, 2)) for w in model.module.trunk.weights)

    assert (slope(fitted(gradient_penalty=1.0), y) < 0.5 * slope(plain, y)).all()
    assert (slope(fitted(gradient_penalty=1.0, gradient_penalty_at="uniform"), box) < 0.5 * slope(plain, box)).all()
    assert (square(fitted(energy_magnitude=1.0)) < 0.5 * square(plain)).all()
    assert (weights(fitted(weight_decay=0.1)) < 0.5 * weights(plain)).all()

    def small(model: evp.Model) -> torch.Tensor:
        flat = torch.cat([w.flatten(1) for w in model.module.trunk.weights], 1)
        return (flat.abs() < 0.01).double().mean(1)

    assert (small(fitted(l1_penalty=0.1)) > small(plain) + 0.2).all()


def test_a_heavy_spectral_penalty_keeps_every_norm_below_its_bound():
    """5 % is what the loss's slope over the weight leaves."""
    bound = torch.tensor([1.2, 0.6])
    norms = spectral_norms(fitted(spectral_penalty=100.0, spectral_bound=bound.tolist(), learning_rate=0.01))
    assert (norms <= 1.05 * bound).all()
    assert (spectral_norms(fitted(learning_rate=0.01)).amax(0) > 1.2).all()


@pytest.mark.parametrize("options", WEIGHTED, ids=str)
def test_costs_are_counted_for_each_replicate(options):
    (name, weight), *rest = options.items()
    extra = {"gradient_penalty": 9, "energy_magnitude": 6}.get(name, 0)
    budget = evp.Budget(steps=2, batch_size=16, examples=50)
    model = evp.fit(METHOD, CIRCLE, seeds=[0, 1], budget=budget, **{name: [0.0, weight]}, **dict(rest))
    assert [cost.energy_evaluations for cost in model.cost] == [9 * 16 * 2, (9 + extra) * 16 * 2]


def test_replicates_of_unequal_cost_do_not_share_a_budget_of_multiply_adds():
    budget = evp.Budget(batch_size=16, examples=50, multiply_adds=1e7)
    with pytest.raises(ValueError, match="whose steps cost the same"):
        evp.fit(METHOD, CIRCLE, seeds=[0, 1], budget=budget, gradient_penalty=[0.0, 1.0])


def test_a_study_trains_arms_of_unequal_cost_apart(tmp_path):
    path = tmp_path / "two_arms.toml"
    path.write_text(
        """
schema = 1
name = "two_arms"
title = "Two arms"
claims = ["C11"]
[scales.quick]
seeds = 2
budget = { steps = 2, batch_size = 8, examples = 20 }
[[tasks]]
name = "circle"
along = { thickness = [0.1] }
[[arms]]
name = "plain"
method = "denoising_score_matching"
[[arms]]
name = "decayed"
method = "denoising_score_matching"
options = { weight_decay = 0.1 }
[[arms]]
name = "penalised"
method = "denoising_score_matching"
options = { gradient_penalty = 0.1 }
""",
        encoding="utf-8",
    )
    from ebm_vs_prob.study import plan_study

    assert sorted(len(batch.trials) for batch in plan_study(path, device="cpu").batches) == [2, 4]


@pytest.mark.parametrize("name", ["gradient_penalty", "energy_magnitude", "weight_decay", "spectral_penalty"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match=name):
        evp.fit(METHOD, CIRCLE, budget=evp.Budget(steps=1), **{name: -0.1})


@pytest.mark.parametrize("name", ["weight_decay", "spectral_penalty"])
def test_an_energy_without_matrices_refuses_a_penalty_on_them(name):
    with pytest.raises(ValueError, match=f"{name}.*no weight matrix"):
        evp.fit(METHOD, gaussian(2), energy=Quadratic, budget=evp.Budget(steps=1), **{name: 0.1})


@pytest.mark.slow
def test_compiled_training_is_the_eager_one():
    x, y = CIRCLE.sample(64, seed=9)
    options = {"gradient_penalty": 0.1, "energy_magnitude": 0.1, "weight_decay": 0.01, "spectral_penalty": 0.1}
    eager, compiled = (fitted(compile=flag, **options) for flag in (False, True))
    torch.testing.assert_close(eager.energy(x, y), compiled.energy(x, y), rtol=1e-3, atol=1e-4)


def test_a_method_that_would_add_no_regulariser_may_not_take_their_weights():
    class OwnOptions(regularisers.RegularisedOptions):
        pass

    with pytest.raises(ValueError, match=r"^Forgetful\.Options = 'OwnOptions' .* inherits RegularisedMethod$"):

        class Forgetful(evp.Method):
            Options = OwnOptions

    class Heeding(regularisers.RegularisedMethod):
        Options = OwnOptions

    assert Heeding.regulariser_evaluations(OwnOptions(gradient_penalty=1.0)) > 0
