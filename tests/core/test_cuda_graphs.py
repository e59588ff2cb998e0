"""A program that is captured on a GPU is the program: what it gives, what it changes, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from ebm_vs_prob.core.cuda_graphs import CudaGraph

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA device")


def step(state: torch.Tensor, target: torch.Tensor, rate: torch.Tensor) -> list[torch.Tensor]:
    difference = state - target
    state.sub_(rate * difference)
    return [difference.square().sum(1), state.sum(1)]


@cuda
def test_replays_give_and_change_what_calls_do():
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(256, 32, generator=generator).cuda()
    own = state.clone()
    rate = torch.tensor(0.1, device="cuda")
    captured = CudaGraph(step, [own], [torch.zeros_like(state), rate])
    assert torch.equal(own, state), "capturing changes nothing"
    kept = []
    for number in range(5):
        target = torch.randn(256, 32, generator=generator).cuda()
        expected = step(state, target, rate * number)
        kept.append((captured(own, target, rate * number), expected))
    torch.testing.assert_close(own, state)
    for found, expected in kept:  # each call's outputs are its own
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rate", [torch.tensor(0.1)])
def test_a_tensor_that_is_not_on_the_device_is_named(rate):
    with pytest.raises(ValueError, match=r"tensors are on \['cpu'.*one CUDA device"):
        CudaGraph(step, [torch.zeros(2, 2)], [torch.zeros(2, 2), rate])
