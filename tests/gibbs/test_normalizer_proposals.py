"""Proposals: an element of a batch is drawn as without the others, and draws that tell nothing are doubted."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ebm_vs_prob as evp
from ebm_vs_prob import GibbsBoltzmann, Labels, Sequences
from ebm_vs_prob.gibbs.normalizers import AnnealedImportanceSampling, ImportanceSampling, Quadrature
from ebm_vs_prob.gibbs.normalizers.proposal_draws import element
from ebm_vs_prob.gibbs.trust import doubts_asked_for

td = torch.distributions
LOC = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)  # two elements in two dimensions: sizes that tie
SCALE = torch.tensor([[1.1, 0.9], [1.4, 1.3]], dtype=torch.float64)
COVARIANCE = torch.diag_embed(SCALE.square()) + 0.2
EVEN = torch.tensor([[0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)


def mixture(index: Any) -> Any:
    means = torch.stack([LOC[index], LOC[index] - 2], -2)
    widths = torch.stack([SCALE[index], SCALE[index]], -2)
    return td.MixtureSameFamily(
        td.Categorical(probs=EVEN[index]), td.Independent(td.Normal(means, widths), 1), validate_args=False
    )


def shifted(index: Any) -> Any:
    base = td.Normal(torch.zeros_like(LOC[index]), torch.ones_like(LOC[index]))
    moved = td.TransformedDistribution(base, [td.AffineTransform(LOC[index], SCALE[index]), td.TanhTransform()])
    return td.Independent(moved, 1)


def squeezed(index: Any) -> Any:
    """A scale for each dimension, the same for both elements: as many as there are elements."""
    base = td.Independent(td.Normal(LOC[index], SCALE[index]), 1)
    return td.TransformedDistribution(base, [td.AffineTransform(0.0, torch.tensor([1.5, 0.5]).double(), event_dim=1)])


PROPOSALS: dict[str, Any] = {
    "normal": lambda i: td.Independent(td.Normal(LOC[i], SCALE[i]), 1),
    "pyro": lambda i: dist.Normal(LOC[i], SCALE[i]).to_event(1),
    "student": lambda i: td.Independent(td.StudentT(4.0, LOC[i], SCALE[i]), 1),
    "covariance": lambda i: td.MultivariateNormal(LOC[i], COVARIANCE[i]),
    "shared covariance": lambda i: td.MultivariateNormal(LOC[i], scale_tril=torch.eye(2).double() * 1.2),
    "low rank": lambda i: td.LowRankMultivariateNormal(LOC[i], COVARIANCE[i][..., :1], SCALE[i]),
    "angles": lambda i: td.Independent(td.VonMises(LOC[i], SCALE[i]), 1),
    "mixture": mixture,
    "uniform": lambda i: td.Independent(td.Uniform(LOC[i] - 2, LOC[i] + 2), 1),
    "shifted": shifted,
    "squeezed": squeezed,
    "in an interval": lambda i: td.TransformedDistribution(
        td.Independent(td.Normal(LOC[i], SCALE[i]), 1), td.transform_to(td.constraints.interval(-3.0, 3.0))
    ),
}


def well(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (y - 0.2).square().sum(-1) / 2


@pytest.mark.parametrize("name", PROPOSALS)
def test_an_element_of_a_batched_proposal_is_what_it_is_alone(name: str) -> None:
    def estimate(index: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        proposal = PROPOSALS[name](index)
        assert proposal.batch_shape == (len(index),)
        sampling = ImportanceSampling(proposal, 300)
        density = GibbsBoltzmann(well, 2, torch.zeros(len(index), 0), normalizer=sampling, validate_args=False)
        with doubts_asked_for():
            return density.log_partition()[0], density._memory.partition().rows  # type: ignore[attr-defined]

    value, rows = estimate([0, 1])
    for k in (0, 1):
        alone, own = estimate([k])
        torch.testing.assert_close(own[0], rows[k], rtol=0, atol=1e-12)
        assert float(alone[0]) == pytest.approx(float(value[k]), abs=1e-12)
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("name", PROPOSALS)
def test_an_element_of_a_distribution_has_its_density(name: str) -> None:
    whole = PROPOSALS[name]([0, 1])
    y = 0.3 * torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = whole.log_prob(y[:, None])
    for k in (0, 1):
        one = element(whole, (k,))
        assert (one.batch_shape, one.event_shape) == ((), (2,))
        torch.testing.assert_close(one.log_prob(y), expected[:, k])


def test_a_batch_of_several_dimensions_and_labels() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def rows(logits: torch.Tensor) -> torch.Tensor:
        sampling = ImportanceSampling(td.Categorical(logits=logits), 50)
        x = torch.zeros(*logits.shape[:-1], 0)
        density = GibbsBoltzmann(lambda x, y: 0.1 * y.double(), x=x, space=Labels(4), normalizer=sampling)
        return density._memory.partition().rows  # type: ignore[attr-defined]

    together = rows(logits)
    assert together.shape == (2, 3, 50, 1)
    for r in range(2):
        for k in range(3):
            assert torch.equal(rows(logits[r, k]), together[r, k])


def test_a_batched_proposal_that_cannot_be_taken_apart_is_named() -> None:
    class Odd(td.Normal):
        def __init__(self, middle: torch.Tensor) -> None:
            super().__init__(middle, 1.0)

    proposal = td.Independent(Odd(LOC), 1)
    density = GibbsBoltzmann(well, 2, torch.zeros(2, 0), normalizer=ImportanceSampling(proposal, 10))
    with pytest.raises(ValueError, match=r"^proposal = .*else give samples and log_density") as caught:
        density.log_partition()
    assert "\n" not in str(caught.value)
    alone = GibbsBoltzmann(well, 2, normalizer=ImportanceSampling(td.Independent(Odd(LOC[0]), 1), 100))
    assert bool(alone.log_partition()[0].isfinite())


# ---- draws that tell nothing -----------------------------------------------------------------------------------------


def far(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of five labels the last has all the mass."""
    return torch.where(y == 4, -11.0, 0.0).double()


