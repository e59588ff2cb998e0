"""Element-wise functions whose numbers do not depend on where in a tensor an element lies, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ebm_vs_prob.core.tensors import angle, in_whole_vectors, power
from ebm_vs_prob.energies.activations import ACTIVATIONS, pull_back, sigmoid, with_derivative, with_derivatives

pytestmark = pytest.mark.portable

FUNCTIONS = {
    "sigmoid": lambda a, b, c: sigmoid(a),
    "power": lambda a, b, c: power(a.abs(), b),
    "angle": lambda a, b, c: angle(a, b),
    **{f"{name}": lambda a, b, c, name=name: ACTIVATIONS[name](a) for name in ACTIVATIONS},
    **{
        f"{name}, value and slope": lambda a, b, c, name=name: torch.cat(with_derivative(name, a))
        for name in ACTIVATIONS
    },
    **{f"{name}, bend": lambda a, b, c, name=name: with_derivatives(name, a)[2] for name in ACTIVATIONS},
    **{f"{name}, pulled back": lambda a, b, c, name=name: pull_back(name, b, a, c) for name in ACTIVATIONS},
    # What training leaves to torch as it is.
    "exp": lambda a, b, c: a.exp(),
    "log": lambda a, b, c: a.abs().log(),
    "logsigmoid": lambda a, b, c: nn.functional.logsigmoid(a),
    "addcmul": lambda a, b, c: torch.addcmul(a, b, c),
    "rsqrt": lambda a, b, c: a.abs().rsqrt(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_element_has_the_same_bits_wherever_it_lies(name, dtype):
    function = FUNCTIONS[name]
    generator = torch.Generator().manual_seed(0)
    given = [3 * torch.randn(331, generator=generator, dtype=dtype) for _ in range(3)]
    whole = function(*given).reshape(-1, 331)
    for length in range(1, 131):
        start = 7 * length % 97
        part = function(*[value[start : start + length].clone() for value in given]).reshape(-1, length)
        assert torch.equal(part, whole[:, start : start + length]), length
    strided = function(*[torch.stack([value, -value], 1)[:, 0] for value in given]).reshape(-1, 331)
    assert torch.equal(strided, whole)


def test_values_are_broadcast_and_gradients_go_through():
    base = torch.tensor([[2.0], [3.0]], dtype=torch.float64, requires_grad=True)
    exponent = torch.arange(5, dtype=torch.float64)
    assert torch.equal(power(base, exponent), base**exponent)
    (found,) = torch.autograd.grad(power(base, exponent).sum(), base)
    assert torch.allclose(found, (exponent * base ** (exponent - 1)).sum(1, keepdim=True))
    assert in_whole_vectors(torch.sin, torch.empty(3, 0)).shape == (3, 0)
