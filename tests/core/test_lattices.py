"""Lattices of segments against enumeration of all strings and segmentations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import counts_agree

from ebm_vs_prob.core.free_energies import free_energy
from ebm_vs_prob.core.lattices import SegmentLattice
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.core.tilings import Tiling


def tilings(cells, length, widths, shortest):
    """All (starts, widths' indices) of segments that tile the cells."""
    for chosen in itertools.product(range(widths), repeat=length):
        ends = np.cumsum([shortest + width for width in chosen])
        if ends[-1] == cells:
            yield [0, *ends[:-1].tolist()], chosen


def random_lattice(seed, *, cells, length, widths=2, shortest=1, count=2, variants=1, coupled=False, placed=False,
                   forbidden=0.0, batch=(), beta=math.inf):  # fmt: skip
    rng = np.random.default_rng(seed)

    def energies(*shape):
        drawn = rng.normal(size=shape)
        drawn[rng.random(shape) < forbidden] = np.inf
        return torch.from_numpy(drawn)

    states = count * widths * variants
    return SegmentLattice(
        energies(*batch, cells, count, widths, variants),
        length,
        shortest,
        beta,
        energies(*batch, length, count) if placed else None,
        energies(states, states) if coupled else None,
    )


def joint(lattice, y):
    """The energy of every z of one string of a lattice without a batch, segment by segment."""
    widths, variants = lattice.scores.shape[-2:]
    found = []
    for starts, chosen in tilings(len(lattice.scores), lattice.length, widths, lattice.shortest):
        for of_each in itertools.product(range(variants), repeat=lattice.length):
            total, before = 0.0, None
            for i, (start, width, variant) in enumerate(zip(starts, chosen, of_each, strict=True)):
                total += float(lattice.scores[start, y[i], width, variant])
                if lattice.places is not None:
                    total += float(lattice.places[i, y[i]])
                state = (int(y[i]) * widths + width) * variants + variant
                if lattice.coupling is not None and before is not None:
                    total += float(lattice.coupling[before, state])
                before = state
            found.append(total)
    return torch.tensor(found, dtype=torch.float64)


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))


