"""Products of whole rows: a row's numbers depend neither on the rows beside it nor on other replicates."""

from __future__ import annotations

import pytest
import torch

from ebm_vs_prob.energies.mlp import MLPEnergy, Network, ReplicatedMLP
from ebm_vs_prob.energies.products import ROWS, affine, batched_matmul, row_matmul, whole_rows, without_padding

pytestmark = pytest.mark.portable

COUNTS = (1, 2, 5, 16, 17, 63, 64, 65, 200, 1000)
WIDTHS = (1, 2, 3, 5, 7, 16, 32, 33)
DTYPES = (torch.float32, torch.float64)


def operands(inputs, outputs, dtype, replicates=4):
    draw = torch.Generator().manual_seed(100 * inputs + outputs)
    numbers = [(replicates, max(COUNTS), inputs), (replicates, inputs, outputs), (replicates, 1, outputs)]
    return [torch.randn(shape, generator=draw, dtype=dtype) for shape in numbers]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_row_of_a_product_is_the_same_in_any_company(dtype, transposed):
    for inputs in WIDTHS:
        for outputs in WIDTHS:
            value, weight, _ = operands(inputs, outputs, dtype)
            if transposed:
                weight = weight.mT.contiguous().mT
            whole = row_matmul(value, weight)
            for rows in COUNTS:
                assert torch.equal(row_matmul(value[:, :rows], weight), whole[:, :rows]), (inputs, outputs, rows)
                assert torch.equal(row_matmul(value[:, -rows:], weight), whole[:, -rows:]), (inputs, outputs, rows)
            for replicates in (1, 2, 3):
                alone = row_matmul(value[:replicates], weight[:replicates])
                assert torch.equal(alone, whole[:replicates]), (inputs, outputs, replicates)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_affine_map_of_whole_rows_likewise(dtype):
    for inputs in WIDTHS:
        for outputs in WIDTHS:
            value, weight, bias = operands(inputs, outputs, dtype)

            def mapped(rows, replicates, value=value, weight=weight, bias=bias):
                padded = whole_rows(value[:replicates, :rows], weight[0].numel())
                found = affine(bias[:replicates], padded, weight[:replicates])
                return without_padding(found, torch.Size([rows]))

            whole = mapped(max(COUNTS), 4)
            for rows in COUNTS:
                assert torch.equal(mapped(rows, 4), whole[:, :rows]), (inputs, outputs, rows)
            for replicates in (1, 2, 3):
                assert torch.equal(mapped(17, replicates), whole[:replicates, :17]), (inputs, outputs, replicates)


def test_padding_changes_a_product_by_rounding_alone():
    for inputs in WIDTHS:
        value, weight, _ = operands(inputs, 5, torch.float64)
        found, plain = row_matmul(value[:, :17], weight), batched_matmul(value[:, :17], weight)
        # A sum of n products has a relative error of n eps at most, of the sum of their absolute values.
        reach = inputs * torch.finfo(torch.float64).eps * (value[:, :17].abs() @ weight.abs())
        assert ((found - plain).abs() <= 2 * reach).all()
        assert whole_rows(value[:, :17], 10**6).shape[1] == ROWS
        assert torch.equal(without_padding(whole_rows(value[:, :17], 10**6), torch.Size([17])), value[:, :17])


@pytest.mark.parametrize("x_dim", [0, 1, 3])
@pytest.mark.parametrize("y_dim", [1, 2])
@pytest.mark.parametrize("activation", ["silu", "softplus", "tanh"])
@pytest.mark.parametrize("hidden", [(7, 5), (32, 32), (1,)])
def test_a_trained_energy_is_the_same_in_any_company(x_dim, y_dim, activation, hidden):
    network = Network(hidden=hidden, activation=activation)
    energy, alone = (MLPEnergy(seeds, x_dim, y_dim, network).eval() for seeds in ([1, 2], [2]))
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 90, 1, x_dim, generator=draw), torch.randn(1, 90, 3, y_dim, generator=draw)

    def found(of, rows=90):
        own = x[:, :rows], y[:, :rows]
        moved = own[1].clone().requires_grad_()
        pulled = torch.autograd.grad(of(own[0], moved.expand(of.num_replicates, -1, -1, -1)).sum(), moved)
        with torch.no_grad():
            values = [of(*own), *of.energy_and_gradient(*own), *of.given(own[0])(own[1])]
        return values, pulled

    (whole, _), (lone, pulled) = found(energy), found(alone)
    for value, of_all in zip(lone, whole, strict=True):
        assert torch.equal(value[0], of_all[1])
    # Autograd takes the same derivative by other operations, some twenty roundings of numbers below one.
    assert torch.allclose(lone[2], pulled[0], rtol=0, atol=20 * torch.finfo(torch.float32).eps)
    for rows in (1, 2, 13, 64):
        for part, of_all in zip(found(energy, rows)[0], whole, strict=True):
            assert torch.equal(part, of_all[:, :rows])
    assert torch.allclose(whole[0], energy.train()(x, y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inputs", [1, 3])
def test_the_gradient_through_a_product_is_the_same_alone(inputs):
    value, weight, _ = operands(inputs, 5, torch.float32)

    def gradient(replicates):
        moved = value[:replicates, :17].clone().requires_grad_()
        return torch.autograd.grad(row_matmul(moved, weight[:replicates]).square().sum(), moved)[0]

    assert torch.equal(gradient(1), gradient(4)[:1])


def test_gradients_in_y_and_weights_pass_through_the_padding():
    network = ReplicatedMLP([1, 2], (3, 7, 1)).double()
    u = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    of = [u, *network.parameters()]
    for mode in (True, False):
        gradients = torch.autograd.grad(network.train(mode)(u).square().sum(), of)
        if mode:
            expected = gradients
    for found, wanted in zip(gradients, expected, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)
