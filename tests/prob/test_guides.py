"""Guides: densities that integrate to 1, draws that follow them, strata that sum to the mixture."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from statistical import within_standard_errors

from ebm_vs_prob.prob.latents.guide_densities import StratifiedMixture, WrappedNormal, wrapped
from ebm_vs_prob.prob.latents.guides import GUIDES, amortised_guide
from ebm_vs_prob.prob.latents.laplace import LaplaceGuide
from ebm_vs_prob.prob.latents.noise import drawn

TURN = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000 * 2 * math.pi - math.pi


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def guide_and_pairs(name, latent_dim, periodic=False, replicates=2, n=3):
    guide = amortised_guide(name, range(replicates), 1, 2, latent_dim, (8,), periodic=periodic).double()
    with torch.no_grad():  # far from the near-constant encoders of an initialisation
        for parameter in guide.parameters():
            parameter.copy_(normals(*parameter.shape, seed=parameter.numel()) * 0.35)
    return guide, normals(replicates, n, 1), normals(replicates, n, 2, seed=1)


@given(st.floats(-10, 10), st.floats(1e-3, 50))
def test_a_wrapped_normal_is_a_density_on_the_circle(loc, scale):
    density = WrappedNormal(torch.tensor(loc, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    nodes = loc + min(8 * scale, math.pi) * TURN / math.pi
    mass = density.log_prob(nodes).exp().mean() * 2 * min(8 * scale, math.pi)
    assert float(mass) == pytest.approx(1.0, abs=1e-9)
    torch.testing.assert_close(density.log_prob(nodes + 2 * math.pi), density.log_prob(nodes), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 1.9, 1.999999, 2.0, 2.1, 4.0])
def test_images_and_series_are_the_same_density(scale):
    images = torch.arange(-40, 41, dtype=torch.float64) * 2 * math.pi
    loc, scale = torch.tensor([0.4, scale], dtype=torch.float64)
    expected = torch.distributions.Normal(loc, scale).log_prob(TURN.unsqueeze(-1) + images).logsumexp(-1)
    density = WrappedNormal(loc, scale)
    torch.testing.assert_close(density.log_prob(TURN), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["mean_field", "mixture"])
def test_guides_of_angles_integrate_to_one_over_a_turn(name):
    guide, x, y = guide_and_pairs(name, 1, periodic=True)
    density = guide.distribution(x, y)
    at = TURN.reshape(-1, 1, 1, 1).expand(-1, 2, 3, 1)
    mass = density.expand(torch.Size((len(TURN), 2, 3))).log_prob(at).exp().mean(0) * 2 * math.pi
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-6)
    values = drawn(density.expand(torch.Size((4, 2, 3))), normals(4, 2, 3, 1))
    assert float(values.detach().abs().max()) <= math.pi


def test_laplace_guides_of_angles_integrate_to_one_over_a_turn():
    guide = LaplaceGuide(
        lambda x, y, z: -2 * (z[..., 0] - y[..., 0]).cos(), TURN[::100, None], (-math.pi, math.pi), 1, periodic=True
    )
    y = torch.tensor([[[3.1], [0.2]]], dtype=torch.float64)
    density = guide.distribution(y[..., :0], y)
    at = TURN.reshape(-1, 1, 1, 1).expand(-1, 1, 2, 1)
    mass = density.expand(torch.Size((len(TURN), 1, 2))).log_prob(at).exp().mean(0) * 2 * math.pi
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-9)
    torch.testing.assert_close(density.base_dist.scale, torch.full_like(y, 0.5**0.5), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_guides_integrate_to_one_and_their_draws_have_their_density(name, latent_dim):
    """By importance: E[p(z) / q(z)] = 1 for a p inside q, with the strata's shares; a wrong Jacobian shows."""
    guide, x, y = guide_and_pairs(name, latent_dim)
    density, count = guide.distribution(x, y), 40_000
    many = density.expand(torch.Size((count, 2, 3)))
    with torch.no_grad():
        z = drawn(many, normals(count, 2, 3, latent_dim))
        log_q = many.log_prob(z)
        shares = guide.log_shares(density)
        weight = torch.full((count, 1, 1), 1 / count, dtype=torch.float64)
        if shares is not None:
            weight = shares.exp().repeat(count // len(shares), 1, 1) * len(shares) / count
        mean = (weight.unsqueeze(-1) * z).sum(0)
        spread = (weight.unsqueeze(-1) * (z - mean).square()).sum(0).sqrt()
        inside = torch.distributions.Normal(mean, 0.7 * spread).log_prob(z).sum(-1)
        ratio = (inside - log_q).exp()
        total = (weight * ratio).sum(0)
        error = (weight.square() * ratio.square()).sum(0).sqrt()
    assert (error < 0.1).all()
    assert within_standard_errors(total, 1.0, error, slack=1e-3)


@pytest.mark.parametrize("name", GUIDES)
def test_the_density_at_a_draw_does_not_rest_on_what_was_kept_of_it(name):
    guide, x, y = guide_and_pairs(name, 2)
    many = guide.distribution(x, y).expand(torch.Size((4, 2, 3)))
    z = drawn(many, normals(4, 2, 3, 2))
    again = guide.distribution(x, y).expand(torch.Size((4, 2, 3))).log_prob(z.clone())
    torch.testing.assert_close(many.log_prob(z), again, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", GUIDES)
def test_a_replicate_is_what_it_is_alone(name):
    guide, x, y = guide_and_pairs(name, 2)
    alone = amortised_guide(name, [1], 1, 2, 2, (8,)).double()
    for own, shared in zip(alone.parameters(), guide.parameters(), strict=True):
        own.data.copy_(shared.data[1:])
    noise = normals(4, 2, 3, 2)
    z = drawn(guide.distribution(x, y).expand(torch.Size((4, 2, 3))), noise)
    own = drawn(alone.distribution(x[1:], y[1:]).expand(torch.Size((4, 1, 3))), noise[:, 1:])
    torch.testing.assert_close(own, z[:, 1:])


def test_strata_are_the_components_in_turn():
    logits = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64)
    locs = torch.tensor([[[-5.0], [0.0], [5.0]]], dtype=torch.float64)
    mixture = StratifiedMixture(logits, locs, torch.full_like(locs, 0.1))
    z = drawn(mixture.expand(torch.Size((6, 1))), normals(6, 1, 1))
    assert z[:, 0, 0].round().tolist() == [-5, 0, 5, -5, 0, 5]
    torch.testing.assert_close(mixture.log_shares()[:, 0].exp(), logits[0].softmax(0))
    with pytest.raises(ValueError, match="particles = 4 is not valid: expected a multiple of the 3 components"):
        drawn(mixture.expand(torch.Size((4, 1))), normals(4, 1, 1))


@pytest.mark.parametrize("name", ["full_rank", "flow"])
def test_families_without_a_circle_refuse_angles(name):
    with pytest.raises(ValueError, match="no density on the circle"):
        amortised_guide(name, [0], 0, 2, 1, (4,), periodic=True)


def test_unknown_guides_are_named():
    with pytest.raises(LookupError, match="full_rank"):
        amortised_guide("fullrank", [0], 0, 2, 1, (4,))


def test_laplace_is_exact_on_a_quadratic_and_may_lie_on_either_side():
    starts = torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None]
    y = torch.zeros(1, 1, 1, dtype=torch.float64)
    fine = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    gaps = {}
    for name, potential in {
        "quadratic": lambda z: 0.5 * 3 * (z - 0.4).square(),
        "light": lambda z: 0.5 * z.square() + z**4,
        "heavy": lambda z: (1 + z.square()).log() * 2,
    }.items():
        exact = (-potential(fine)).logsumexp(0) + math.log(24 / 200_000)
        guide = LaplaceGuide(lambda x, y, z, u=potential: u(z[..., 0]), starts, (-4.0, 4.0))
        gaps[name] = float(guide.log_evidence(y[..., :0], y) - exact)
    assert gaps["quadratic"] == pytest.approx(0.0, abs=1e-6)
    assert gaps["light"] > 0.1
    assert gaps["heavy"] < -0.1
    assert LaplaceGuide.is_lower_bound is False


def test_wrapped_angles_lie_in_one_turn():
    angles = torch.tensor([-7.0, -math.pi, 0.0, 3.0, 9.0], dtype=torch.float64)
    assert ((wrapped(angles) >= -math.pi) & (wrapped(angles) < math.pi)).all()
    torch.testing.assert_close(wrapped(angles).cos(), angles.cos())
