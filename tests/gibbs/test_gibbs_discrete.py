"""Gibbs-Boltzmann over labels and sequences: enumeration, messages, importance sampling, Pyro, and what it refuses."""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from rounding import rounding
from statistical import counts_agree, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.gibbs.normalizers import Enumeration, ImportanceSampling, Messages

LABELS, WORDS = evp.Labels(5), evp.Sequences(3, 4)


def spins(x, y):
    """Neighbours that like to agree, and a field x: any energy over sequences, without a graph."""
    return -(0.7 * (y[..., 1:] == y[..., :-1]).double().sum(-1) + (x * y).sum(-1))


def quadratic(x, y):
    return 0.5 * (y - x.squeeze(-1)).square()


class Chain(torch.nn.Module):
    """The energy of `spins`, by its graph."""

    def graph(self, x):
        values = torch.arange(3, dtype=torch.float64)
        agree = -0.7 * torch.eye(3, dtype=torch.float64)
        return evp.FactorGraph(-x.unsqueeze(-1) * values, agree.expand(3, 3, 3))

    def forward(self, x, y):
        return self.graph(x).energy(y)


def by_hand(x, beta, y):
    """ln P(y | x) over WORDS by a loop."""

    def energy(answer):
        pairs = sum(a == b for a, b in itertools.pairwise(answer))
        return -(0.7 * pairs + sum(f * a for f, a in zip(x, answer, strict=True)))

    total = math.fsum(math.exp(-beta * energy(answer)) for answer in itertools.product(range(3), repeat=4))
    return -beta * energy(y) - math.log(total), math.log(total)


X = torch.tensor([[0.3, -0.2, 0.5, 0.0], [-1.0, 0.4, 0.0, 0.2]], dtype=torch.float64)


@pytest.mark.parametrize("normalizer", ["enumeration", "messages", None])
@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_probabilities_are_those_summed_by_hand(normalizer, beta):
    density = evp.GibbsBoltzmann(Chain(), x=X, beta=beta, space=WORDS, normalizer=normalizer)
    assert (density.batch_shape, density.event_shape) == ((2,), (4,))
    y = torch.tensor([[0, 1, 2, 2], [2, 2, 0, 0]])
    for row, answer, found, log_z in zip(
        X.tolist(), y.tolist(), density.log_prob(y).tolist(), density.log_partition()[0].tolist(), strict=True
    ):
        # A sum of 81 terms of some ten operations each; ln 81 and an energy of 6, times 2, are its largest values.
        assert (found, log_z) == pytest.approx(by_hand(row, beta, answer), abs=rounding(1000, scale=16.0))
    assert float(density.log_partition()[1].abs().max()) == 0
    assert density.warnings() == ()
    assert density.diagnostics == {}


def test_enumeration_and_messages_agree_and_are_chosen():
    chain = evp.GibbsBoltzmann(Chain(), x=X, beta=torch.tensor([0.4, 3.0]), space=WORDS)
    plain = evp.GibbsBoltzmann(spins, x=X, beta=torch.tensor([0.4, 3.0]), space=WORDS)
    assert isinstance(chain.normalizer, Messages)
    assert isinstance(plain.normalizer, Enumeration)
    every = WORDS.every_answer()[:, None]
    torch.testing.assert_close(chain.log_prob(every), plain.log_prob(every))
    torch.testing.assert_close(plain.log_prob(every).exp().sum(0), torch.ones(2, dtype=torch.float64))


def test_labels_have_no_event_dimension():
    x = torch.tensor([[[0.2], [3.1]]], dtype=torch.float64)
    density = evp.GibbsBoltzmann(quadratic, x=x, beta=torch.tensor([[1.0], [9.0]]), space=LABELS)
    assert (density.batch_shape, density.event_shape) == ((2, 2), ())
    weights = torch.exp(-density.beta.unsqueeze(-1) * 0.5 * (torch.arange(5) - x).square())
    expected = (weights / weights.sum(-1, keepdim=True)).log()
    torch.testing.assert_close(density.log_prob(torch.arange(5)[:, None, None]), expected.movedim(-1, 0))
    assert density.log_prob(torch.tensor(3)).shape == (2, 2)
    assert density.sample((7,), seed=0).shape == (7, 2, 2)
    assert density.sample((7,), seed=0).dtype == torch.int64


