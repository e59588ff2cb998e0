"""Noise of replicates: each replicate's numbers depend on its own stream alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statistical import level

from ebm_vs_prob.core.replicate_noise import ReplicateStreams, replicate_generators, replicate_noise

KINDS = ["normal", "uniform"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_company_order_and_place_of_the_axis_change_no_number(kind, dim):
    def draw(seeds, **options):
        return replicate_noise(replicate_generators(seeds, "a", 1), (3, 5), kind, **options)

    company = draw([4, 5, 6], dtype=torch.float64, dim=dim)
    for place, own in enumerate([4, 5, 6]):
        assert torch.equal(company.select(dim, place), draw([own], dtype=torch.float64)[0])
    assert torch.equal(company.flip(dim), draw([6, 5, 4], dtype=torch.float64, dim=dim))
    assert company.dtype == torch.float64
    assert draw([4]).dtype == torch.float32


def test_names_and_seeds_have_streams_of_their_own():
    own = [replicate_generators((1,), "a"), replicate_generators((2,), "a"), replicate_generators((1,), "b")]
    named = [(0, "a", 1), (2, "a", 1), (0, "b", 1), (0, "a", 2)]
    streams = [ReplicateStreams(seed, axis, seeds=(replicate,)) for seed, axis, replicate in named]
    first = {float(replicate_noise(source, (1,))) for source in [*own, *streams]}
    assert len(first) == len(own) + len(streams)


@pytest.mark.portable
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(rows=st.integers(1, 40), more=st.integers(0, 40), tail=st.lists(st.integers(1, 5), max_size=2))
def test_more_rows_change_no_number_of_the_first_nor_of_arrays_that_follow(kind, dtype, rows, more, tail):
    few, many = (ReplicateStreams(3, "a", seeds=(1, 2)) for _ in range(2))
    for _ in range(3):
        short = replicate_noise(few, (rows, *tail), kind, dtype=dtype)
        long = replicate_noise(many, (rows + more, *tail), kind, dtype=dtype)
        assert torch.equal(short, long[:, :rows])


def test_arrays_of_one_stream_differ():
    streams = ReplicateStreams(3, "a", seeds=(1, 2))
    assert len(streams) == 2
    assert not torch.equal(replicate_noise(streams, (4,)), replicate_noise(streams, (4,)))


@pytest.mark.parametrize("count", [1, 15, 17, 5_000])
def test_normals_are_normal_however_many(count):
    # Kolmogorov's test of 5,000 numbers finds a shift or a scale that is off by a tenth; false alarms as `FALSE_ALARM`.
    streams = ReplicateStreams(3, "a", seeds=range(5_000 // count))
    drawn = replicate_noise(streams, (count,), dtype=torch.float64).flatten()
    assert stats.kstest(drawn.numpy(), "norm").pvalue > level()


def test_a_generator_goes_on_where_it_stopped():
    generators = replicate_generators([1, 2], "a")
    assert not torch.equal(replicate_noise(generators, (4,)), replicate_noise(generators, (4,)))


def test_another_kind_is_refused():
    with pytest.raises(LookupError, match="normal"):
        replicate_noise(replicate_generators([1]), (2,), "cauchy")
