"""The kernel density of the training data: neighbours, bandwidths, and proposals whose stated density is theirs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from statistical import follows, share_agrees, within_standard_errors

from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.core.spaces import Box
from ebm_vs_prob.models.data_kernel import UNIFORM_SHARE, WIDTHS, DataKernel

BOX = Box((-3.0, 3.0), 2)


def generator(*axes: str | int) -> torch.Generator:
    return torch_generator(0, "test", *axes)


def normals(*shape: int, axis: str = "y") -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(axis))


def noise(replicates: int, queries: int, draws: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    normal = torch.randn(replicates, queries, draws, dim, dtype=torch.float64, generator=generator("normal"))
    uniform = torch.rand(replicates, queries, draws, 2 + dim, dtype=torch.float64, generator=generator("uniform"))
    return normal, uniform


def test_centers_are_the_answers_of_the_nearest_inputs() -> None:
    x, y = normals(2, 40, 3, axis="x"), normals(2, 40, 2)
    query = normals(2, 5, 3, axis="query")
    centers = DataKernel(x, y, BOX).centers(query, 6)
    assert centers.shape == (2, 5, 6, 2)
    for r in range(2):
        for n in range(5):
            order = np.argsort(np.linalg.norm((x[r] - query[r, n]).numpy(), axis=1))[:6]
            np.testing.assert_allclose(centers[r, n].numpy(), y[r].numpy()[order])


@pytest.mark.parametrize("leave_out", [False, True])
@pytest.mark.parametrize("dim", [1, 3])
def test_a_tree_and_blocks_of_distances_find_the_same_neighbours(
    monkeypatch: pytest.MonkeyPatch, dim: int, leave_out: bool
) -> None:
    kernel = DataKernel(normals(2, 90, dim, axis="x"), normals(2, 90, 2), BOX)
    query = kernel.x[:, :70] if leave_out else normals(2, 70, dim, axis="query")
    at_once = kernel.centers(query, 6, leave_out)
    monkeypatch.setattr("ebm_vs_prob.models.data_kernel.HELD", 7 * 2 * 90)
    torch.testing.assert_close(kernel.centers(query, 6, leave_out), at_once, rtol=0, atol=0)
    monkeypatch.setattr("ebm_vs_prob.models.data_kernel.MANY", 1)
    torch.testing.assert_close(kernel.centers(query, 6, leave_out), at_once, rtol=0, atol=0)


def test_of_equal_inputs_none_is_its_own_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebm_vs_prob.models.data_kernel.MANY", 1)
    y = torch.arange(40.0, dtype=torch.float64).reshape(1, 40, 1)
    centers = DataKernel(torch.zeros(1, 40, 1, dtype=torch.float64), y, BOX).centers(torch.zeros(1, 40, 1), 3, True)
    assert centers.shape == (1, 40, 3, 1)
    assert not bool((centers == y.unsqueeze(2)).any())
    assert all(len(row.unique()) == 3 for row in centers[0])


def test_without_x_one_set_of_centers_serves_all() -> None:
    y = normals(2, 40, 2)
    centers = DataKernel(torch.zeros(2, 40, 0), y, BOX, num_centers=8).centers(torch.zeros(2, 7, 0))
    assert centers.shape == (2, 1, 8, 2)
    assert bool((centers.unsqueeze(3) == y[:, None, None]).all(-1).any(-1).all())
    assert len(centers[0, 0].unique(dim=0)) == 8


def test_binary_inputs_with_ties_find_their_own_kind() -> None:
    x = (torch.rand(1, 200, 4, generator=generator("x")) > 0.5).double()
    y = x @ torch.tensor([1.0, 2.0, 4.0, 8.0]).double().reshape(4, 1)
    centers = DataKernel(x, y, Box((-1.0, 20.0), 1), num_centers=4).centers(x[:, :10])
    torch.testing.assert_close(centers, y[:, :10, None].expand(1, 10, 4, 1))


@pytest.mark.parametrize("conditional", [False, True])
def test_the_bandwidth_is_the_scale_of_the_data(conditional: bool) -> None:
    """Ten times thinner data get a bandwidth about ten times smaller, each replicate its own."""
    scale = torch.tensor([0.3, 0.03], dtype=torch.float64).reshape(2, 1, 1)
    x = normals(1, 400, 1, axis="x").expand(2, -1, -1) if conditional else torch.zeros(2, 400, 0)
    y = scale * normals(1, 400, 2).expand(2, -1, -1)
    bandwidth = DataKernel(x, y, BOX).bandwidth
    assert bandwidth.shape == (2,)
    assert 0.02 < float(bandwidth[0]) < 0.3
    assert float(bandwidth[0] / bandwidth[1]) == pytest.approx(10, rel=0.3)


def test_the_default_widths_are_multiples_of_the_bandwidth() -> None:
    kernel = DataKernel(torch.zeros(2, 300, 0), normals(2, 300, 2), BOX)
    torch.testing.assert_close(kernel.widths, kernel.bandwidth[:, None] * torch.tensor(WIDTHS).double())


def test_the_stated_density_integrates_to_one() -> None:
    """Its kernels lie well inside the box, so nothing leaves it."""
    kernel = DataKernel(torch.zeros(1, 50, 0), 0.5 * normals(1, 50, 2).clamp(-2, 2), BOX)
    centers, widths = kernel.centers(torch.zeros(1, 1, 0), 3), torch.tensor([[0.2, 0.5]], dtype=torch.float64)

    axis = torch.linspace(-3, 3, 401, dtype=torch.float64)
    density = kernel.log_density(torch.cartesian_prod(axis, axis)[None, None], centers, widths).exp()
    integral = torch.trapezoid(torch.trapezoid(density.reshape(401, 401), axis), axis)
    assert float(integral) == pytest.approx(1.0, abs=2e-3)


def test_proposals_have_the_density_they_state() -> None:
    """E_q[p / q] = 1 for a normalised p, for each replicate's own widths; of 40,000 draws, to a few hundredths."""
    x, y = torch.zeros(2, 60, 0), 0.5 * normals(2, 60, 2)
    kernel = DataKernel(x, y, BOX)
    centers = kernel.centers(torch.zeros(2, 1, 0), 5)
    widths = torch.tensor([[0.1, 0.4], [0.3, 0.6]], dtype=torch.float64)
    samples, log_density = kernel.propose(centers, widths, *noise(2, 1, 40_000, 2))
    assert samples.shape == (2, 1, 40_000, 2)
    assert log_density.shape == (2, 1, 40_000)
    for r, c in ((0, 0), (1, 3)):
        target = torch.distributions.Normal(centers[r, 0, c], 0.3).log_prob(samples[r, 0]).sum(-1)
        ratio = (target - log_density[r, 0]).exp().numpy()
        assert within_standard_errors(ratio.mean(), 1.0, ratio.std() / math.sqrt(len(ratio)), comparisons=2)
        assert ratio.std() / math.sqrt(len(ratio)) < 0.02