@pytest.mark.parametrize("normalizer", ["enumeration", "messages"])
def test_draws_follow_the_probabilities(normalizer):
    """Probabilities that are off by a twentieth each, up and down in turn, are seen with power above .99."""
    density = evp.GibbsBoltzmann(Chain(), x=X, beta=1.3, space=WORDS, normalizer=normalizer)
    draws = density.sample((100_000,), seed=3)
    every = WORDS.every_answer()
    probability = density.log_prob(every[:, None]).exp().numpy()
    assert 100_000 * probability.min() > 25
    wrong = 1 + 0.05 * (-1.0) ** torch.arange(81).numpy()
    for b in range(2):
        counts = torch.bincount((draws[:, b] * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).numpy()
        assert counts_agree(counts, probability[:, b], comparisons=2)
        assert not counts_agree(counts, probability[:, b] * wrong, comparisons=2)


@pytest.mark.parametrize("normalizer", ["enumeration", "messages"])
def test_draws_do_not_depend_on_company(normalizer):
    def generators(count):
        return [torch_generator(0, "test", r) for r in range(count)]

    pair = evp.GibbsBoltzmann(Chain(), x=X, space=WORDS, normalizer=normalizer).expand((2,))
    alone = evp.GibbsBoltzmann(Chain(), x=X[:1], space=WORDS, normalizer=normalizer)
    together = pair.sample((50,), generators=generators(2))
    assert torch.equal(together[:, :1], alone.sample((50,), generators=generators(1)))
    assert not torch.equal(together[:, 0], together[:, 1])


def test_an_expanded_density_is_the_same_density():
    base = evp.GibbsBoltzmann(Chain(), x=X[:, None], space=WORDS)
    wide = base.expand((3, 2, 5))
    y = WORDS.every_answer()[:60].reshape(2, 3, 2, 5, 4)
    expected = torch.stack([base.log_prob(y[..., k, :].unsqueeze(-2)).squeeze(-1) for k in range(5)], -1)
    torch.testing.assert_close(wide.log_prob(y), expected)
    assert wide.sample((4,), seed=0).shape == (4, 3, 2, 5, 4)
    assert wide.log_partition()[0].shape == (3, 2, 5)
    labels = evp.GibbsBoltzmann(quadratic, x=torch.zeros(2, 1, 1), space=LABELS).expand((2, 6))
    assert labels.sample((3,), seed=1).shape == (3, 2, 6)


def test_forbidden_answers_have_no_probability_and_are_never_drawn():
    def energy(x, y):
        return torch.where(y == 2, math.inf, 0.1 * y.double())

    density = evp.GibbsBoltzmann(energy, space=LABELS)
    assert float(density.log_prob(torch.tensor(2))) == -math.inf
    assert not bool((density.sample((2000,), seed=0) == 2).any())


def test_the_gradient_is_minus_beta_times_the_mean_slope():
    """By enumeration and by messages, in the energy, in x and in beta, against finite differences."""
    beta = torch.tensor([0.4, 1.7], dtype=torch.float64)
    for normalizer in ("enumeration", "messages"):

        def log_z(x, beta, normalizer=normalizer):
            return evp.GibbsBoltzmann(Chain(), x=x, beta=beta, space=WORDS, normalizer=normalizer).log_partition()[0]

        inputs = X.clone().requires_grad_(), beta.clone().requires_grad_()
        analytic = torch.autograd.grad(log_z(*inputs).sum(), inputs)
        for position, at in enumerate((X, beta)):
            for k in range(at.numel()):
                shift = torch.zeros(at.numel(), dtype=torch.float64)
                shift[k] = 1e-5
                changed = [X, beta]
                values = []
                for sign in (1, -1):
                    changed[position] = at + sign * shift.reshape(at.shape)
                    values.append(float(log_z(*changed).sum()))
                numeric = (values[0] - values[1]) / 2e-5
                # The difference loses h² of a third derivative of order 10, and the rounding of some 10 nats over h.
                reach = 10 * 1e-5**2 + rounding(1000, scale=10.0, condition=1 / 1e-5)
                assert float(analytic[position].flatten()[k]) == pytest.approx(numeric, abs=reach)


def test_log_prob_follows_a_changed_parameter_and_can_be_differentiated_twice():
    scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    class Scaled(Chain):
        def graph(self, x):
            return super().graph(x).map(lambda factor: scale * factor)

    for normalizer in ("enumeration", "messages"):
        density = evp.GibbsBoltzmann(Scaled(), x=X, space=WORDS, normalizer=normalizer)
        y = torch.tensor([[0, 1, 2, 2], [2, 2, 0, 0]])
        with torch.no_grad():
            density.log_prob(y)  # what is kept of it has no gradient
        first = density.log_prob(y)
        first.sum().backward()
        with torch.no_grad():
            scale.mul_(2)
        second = density.log_prob(y)
        second.sum().backward()
        expected = evp.GibbsBoltzmann(Chain(), x=X, beta=2.0, space=WORDS).log_prob(y)
        torch.testing.assert_close(second.detach(), expected)
        with torch.no_grad():
            scale.div_(2)


# ---- importance sampling over answers --------------------------------------------------------------------------------


def test_importance_sampling_estimates_a_sum():
    exact = evp.GibbsBoltzmann(Chain(), x=X, space=WORDS).log_partition()[0]
    sampled = evp.GibbsBoltzmann(Chain(), x=X, space=WORDS, normalizer=ImportanceSampling(num_samples=4000))
    value, error = sampled.log_partition()
    assert within_standard_errors(value, exact, error, comparisons=2)
    assert bool((error > 0).all())
    assert bool((error < 0.05).all())  # so that an error of .3 nats is seen
    draws = sampled.sample((4000,), seed=0)
    assert draws.shape == (4000, 2, 4)
    assert draws.dtype == torch.int64
    every = WORDS.every_answer()
    probability = evp.GibbsBoltzmann(Chain(), x=X, space=WORDS).log_prob(every[:, None]).exp()
    moments = [(every.double().unsqueeze(1) ** k * probability.unsqueeze(-1)).sum(0) for k in (1, 2)]
    # Draws of draws: their mean has the variance of as many effective proposals, and that of as many draws besides.
    count = 1 / (1 / sampled.diagnostics["effective_sample_size"] + 1 / 4000)
    se = ((moments[1] - moments[0].square()) / count[:, None]).sqrt()
    assert within_standard_errors(draws.double().mean(0), moments[0], se, comparisons=2)
    assert float(se.max()) < 0.05  # so that a mean off by .3 is seen


def test_importance_sampling_of_labels_by_a_categorical():
    proposal = dist.Categorical(torch.tensor([0.4, 0.3, 0.1, 0.1, 0.1]))
    x = torch.tensor([[0.2]], dtype=torch.float64)
    value, error = evp.GibbsBoltzmann(
        quadratic, x=x, space=LABELS, normalizer=ImportanceSampling(proposal, 5000)
    ).log_partition()
    exact = torch.logsumexp(-quadratic(x, torch.arange(5)), -1)
    assert within_standard_errors(value, exact, error)
    assert float(error) < 0.02  # so that .1 nats are seen


# ---- Pyro ------------------------------------------------------------------------------------------------------------


def test_its_support_is_listed():
    density = evp.GibbsBoltzmann(quadratic, x=torch.zeros(2, 1), space=LABELS)
    assert density.has_enumerate_support
    assert density.enumerate_support(expand=False).shape == (5, 1)
    assert density.enumerate_support().shape == (5, 2)
    words = evp.GibbsBoltzmann(spins, x=X, space=WORDS)
    assert words.enumerate_support().shape == (81, 2, 4)
    torch.testing.assert_close(
        words.log_prob(words.enumerate_support(expand=False)).exp().sum(0), torch.ones(2, dtype=torch.float64)
    )
    assert bool(words.support.check(words.enumerate_support()).all())
    for other in (
        evp.GibbsBoltzmann(quadratic, x=torch.zeros(1)),
        evp.GibbsBoltzmann(spins, x=torch.zeros(9), space=evp.Sequences(3, 9)),
    ):
        assert not other.has_enumerate_support
        with pytest.raises(NotImplementedError, match="does not list"):
            other.enumerate_support()


@pytest.mark.uses_global_generator
@pytest.mark.parametrize("space", [LABELS, WORDS], ids=["labels", "sequences"])
def test_pyro_sums_out_a_latent_answer(space):
    """-ELBO of TraceEnum_ELBO is -ln Σ_z P(z) N(y; mean of z, 1), here also by a sum."""
    data = torch.tensor([0.3, 2.0, 1.1], dtype=torch.float64)
    x = torch.tensor([0.5] if space is LABELS else [0.3, -0.2, 0.5, 0.0], dtype=torch.float64)
    prior = evp.GibbsBoltzmann(quadratic if space is LABELS else Chain(), x=x, beta=0.8, space=space)

    def level(z):
        return z.double() if space is LABELS else z.double().mean(-1)

    @config_enumerate
    def model():
        with pyro.plate("data", 3):
            z = pyro.sample("z", prior)
            pyro.sample("y", dist.Normal(level(z), 1.0), obs=data)

    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model, lambda: None)
    every = space.every_answer()
    joint = prior.log_prob(every)[:, None] + dist.Normal(level(every)[:, None], 1.0).log_prob(data)
    assert loss == pytest.approx(-float(joint.logsumexp(0).sum()), rel=1e-9)


