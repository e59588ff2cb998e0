"""Operations that may be recorded and vectorised give what the usual ones do."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import one_hot

from ebm_vs_prob.core.tensors import indicators


@given(st.integers(1, 6), st.lists(st.integers(0, 5), max_size=12))
def test_indicators_are_torchs_and_look_at_no_value(count, values):
    symbols = torch.tensor([value % count for value in values], dtype=torch.int64).reshape(-1, 1)
    assert torch.equal(indicators(symbols, count).long(), one_hot(symbols, count))
    recorded = make_fx(lambda given: indicators(given, count))(torch.zeros_like(symbols))
    assert torch.equal(recorded(symbols), indicators(symbols, count))
