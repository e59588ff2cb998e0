"""Operations that may be recorded and vectorised give what the usual ones do."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import one_hot

from ebm_vs_prob.core.tensors import indicators, looked_up


@given(st.integers(1, 6), st.lists(st.integers(0, 5), max_size=12))
def test_indicators_are_torchs_and_look_at_no_value(count, values):
    symbols = torch.tensor([value % count for value in values], dtype=torch.int64).reshape(-1, 1)
    assert torch.equal(indicators(symbols, count).long(), one_hot(symbols, count))
    recorded = make_fx(lambda given: indicators(given, count))(torch.zeros_like(symbols))
    assert torch.equal(recorded(symbols), indicators(symbols, count))


@given(st.data())
def test_what_is_looked_up_is_what_a_repeated_table_holds(data):
    """Values and gradient, whichever dimensions the table lacks and whichever the places do."""
    whole = data.draw(st.lists(st.integers(0, 3), max_size=4))

    def broadcast_to_it() -> list[int]:
        return [size if data.draw(st.booleans()) else 1 for size in whole[data.draw(st.integers(0, len(whole))) :]]

    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    table = torch.randn(*broadcast_to_it(), 3, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.randint(3, broadcast_to_it(), generator=generator)
    shape = torch.broadcast_shapes(table.shape[:-1], index.shape)
    expected = table.expand(*shape, 3).gather(-1, index.expand(shape).unsqueeze(-1)).squeeze(-1)
    found = looked_up(table, index)
    assert torch.equal(found, expected)
    if shape.numel():
        weight = torch.randn(shape, generator=generator, dtype=torch.float64)
        slopes = [torch.autograd.grad((weight * value).sum(), table)[0] for value in (found, expected)]
        torch.testing.assert_close(*slopes)
