"""A number with its error: it is a float, keeps the error in sums and multiples, and says no where none can be kept."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.approximate import error_of


def test_it_is_a_float():
    value = evp.Approximate(1.5, 1e-3)
    assert isinstance(value, float)
    assert value == 1.5
    assert f"{value:.2f}" == "1.50"
    assert math.exp(value) == math.exp(1.5)
    assert torch.equal(torch.zeros(2) - value, torch.full((2,), -1.5))
    assert np.array([value, value]).sum() == 3.0


def test_sums_and_multiples_keep_the_error():
    value, other = evp.Approximate(1.5, 1e-3), evp.Approximate(2.0, 2e-3)
    for found, expected, error in (
        (value + 1.0, 2.5, 1e-3),
        (1.0 + value, 2.5, 1e-3),
        (value + other, 3.5, 3e-3),
        (sum([value, other], evp.Approximate(0.0)), 3.5, 3e-3),
        (-2.0 * value, -3.0, 2e-3),
        (value * -2.0, -3.0, 2e-3),
    ):
        assert (type(found), float(found)) == (evp.Approximate, expected)
        assert found.error == pytest.approx(error)
    assert (value * other).error == pytest.approx(1.501 * 2.002 - 1.5 * 2.0)
    assert type(value / 2.0) is float
    assert error_of(3.0) == 0.0


@pytest.mark.parametrize("error", [-1e-9, math.nan])
def test_an_error_is_no_less_than_0(error):
    with pytest.raises(ValueError, match=r"error = .* is not valid: expected a number >= 0"):
        evp.Approximate(1.0, error)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_has_the_error(copied):
    found = copied(evp.Approximate(1.5, 1e-3))
    assert (found, found.error) == (1.5, 1e-3)