def test_components_have_their_shares() -> None:
    centers = torch.tensor([[-2.0, 0.0], [2.0, 0.0]], dtype=torch.float64).reshape(1, 1, 2, 2)
    kernel = DataKernel(torch.zeros(1, 50, 0), normals(1, 50, 2), BOX)
    samples, _ = kernel.propose(centers, torch.tensor([[0.01, 0.1]]).double(), *noise(1, 1, 40_000, 2))
    distance = (samples[0, 0, :, None] - centers[0, 0]).norm(dim=-1)
    # Half of a centre's draws have the narrow width: within 3 of its deviations lie 98.9 % of them, and few others.
    disc, inner = math.pi * 0.36 / 36, math.pi * 0.03**2 / 36
    one = (1 - UNIFORM_SHARE) / 2 + UNIFORM_SHARE * disc
    core = (1 - UNIFORM_SHARE) * (stats.chi2.cdf(9, 2) + stats.chi2.cdf(0.09, 2)) / 2 + 2 * UNIFORM_SHARE * inner
    counts = [(distance.amin(1) > 0.6).sum(), *(distance < 0.6).sum(0), (distance < 0.03).sum()]
    shares = [UNIFORM_SHARE * (1 - 2 * disc), one, one, core]
    assert share_agrees(torch.stack(counts), 40_000, shares)  # a share off by .015 is seen


def test_the_uniform_part_covers_the_box() -> None:
    centers = torch.full((1, 1, 1, 2), 2.9, dtype=torch.float64)
    kernel = DataKernel(torch.zeros(1, 50, 0), normals(1, 50, 2), BOX)
    samples, _ = kernel.propose(centers, torch.tensor([[1e-3]]).double(), *noise(1, 1, 60_000, 2))
    flat = samples[0, 0][(samples[0, 0] < 2.8).all(-1)]
    for column in flat.T:
        assert follows(column, stats.uniform(-3, 5.8).cdf, comparisons=2)


def test_a_draw_outside_the_box_gets_no_weight() -> None:
    centers = torch.full((1, 1, 1, 2), 2.99, dtype=torch.float64)
    kernel = DataKernel(torch.zeros(1, 50, 0), normals(1, 50, 2), BOX)
    samples, log_density = kernel.propose(centers, torch.tensor([[0.5]]).double(), *noise(1, 1, 1000, 2))
    outside = (samples.abs() > 3).any(-1)
    assert bool(outside.any())
    assert bool((log_density[outside] == math.inf).all())
    assert bool(log_density[~outside].isfinite().all())


def test_draws_depend_on_the_replicates_own_seed_alone() -> None:
    x, y = normals(3, 80, 1, axis="x"), normals(3, 80, 2)
    query = normals(3, 4, 1, axis="query")
    together = DataKernel(x, y, BOX).draw(query, 10, seeds=[5, 6, 7])
    alone = DataKernel(x[1:2], y[1:2], BOX).draw(query[1:2], 10, seeds=[6])
    for all_, one in zip(together, alone, strict=True):
        torch.testing.assert_close(all_[1:2], one)
    assert together[0].shape == (3, 4, 10, 2)
    assert not torch.equal(together[0], DataKernel(x, y, BOX).draw(query, 10, seeds=[5, 6, 8])[0])


def test_images_do_not_overflow_in_single_precision() -> None:
    box = Box((-0.5, 1.5), 64)
    x = (torch.rand(2, 100, 16, generator=generator("x")) > 0.5).float()
    y = torch.rand(2, 100, 64, generator=generator("y"))
    kernel = DataKernel(x, y, box)
    samples, log_density = kernel.draw(x[:, :3], 20, seeds=[0, 1])
    assert samples.dtype == log_density.dtype == torch.float32
    inside = ((samples >= -0.5) & (samples <= 1.5)).all(-1)
    assert bool(log_density[inside].isfinite().all())
