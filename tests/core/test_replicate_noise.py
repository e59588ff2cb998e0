"""Noise of replicates: each replicate's numbers depend on its own stream alone."""

from __future__ import annotations

import pytest
import torch

from ebm_vs_prob.core.replicate_noise import replicate_generators, replicate_noise


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_company_order_and_place_of_the_axis_change_no_number(kind, seed, dim):
    def draw(seeds, **options):
        return replicate_noise(replicate_generators(seeds, "a", 1, seed=seed), (3, 5), kind, **options)

    company = draw([4, 5, 6], dtype=torch.float64, dim=dim)
    for place, own in enumerate([4, 5, 6]):
        assert torch.equal(company.select(dim, place), draw([own], dtype=torch.float64)[0])
    assert torch.equal(company.flip(dim), draw([6, 5, 4], dtype=torch.float64, dim=dim))
    assert company.dtype == torch.float64
    assert draw([4]).dtype == torch.float32


def test_names_seeds_and_evaluations_have_streams_of_their_own():
    named = [((1,), "a", None), ((2,), "a", None), ((1,), "b", None), ((1,), "a", 0), ((1,), "a", 2)]
    first = {float(replicate_noise(replicate_generators(s, axis, seed=seed), (1,))) for s, axis, seed in named}
    assert len(first) == len(named)


def test_a_generator_goes_on_where_it_stopped():
    generators = replicate_generators([1, 2], "a")
    assert not torch.equal(replicate_noise(generators, (4,)), replicate_noise(generators, (4,)))


def test_another_kind_is_refused():
    with pytest.raises(LookupError, match="normal"):
        replicate_noise(replicate_generators([1]), (2,), "cauchy")
