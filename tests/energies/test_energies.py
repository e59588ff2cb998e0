"""Energies in replicates: shapes, broadcasting, gradients, counts."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ebm_vs_prob as evp
from ebm_vs_prob.energies import evaluation
from ebm_vs_prob.energies.evaluation import energy_and_gradient, energy_in_blocks, weight_norm
from ebm_vs_prob.energies.mlp import MLPEnergy, ReplicatedMLP
from ebm_vs_prob.energies.products import ROWS
from ebm_vs_prob.energies.replicated import Replicated


@pytest.fixture(params=["silu", "softplus", "tanh"])
def energy(request):
    return MLPEnergy([3, 4, 5], 2, 3, evp.Network(hidden=(7, 6, 5), activation=request.param)).double()


def points(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_gradient_in_closed_form_is_autograd(energy):
    x, y = points(3, 4, 1, 2), points(3, 4, 6, 3, seed=1).requires_grad_()
    value, gradient = energy.energy_and_gradient(x, y)
    torch.testing.assert_close(value, energy(x, y))
    (expected,) = torch.autograd.grad(energy(x, y).sum(), y)
    torch.testing.assert_close(gradient, expected)


def test_loss_on_the_gradient_has_the_same_parameter_gradient_as_double_backward(energy):
    x, y = points(3, 8, 2), points(3, 8, 3, seed=1).requires_grad_()
    parameters = list(energy.parameters())
    _, gradient = energy.energy_and_gradient(x, y)
    ours = torch.autograd.grad(gradient.square().sum(), parameters, allow_unused=True)
    (twice,) = torch.autograd.grad(energy(x, y).sum(), y, create_graph=True)
    theirs = torch.autograd.grad(twice.square().sum(), parameters, allow_unused=True)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_one_x_broadcasts_over_many_y(energy):
    x, y = points(3, 4, 1, 2), points(3, 4, 6, 3, seed=1)
    torch.testing.assert_close(energy(x, y), energy(x.expand(-1, -1, 6, -1), y))
    shared = energy(x[:1], y[:1])
    assert shared.shape == (3, 4, 6)
    torch.testing.assert_close(shared[1], energy(x[:1].expand(3, -1, -1, -1), y[:1].expand(3, -1, -1, -1))[1])


def test_width_zero_x_still_sets_the_shape():
    energy = MLPEnergy([0, 1], 0, 2, evp.Network())
    assert energy(torch.zeros(2, 5, 1, 0), torch.zeros(1, 1, 7, 2)).shape == (2, 5, 7)


def test_replicates_do_not_see_each_other(energy):
    x, y = points(3, 4, 2), points(3, 4, 3, seed=1)
    before = energy(x, y)
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter[1] = float("nan")
    after = energy(x, y)
    assert after[1].isnan().all()
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])


def test_initialisation_depends_on_the_seed_alone():
    alone = ReplicatedMLP([7], (2, 5, 1))
    company = ReplicatedMLP([3, 7], (2, 5, 1))
    for a, b in zip(alone.parameters(), company.parameters(), strict=True):
        assert torch.equal(a[0], b[1])
        assert not torch.equal(b[0], b[1])


def test_multiply_adds_are_those_torch_counts():
    energy = MLPEnergy([0, 1, 2], 2, 3, evp.Network(hidden=(16, 8)))
    with FlopCounterMode(display=False) as counter:
        energy(torch.zeros(3, 10, 2), torch.zeros(3, 10, 3))
    assert counter.get_total_flops() / 2 == 3 * 10 * energy.multiply_adds


class Well(nn.Module):
    """An energy as a user writes it."""

    def __init__(self, depth: float) -> None:
        super().__init__()
        self.depth = nn.Parameter(torch.tensor(depth, dtype=torch.float64))
        self.register_buffer("center", torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64))

    def forward(self, x, y):
        return self.depth * (y - self.center).square().sum(-1) + x.sum(-1)


def test_any_module_replicates():
    stack = Replicated([Well(1.0), Well(2.0)])
    x, y = points(2, 4, 1, 2), points(1, 1, 5, 3, seed=1)
    expected = torch.stack([well(x[r], y[0]) for r, well in enumerate((Well(1.0), Well(2.0)))])
    torch.testing.assert_close(stack(x, y), expected)
    value, gradient = energy_and_gradient(stack, x, y)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient[1, 0], 4.0 * (y[0, 0] - Well(2.0).center))


def test_an_energy_of_the_wrong_shape_is_named():
    class Wrong(Well):
        def forward(self, x, y):
            return super().forward(x, y).sum()

    with pytest.raises(ValueError, match="one number an example"):
        Replicated([Wrong(1.0)])(points(1, 4, 2), points(1, 4, 3))


def test_weight_norm_is_euclidean():
    stack = Replicated([Well(3.0), Well(-4.0)])
    assert weight_norm(stack).tolist() == [3.0, 4.0]


class Bowl(nn.Module):
    num_replicates = 2

    def forward(self, x, y):
        return (y.square().sum(-1) * torch.tensor([1.0, 2.0]).reshape(-1, *[1] * (y.ndim - 2))) + x.sum(-1)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_gradient_does_not_depend_on_the_autograd_mode(mode):
    y = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0))
    with mode():
        value, gradient = energy_and_gradient(Bowl(), torch.zeros(2, 7, 1), y)
    torch.testing.assert_close(value, torch.stack([y[0].square().sum(-1), 2 * y[0].square().sum(-1)]))
    torch.testing.assert_close(gradient, torch.stack([2 * y[0], 4 * y[0]]))


@pytest.mark.parametrize("shared_x", [True, False])
def test_energies_in_blocks_are_the_energies(shared_x, monkeypatch):
    monkeypatch.setitem(evaluation.BLOCK_POINTS, "cpu", 6 * ROWS)
    energy = MLPEnergy([0, 1], 1, 2, evp.Network(hidden=(4,)))
    generator = torch.Generator().manual_seed(1)
    points = 2 * ROWS + 11
    x = torch.randn(2, 3, 1 if shared_x else points, 1, generator=generator)
    y = torch.randn(1, 3, points, 2, generator=generator)
    calls = []
    energy.register_forward_hook(lambda module, given, value: calls.append(value.numel()))
    torch.testing.assert_close(energy_in_blocks(energy, x, y), energy(x, y).detach())
    assert max(calls[:-1]) <= 6 * ROWS < calls[-1]


@pytest.mark.parametrize("activation", ["silu", "softplus", "tanh"])
@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [((3, 5, 2), (3, 5, 4)), ((1, 5, 2), (3, 5, 4)), ((3, 5, 1, 2), (3, 5, 6, 4)), ((1, 1, 0), (3, 7, 4))],
)
def test_an_energy_given_x_is_the_energy_with_its_gradient(activation, x_shape, y_shape):
    energy = MLPEnergy(range(3), x_shape[-1], 4, evp.Network(hidden=(8, 5), activation=activation)).double()
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in (x_shape, y_shape))
    expected = energy.energy_and_gradient(x, y)
    for given, whole in zip(energy.given(x)(y), expected, strict=True):
        assert given.shape == whole.shape
        assert not given.requires_grad
        torch.testing.assert_close(given, whole, rtol=1e-12, atol=1e-13)