@st.composite
def lattices(draw):
    length, widths, shortest, count, variants = draw(SHAPES)
    cells = draw(st.integers(length * shortest, length * (shortest + widths - 1)))
    return random_lattice(
        draw(st.integers(0, 10**6)), cells=cells, length=length, widths=widths, shortest=shortest, count=count,
        variants=variants, coupled=draw(st.booleans()), placed=draw(st.booleans()),
        forbidden=draw(st.sampled_from([0.0, 0.2])),
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(lattices(), st.sampled_from([0.0, 1e-6, 0.3, 1.0, 30.0, math.inf]))
def test_energies_minima_and_free_energies_are_those_of_all_strings_and_segmentations(lattice, beta):
    lattice = lattice.at(beta)
    every = Sequences(lattice.num_values, lattice.length).every_answer()
    table = torch.stack([joint(lattice, y) for y in every])
    assert lattice.log_segmentations == pytest.approx(math.log(table.shape[1]))
    expected = free_energy(table, beta, -1)
    found = lattice.energy(every)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(lattice.free_energy(beta), free_energy(table.flatten(), beta, -1), rtol=1e-9, atol=1e-9)
    best, least, proven = lattice.most_probable()
    assert bool(proven)
    assert float(least) == pytest.approx(float(expected.min()), rel=1e-9, abs=1e-9)
    if math.isfinite(float(least)):
        assert float(lattice.energy(best)) == pytest.approx(float(least), rel=1e-9, abs=1e-9)
    other = 0.7
    torch.testing.assert_close(lattice.free_energy(other), free_energy(found, other, -1))


@settings(deadline=None, max_examples=20)
@given(lattices())
def test_the_best_segmentation_has_the_least_energy(lattice):
    y = lattice.min_sum()[0]
    starts, widths, variants = lattice.segments(y)
    each = joint(lattice, y)
    if not math.isfinite(float(each.min())):
        return
    total, before = 0.0, None
    for i in range(lattice.length):
        start, width, variant = (int(part[i]) for part in (starts, widths, variants))
        total += float(lattice.scores[start, y[i], width, variant])
        total += 0.0 if lattice.places is None else float(lattice.places[i, y[i]])
        state = (int(y[i]) * lattice.scores.shape[-2] + width) * lattice.scores.shape[-1] + variant
        total += 0.0 if lattice.coupling is None or before is None else float(lattice.coupling[before, state])
        before = state
    assert total == pytest.approx(float(each.min()), abs=1e-9)
    assert int(starts[-1]) + lattice.shortest + int(widths[-1]) == len(lattice.scores)


@pytest.mark.parametrize("coupled", [False, True])
def test_a_batch_is_its_members(coupled):
    beta = torch.tensor([0.0, 0.5, 1.0, math.inf], dtype=torch.float64)
    lattice = random_lattice(
        3, cells=6, length=3, widths=3, count=2, coupled=coupled, placed=True, batch=(4,), beta=beta
    )
    y = Sequences(2, 3).every_answer().unsqueeze(1)
    uniform = torch.rand(5, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = lattice.energy(y), lattice.free_energy(beta), lattice.min_sum()[1], lattice.sample(beta, uniform)
    assert whole[0].shape == (8, 4)
    for b in range(4):
        own = SegmentLattice(lattice.scores[b], 3, 1, float(beta[b]), lattice.places[b], lattice.coupling)
        torch.testing.assert_close(own.energy(y[:, 0]), whole[0][:, b])
        torch.testing.assert_close(own.free_energy(float(beta[b])), whole[1][b])
        torch.testing.assert_close(own.min_sum()[1], whole[2][b])
        assert torch.equal(own.sample(float(beta[b]), uniform[:, b]), whole[3][:, b])
    both = SegmentLattice.stacked([lattice, lattice.map(torch.neg)])
    assert both.batch_shape == (2, 4)
    together = both.energy(y.unsqueeze(1))
    torch.testing.assert_close(together[:, 0], whole[0])
    torch.testing.assert_close(together[:, 1], lattice.map(torch.neg).energy(y))


@pytest.mark.parametrize("coupled", [False, True])
def test_draws_and_marginals_have_the_probabilities_of_their_energies(coupled):
    lattice = random_lattice(1, cells=4, length=2, widths=3, count=2, variants=2, coupled=coupled, beta=1.3)
    every, count = Sequences(2, 2).every_answer(), 20_000
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(count, 2, 2, dtype=torch.float64, generator=generator)
    index = (lattice.sample(1.3, uniform) * torch.tensor([2, 1])).sum(-1)
    shares = (-1.3 * lattice.energy(every)).softmax(0)
    assert counts_agree(np.bincount(index.numpy(), minlength=4), shares.numpy(), comparisons=3)
    assert torch.equal(
        lattice.at(math.inf).sample(math.inf, uniform[:3]), lattice.at(math.inf).min_sum()[0].expand(3, -1)
    )
    y = every[2]
    noise = torch.rand(count, 2, 6, dtype=torch.float64, generator=generator)
    starts, widths, variants = lattice.segments(y.expand(count, -1), noise)
    given_y = lattice.marginals(y)
    assert torch.allclose(given_y.flatten(1).sum(1)[0], torch.ones((), dtype=torch.float64))
    assert float(given_y.sum()) == pytest.approx(2.0)
    for i in range(2):
        code = (starts[:, i] * 3 + widths[:, i]) * 2 + variants[:, i]
        expected = given_y[:, y[i]].flatten() if i == 0 else given_y[:, y[1]].flatten()
        mask = torch.arange(len(expected)) // 6 > 0
        expected = torch.where(mask if i else ~mask, expected, 0.0)
        assert counts_agree(np.bincount(code.numpy(), minlength=24), expected.numpy() + 1e-300, comparisons=3)
    mixed = sum(share * lattice.marginals(own) for share, own in zip(shares, every, strict=True))
    torch.testing.assert_close(lattice.marginals(), mixed)


def test_what_is_forbidden_is_neither_found_nor_drawn():
    lattice = random_lattice(0, cells=4, length=2, widths=3, beta=1.0)
    scores = lattice.scores.clone()
    scores[:, 1] = math.inf
    lattice = SegmentLattice(scores, 2, 1, 1.0)
    uniform = torch.rand(100, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert not lattice.sample(1.0, uniform).any()
    assert lattice.energy(Sequences(2, 2).every_answer()).isfinite().sum() == 1
    nothing = SegmentLattice(torch.full_like(scores, math.inf), 2, 1, 1.0)
    assert nothing.free_energy(1.0) == math.inf
    assert nothing.segments(nothing.min_sum()[0])[0].shape == (2,)


def test_long_strings_are_searched_and_not_listed():
    """30 symbols of ten kinds: 1e30 strings."""
    lattice = random_lattice(2, cells=60, length=30, widths=3, count=10, beta=1.0, batch=(3,))
    lattice = lattice.map(lambda part: 4 * part)
    y, energy, proven = lattice.most_probable()
    assert proven.all()
    torch.testing.assert_close(lattice.energy(y), energy)
    viterbi = lattice.at(math.inf).min_sum()[0]
    assert (energy <= lattice.energy(viterbi) + 1e-9).all()
    with pytest.raises(ValueError, match=r"beta = 2\.0 is not valid: expected that of z, 1\.0, where there are 10"):
        lattice.free_energy(2.0)


def test_gradients_are_those_of_finite_differences():
    lattice = random_lattice(4, cells=4, length=3, widths=2, coupled=True, placed=True)
    y = torch.tensor([0, 1, 1])

    def energies(scores, places, coupling, beta):
        own = SegmentLattice(scores, 3, 1, beta, places, coupling)
        return own.energy(y), own.free_energy(beta)

    parts = [part.clone().requires_grad_() for part in (lattice.scores, lattice.places, lattice.coupling)]
    assert torch.autograd.gradcheck(lambda *given: energies(*given, 0.8), parts)


@pytest.mark.parametrize(
    ("cells", "length", "shortest", "widths"), [(9, 3, 2, 4), (7, 7, 1, 1), (1, 1, 1, 3), (12, 4, 2, 2)]
)
def test_ways_are_those_counted(cells, length, shortest, widths):
    tiling = Tiling(cells, length, shortest, widths)
    every = list(tilings(cells, length, widths, shortest))
    assert tiling.log_number == pytest.approx(math.log(len(every)))
    for i in range(length):
        begun = np.bincount([starts[i] for starts, _ in every], minlength=cells)
        assert list(tiling.starts(i)) == np.flatnonzero(begun).tolist()
        ways = tiling.log_ways_to(i) + np.logaddexp.reduce(tiling.following(i)[1], axis=1)
        assert np.allclose(np.exp(ways), begun[begun > 0])


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda e: SegmentLattice(e, 9), r"cells = 4 is not valid: expected 9 \.\. 27, what 9 such segments tile"),
        (lambda e: SegmentLattice(e, 0), "length = 0 is not valid: expected an integer >= 1"),
        (lambda e: SegmentLattice(e[0], 2), r"scores\.shape = .*: expected \(\*batch, starts, K, M, V\)"),
        (lambda e: SegmentLattice(e, 2, beta=-1.0), "beta = -1.0 is not valid"),
        (lambda e: SegmentLattice(e, 2, places=e[0, :, 0]), r"places\.shape = .* expected \(\.\.\., 2, 2\)"),
        (lambda e: SegmentLattice(e, 2, coupling=e[0, :, 0]), r"coupling\.shape = .* expected \(\.\.\., 6, 6\)"),
        (lambda e: SegmentLattice(e, 2).energy(torch.zeros(3, dtype=torch.int64)), r"y = .* expected \(\.\.\., 2\)"),
        (lambda e: SegmentLattice(e, 2).energy(torch.full((2,), 2)), "symbols that do not exist"),
        (lambda e: SegmentLattice(e, 2).sample(1.0, torch.zeros(3, 1, 2)), r"uniform\.shape = \(3, 1, 2\)"),
    ],
)  # fmt: skip
def test_mistakes_name_the_field(mistake, error):
    with pytest.raises(ValueError, match=error):
        mistake(torch.zeros(4, 2, 3, 1, dtype=torch.float64))


