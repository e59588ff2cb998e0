"""Objectives against values worked out by hand, and against what they are for."""

import pytest
import torch

from ebm_vs_prob.ebm.negatives.noise import descended, nearest_distance, noisy_answers
from ebm_vs_prob.ebm.objectives.margin import distance_scaled_margin, hinge
from ebm_vs_prob.ebm.objectives.score import denoising_score_matching_loss


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_denoising_loss_is_the_fisher_divergence_to_the_blurred_density_up_to_a_constant():
    """On N(0, 1) data: ½ sigma² (a - 1/(1+sigma²))² (1+sigma²) plus a constant, for E = ½ a y² (Vincent 2011)."""
    sigma = torch.tensor(0.7, dtype=torch.float64).reshape(1, 1, 1)
    y = torch.randn(1, 2_000_000, 1, dtype=torch.float64, generator=generator(0))
    noise = torch.randn(1, 2_000_000, 1, dtype=torch.float64, generator=generator(1))
    blurred = 1 + 0.7**2

    def excess(a: float) -> float:
        loss = denoising_score_matching_loss(a * (y + sigma * noise), noise, sigma)
        fisher = 0.5 * 0.7**2 * (a - 1 / blurred) ** 2 * blurred
        return float(loss[0]) - fisher

    constants = [excess(a) for a in (-0.5, 0.0, 0.3, 1 / blurred, 1.5)]
    assert max(constants) - min(constants) < 5e-3


def test_hinge_by_hand():
    positive = torch.tensor([[1.0, 0.0]])
    negative = torch.tensor([[[1.5, 3.0], [0.0, -1.0]]])
    margin = torch.tensor([[[1.0, 1.0], [0.5, 0.5]]])
    assert hinge(positive, negative, margin).tolist() == [[[0.5, 0.0], [0.5, 1.5]]]


def test_distance_scaled_margin_saturates():
    distance = torch.tensor([0.0, 0.1, 0.2, 5.0])
    assert distance_scaled_margin(distance, torch.tensor(2.0), torch.tensor(0.2)).tolist() == [0.0, 1.0, 2.0, 2.0]


def test_on_set_valued_answers_the_perfect_energy_beats_the_constant_one():
    """Three answers to one x; with a plain ball round the drawn one, a constant energy would tie or win."""
    answers = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 3, 1)
    y = answers[0, 0][torch.randint(3, (1, 500), generator=generator(0))]
    negative = torch.rand(1, 500, 20, 1, generator=generator(1)) * 4 - 2
    margin, radius = torch.tensor(1.0), torch.tensor(0.3)

    def perfect(point):
        return (point - answers[:, :, None, :, 0]).abs().amin(-1).div(radius).clamp_max(1.0)

    own = answers[:, :, :, :].expand(1, 500, 3, 1)
    scaled = distance_scaled_margin(nearest_distance(negative, own), margin, radius)
    loss_perfect = hinge(perfect(y.unsqueeze(2))[..., 0], perfect(negative), scaled).mean()
    loss_constant = hinge(torch.zeros(1, 500), torch.zeros(1, 500, 20), scaled).mean()
    assert float(loss_perfect) < 1e-6 < float(loss_constant)
    # The plain ball asks the other answers to be bad, so the perfect energy is punished for being right.
    ball = margin * ((negative - y.unsqueeze(2)).abs()[..., 0] > radius)
    assert float(hinge(perfect(y.unsqueeze(2))[..., 0], perfect(negative), ball).mean()) > 0.05


@pytest.mark.parametrize("dim", [1, 2, 8, 9])
@pytest.mark.parametrize("fused", [False, True])
def test_nearest_distance_of_shared_and_own_answers(dim, fused):
    """Far from the origin too, and of answers that lie a thousandth apart."""
    y = 1e-3 * torch.randn(2, 5, 3, dim, generator=generator(2)) + 0.5
    shared = 1e-3 * torch.randn(2, 1, 7, dim, generator=generator(3)) + 0.5
    own = shared.expand(2, 5, 7, dim)
    brute = (y.unsqueeze(3).double() - own.unsqueeze(2).double()).norm(dim=-1).amin(-1).float()
    torch.testing.assert_close(nearest_distance(y, shared, fused), brute, rtol=1e-4, atol=1e-9)
    if dim <= 8:
        torch.testing.assert_close(nearest_distance(y, own.contiguous(), fused), brute, rtol=1e-4, atol=1e-9)


def test_noisy_answers_keep_within_their_widths():
    y = torch.zeros(1, 1, 1)
    normal = torch.ones(1, 1, 1000, 1)
    uniform = torch.rand(1, 1, 1000, 1, generator=generator(4))
    low, high = torch.tensor(0.1).reshape(1, 1, 1, 1), torch.tensor(10.0).reshape(1, 1, 1, 1)
    widths = noisy_answers(y, normal, uniform, (low, high)).flatten()
    assert 0.1 <= float(widths.min()) < float(widths.max()) <= 10.0
    assert abs(float(widths.log10().mean())) < 0.1


def test_descent_finds_the_minimum_whatever_the_energy_scale():
    start = torch.rand(1, 50, 1, 2, generator=generator(5)) * 6 - 3
    lengths = torch.tensor([1.5, 1.0, 0.5, 0.2, 0.1, 0.05] * 3).reshape(-1, 1, 1, 1, 1)
    for scale in (1e-3, 1.0, 1e3):

        class Bowl(torch.nn.Module):
            num_replicates = 1
            factor = scale

            def forward(self, x, y):
                return self.factor * (y - 0.5).square().sum(-1)

        found = descended(Bowl(), torch.zeros(1, 50, 1, 0), start, lengths, (-3.0, 3.0))
        assert (found - 0.5).norm(dim=-1).max() < 0.25
        assert not found.requires_grad