@pytest.mark.uses_global_generator
def test_it_trains_as_an_observation_in_plates():
    """Maximum likelihood of a field on labels: the model's mean goes to the data's, as in every exponential family."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    data = torch.tensor([0, 0, 1, 4, 2, 0, 1, 1, 0, 2])

    def model():
        field = pyro.param("field", torch.zeros((), dtype=torch.float64))
        density = evp.GibbsBoltzmann(lambda x, y: field * y.double(), space=LABELS)
        with pyro.plate("data", len(data)):
            pyro.sample("y", density, obs=data)

    svi = SVI(model, lambda: None, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(100):
        svi.step()
    weights = torch.exp(-pyro.param("field").detach() * torch.arange(5))
    mean = float((weights * torch.arange(5)).sum() / weights.sum())
    assert mean == pytest.approx(float(data.double().mean()), abs=1e-2)
    pyro.clear_param_store()


# ---- what it refuses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": 3}, "space = 3"),
        ({"space": evp.Box((0.0, 1.0), 0)}, "space = "),
        ({"space": LABELS, "y_dim": 1}, "y_dim, bounds = .* neither beside a space"),
        ({"space": LABELS, "bounds": (0.0, 1.0)}, "y_dim, bounds = "),
        ({"space": LABELS, "beta": 0.0}, "beta = "),
        ({"space": LABELS, "beta": math.inf}, "beta = "),
        ({"energy": object()}, "energy = "),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=f"^{words}") as caught:
        evp.GibbsBoltzmann(**{"energy": quadratic, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("space", "normalizer", "words"),
    [
        (LABELS, "quadrature", "normalizer = 'quadrature' .* over labels"),
        (LABELS, "annealed", "normalizer = 'annealed' .* over labels"),
        (LABELS, "messages", r"normalizer = 'messages' .* graph\(x\)"),
        (evp.Box((0.0, 1.0), 1), "enumeration", "normalizer = 'enumeration' .* over real vectors"),
        (evp.Box((0.0, 1.0), 1), "messages", "normalizer = 'messages' .* over real vectors"),
        (evp.Sequences(4, 12), None, "number of answers = 16777216 .* normalizer='messages'"),
        (LABELS, Enumeration(max_answers=4), "number of answers = 5 "),
    ],
)
def test_a_normaliser_that_does_not_fit_the_space_is_named(space, normalizer, words):
    density = evp.GibbsBoltzmann(lambda x, y: y.double().sum(-1), space=space, normalizer=normalizer)
    with pytest.raises(ValueError, match=words):
        density.log_partition()
    with pytest.raises(ValueError, match="max_answers = 0"):
        Enumeration(max_answers=0)


def test_bad_answers_and_graphs_are_named():
    density = evp.GibbsBoltzmann(Chain(), x=X, space=WORDS)
    for y, words in (
        (torch.zeros(2, 3, dtype=torch.int64), r"y\.shape = \(2, 3\)"),
        (torch.zeros(5, 4, dtype=torch.int64), r"y\.shape = \(5, 4\)"),
        (torch.zeros(2, 4), r"y\.dtype"),
        (torch.full((2, 4), 3), "y = 'entries outside"),
        (torch.full((2, 4), -1), "y = 'entries outside"),
    ):
        with pytest.raises(ValueError, match=words):
            density.log_prob(y)

    class Wrong:
        def __init__(self, graph):
            self.made = graph

        def graph(self, x):
            return self.made

    for made, words in (
        (3, "energy.graph"),
        (evp.FactorGraph(torch.zeros(4, 2), torch.zeros(3, 2, 2)), "batch, variables, values"),
        (evp.FactorGraph(torch.zeros(5, 4, 3), torch.zeros(3, 3, 3)), "batch, variables, values"),
    ):
        with pytest.raises(ValueError, match=words):
            evp.GibbsBoltzmann(Wrong(made), x=X, space=WORDS).log_partition()
    with pytest.raises(ValueError, match=r"energy\(x, y\)\.shape"):
        evp.GibbsBoltzmann(lambda x, y: y.double(), x=X, space=WORDS).log_partition()
    with pytest.raises(ValueError, match="no bounds"):
        _ = density.bounds


def test_energies_that_are_not_finite_leave_the_others_alone():
    offset = torch.tensor([0.0, math.nan, math.inf], dtype=torch.float64)[:, None]
    density = evp.GibbsBoltzmann(lambda x, y: 0.1 * y.double() + offset, x=torch.zeros(3, 0), space=LABELS)
    with pytest.warns(evp.NormalizerWarning, match="log Z is not finite in 2 of 3 densities"):
        value, _ = density.log_partition()
    assert value.isfinite().tolist() == [True, False, False]
    assert density.log_prob(torch.tensor(1)).isfinite().tolist() == [True, False, False]
    assert density.sample((5,), seed=0).shape == (5, 3)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**31), st.floats(0.01, 20.0))
def test_any_table_of_energies_is_normalised(vocabulary, length, seed, beta):
    space = evp.Sequences(vocabulary, length)
    table = 3 * torch.randn(space.num_answers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    powers = vocabulary ** torch.arange(length - 1, -1, -1)

    def energy(x, y):
        return table[(y * powers).sum(-1)]

    density = evp.GibbsBoltzmann(energy, beta=beta, space=space)
    torch.testing.assert_close(density.log_prob(space.every_answer()), (-beta * table).log_softmax(0))
    assert float(density.log_partition()[0]) == pytest.approx(float((-beta * table).logsumexp(0)), abs=1e-9)