@pytest.mark.parametrize("beta", [100.0, 300.0, 1000.0])
def test_the_best_term_of_coupled_segments_is_never_lost(beta):
    """A small exponential times a large one: the first variant is the better here by what couples it."""
    scores = torch.zeros(2, 1, 1, 2, dtype=torch.float64)
    scores[1, 0, 0] = torch.tensor([0.0, 0.8])
    coupling = torch.tensor([[0.3, -0.7], [0.3, -0.7]], dtype=torch.float64)
    lattice = SegmentLattice(scores, 2, 1, beta, None, coupling)
    every = [
        float(scores[0, 0, 0, a] + scores[1, 0, 0, b] + coupling[a, b])
        for a, b in itertools.product(range(2), repeat=2)
    ]
    expected = -(torch.tensor(every, dtype=torch.float64) * -beta).logsumexp(0) / beta + math.log(4) / beta
    assert float(lattice.energy(torch.tensor([0, 0]))) == pytest.approx(float(expected), abs=1e-9)


def test_lattices_of_several_temperatures_are_what_they_are_alone():
    parts = [random_lattice(0, cells=4, length=2).at(beta) for beta in (0.5, 2.0)]
    y = torch.tensor([0, 1])
    together = SegmentLattice.stacked(parts).energy(y.expand(2, *parts[0].batch_shape, 2))
    for own, part in zip(together, parts, strict=True):
        torch.testing.assert_close(own, part.energy(y.expand(*part.batch_shape, 2)))