@pytest.mark.parametrize(
    "probabilities", [[1 - 4e-9, 1e-9, 1e-9, 1e-9, 1e-9], [0.5 - 1e-9, 0.5 - 1e-9, 1e-9, 1e-9, 0.0]]
)
def test_draws_that_met_few_answers_of_equal_weight_are_doubted(probabilities: list[float]) -> None:
    proposal = td.Categorical(torch.tensor(probabilities, dtype=torch.float64))
    density = GibbsBoltzmann(far, space=Labels(5), normalizer=ImportanceSampling(proposal, 2000))
    with pytest.warns(evp.NormalizerWarning, match="no Pareto k to be fitted and answers undrawn in 1 of 1"):
        value, error = density.log_partition()
    assert float(error) == 1 / 2000  # the least that so many equal weights know
    assert abs(float(value) - 11) > 5  # sure of itself, and wrong
    assert float(density.diagnostics["pareto_k"]) == -math.inf


def test_equal_weights_are_trusted_where_they_may_be() -> None:
    every = GibbsBoltzmann(lambda x, y: 0.0 * y.double(), space=Labels(5), normalizer="importance")
    flat = GibbsBoltzmann(lambda x, y: 0.0 * y.sum(-1), normalizer="importance")
    for density in (every, flat):
        assert float(density.diagnostics["pareto_k"]) == -math.inf
        assert density.warnings() == ()
    point = torch.zeros(100, 1, dtype=torch.float64)
    given_point = ImportanceSampling(samples=point, log_density=torch.zeros(100, dtype=torch.float64))
    density = GibbsBoltzmann(lambda x, y: y.square().sum(-1), normalizer=given_point)
    assert density.warnings() == ("no Pareto k to be fitted and answers undrawn in 1 of 1 densities",)


def test_only_the_elements_whose_draws_met_few_answers_are_doubted() -> None:
    probabilities = torch.tensor([[1 - 1e-9, 1e-9], [0.5, 0.5]], dtype=torch.float64)
    proposal = td.Independent(td.Categorical(probabilities.unsqueeze(1).expand(2, 3, 2)), 1)
    density = GibbsBoltzmann(
        lambda x, y: 0.0 * y.double().sum(-1),
        x=torch.zeros(2, 0),
        space=Sequences(2, 3),
        normalizer=ImportanceSampling(proposal, 500),
    )
    assert density.doubts()["no Pareto k to be fitted and answers undrawn"].tolist() == [True, False]


# ---- wells between the nodes of a quadrature -------------------------------------------------------------------------


def test_a_deep_narrow_well_among_the_highest_coarse_cells_of_a_plane_is_found() -> None:
    """Forty nats deep and 1e-3 wide: the nodes of its cell show a slope alone, and stand high."""
    at, width = torch.tensor([2.6, -2.3], dtype=torch.float64), 1e-3

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        step = 2.0 * (y[..., 0] > 2)
        r = (y - at).norm(dim=-1)
        return step + 0.1 * r - 40 * torch.exp(-0.5 * (r / width).square())

    def log_z(**options: Any) -> float:
        with doubts_asked_for():
            return float(
                GibbsBoltzmann(energy, 2, bounds=(-3.0, 3.0), normalizer=Quadrature(**options)).log_partition()[0]
            )

    r = torch.linspace(0, 12 * width, 100_001, dtype=torch.float64)
    ring = -energy(torch.empty(0), at + r.unsqueeze(1) * torch.tensor([1.0, 0.0]).double()) + r.log()
    exact = float(torch.logsumexp(ring, 0)) + math.log(2 * math.pi * 12 * width / 100_000)
    assert log_z() == pytest.approx(exact, abs=1e-3)
    assert log_z(probes=0) < exact - 5


# ---- what is refused -------------------------------------------------------------------------------------------------


NORMAL = td.Independent(td.Normal(torch.zeros(1), 1.0), 1)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Quadrature(order=8.5), "order"),
        (lambda: Quadrature(order=True), "order"),
        (lambda: Quadrature(probes=2.5), "probes"),
        (lambda: Quadrature(probes="x"), "probes"),
        (lambda: Quadrature(rtol="x"), "rtol"),
        (lambda: Quadrature(rtol=math.nan), "rtol"),
        (lambda: Quadrature(max_nodes=1e5), "max_nodes"),
        (lambda: ImportanceSampling("x"), "proposal"),
        (lambda: ImportanceSampling(td.Normal), "proposal"),
        (lambda: ImportanceSampling(NORMAL, "x"), "num_samples"),
        (lambda: ImportanceSampling(samples=[[0.0], [1.0]], log_density=torch.zeros(2)), "samples"),
        (lambda: ImportanceSampling(samples=torch.zeros(2, 1), log_density=[0.0, 0.0]), "log_density"),
        (lambda: AnnealedImportanceSampling(kernel=3), "kernel"),
        (lambda: AnnealedImportanceSampling(initial="x"), "initial"),
        (lambda: GibbsBoltzmann(well, beta="x"), "beta"),
        (lambda: GibbsBoltzmann(well, beta=None), "beta"),
        (lambda: GibbsBoltzmann(well, beta=[[1.0], [1.0, 2.0]]), "beta"),
        (lambda: GibbsBoltzmann(well, x="x"), "x"),
        (lambda: GibbsBoltzmann(well, x=[None]), "x"),
    ],
)
def test_values_of_another_type_are_named(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field} = ") as caught:
        make()
    assert "\n" not in str(caught.value)


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 40), st.floats(), st.text(max_size=3), st.lists(st.floats(), max_size=2)
)


@given(st.sampled_from([Quadrature, ImportanceSampling, AnnealedImportanceSampling]), st.data())
def test_any_value_is_taken_or_named_in_one_line(normaliser: Any, data: Any) -> None:
    field = data.draw(st.sampled_from(sorted(normaliser.__dataclass_fields__)))
    value = data.draw(ANYTHING)
    try:
        normaliser(**{field: value})
    except ValueError as error:
        assert field in str(error).split(" = ")[0]  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017


@given(ANYTHING)
def test_any_beta_is_taken_or_named_in_one_line(beta: Any) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GibbsBoltzmann(well, beta=beta)
    except ValueError as error:
        assert str(error).startswith("beta = ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
