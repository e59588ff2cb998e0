"""Latent variables: minimised exactly, free energies between mean and minimum, collapse where z is not limited."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from gaussian import gaussian
from statistical import standard_errors
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.descent.angle import nearest_angle
from ebm_vs_prob.descent.latent import infer_latent, latent_nodes
from ebm_vs_prob.ebm.latents.free_energy import FreeEnergy, JoinedEnergy
from ebm_vs_prob.ebm.methods.latent_free_energy import _Split
from ebm_vs_prob.ebm.methods.sparse_coding import SparseCodingEnergy
from ebm_vs_prob.energies.decoders import AngleDecoder, MLPDecoder
from ebm_vs_prob.energies.mlp import Network, ReplicatedMLP
from ebm_vs_prob.models.building import replicated
from ebm_vs_prob.tasks.geometry.ellipses import distance

INF = float("inf")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ellipse(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """|y - (2 cos z, 1.5 sin z)|², the energy of the NYU course's ellipse (Canziani 2020, practicum 15)."""
    return (y[..., 0] - 2 * torch.cos(z[..., 0])).square() + (y[..., 1] - 1.5 * torch.sin(z[..., 0])).square()


def test_infer_latent_finds_the_nearest_point_of_an_ellipse():
    angle = torch.rand(50, dtype=torch.float64, generator=generator()) * 2 * math.pi
    on = torch.stack([2 * angle.cos(), 1.5 * angle.sin()], -1)
    normal = nn.functional.normalize(torch.stack([1.5 * angle.cos(), 2 * angle.sin()], -1), dim=-1)
    y = on + 0.3 * normal
    found = infer_latent(ellipse, torch.empty(50, 0), y, latent_nodes(48, 1, (0.0, 2 * math.pi)), (-1.0, 7.5))
    assert found.converged.all()
    torch.testing.assert_close(found.free_energy, torch.full((50,), 0.09, dtype=torch.float64), atol=1e-6, rtol=0)
    gap = (found.z[:, 0] - angle + math.pi).remainder(2 * math.pi) - math.pi
    assert gap.abs().max() < 1e-3


def test_infer_latent_of_replicates_and_its_errors():
    y = torch.randn(2, 3, 2, dtype=torch.float64, generator=generator(1))
    nodes = latent_nodes(48, 1, (0.0, 6.3))
    together = infer_latent(ellipse, torch.empty(1, 3, 0), y, nodes, (0.0, 6.3))
    assert together.z.shape == (2, 3, 1)
    alone = infer_latent(ellipse, torch.empty(3, 0), y[1], nodes, (0.0, 6.3))
    torch.testing.assert_close(together.free_energy[1], alone.free_energy)
    with pytest.raises(ValueError, match=r"starts\.shape"):
        infer_latent(ellipse, torch.empty(3, 0), y[0], torch.zeros(3), (0.0, 6.3))
    with pytest.raises(ValueError, match="bounds"):
        infer_latent(ellipse, torch.empty(3, 0), y[0], nodes, (1.0, 1.0))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_nodes_fill_the_box_evenly(dim):
    nodes = latent_nodes(64, dim, (-1.0, 3.0))
    assert nodes.shape == (64, dim)
    assert nodes.min() > -1.0
    assert nodes.max() < 3.0
    torch.testing.assert_close(nodes.mean(0), torch.ones(dim, dtype=torch.float64), atol=0.05, rtol=0)


def decoder(replicates: int = 2, x_dim: int = 1) -> MLPDecoder:
    return MLPDecoder(
        range(replicates), x_dim, 2, 1, Network(hidden=(8,)), torch.tensor([0.0, 0.5])[:replicates]
    ).double()


def test_free_energy_falls_from_the_mean_to_the_minimum_with_beta():
    x, y = (torch.randn(2, 5, d, dtype=torch.float64, generator=generator(d)) for d in (1, 2))
    energy, nodes = decoder(), latent_nodes(64, 1, (-3.0, 3.0))
    values = []
    for beta in (1e-6, 1.0, 30.0, 1e6, INF):
        free = FreeEnergy(energy, nodes, torch.full((2,), beta, dtype=torch.float64), (-3.0, 3.0))
        values.append(free(x, y))
    energies = free.energies(x, y)
    torch.testing.assert_close(values[0], energies.mean(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(values[-2], energies.amin(-1), atol=1e-4, rtol=0)
    assert all((after <= before + 1e-12).all() for before, after in itertools.pairwise(values))


def test_refined_minimum_is_below_every_node_and_its_gradient_is_the_envelopes():
    x, y = (torch.randn(2, 5, d, dtype=torch.float64, generator=generator(d + 2)) for d in (1, 2))
    bounds, beta = (-3.0, 3.0), torch.full((2,), INF, dtype=torch.float64)
    coarse, fine = (latent_nodes(count, 1, bounds) for count in (64, 4096))
    refined = FreeEnergy(decoder(), coarse, beta, bounds, refine=200)
    point = y.clone().requires_grad_()
    value = refined(x, point)
    dense = FreeEnergy(decoder(), fine, beta, bounds)(x, y)
    assert (value <= dense + 1e-9).all()
    torch.testing.assert_close(value, dense, atol=1e-3, rtol=0)  # no node lies on the box's faces, where minima may
    (gradient,) = torch.autograd.grad(value.sum(), point)
    step = 1e-3 * torch.eye(2, dtype=torch.float64)
    for k in range(2):
        slope = (refined(x, y + step[k]) - refined(x, y - step[k])) / 2e-3
        torch.testing.assert_close(gradient[..., k], slope, atol=1e-3, rtol=0)


class Line(nn.Module):
    """E = |y - A z|² with A learned: nothing but the dimension of z keeps it from explaining every y."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.map = nn.Parameter(0.5 * torch.eye(2, dim) + 0.1)

    def forward(self, x, y, z):
        return (y - z @ self.map.T).square().sum(-1)


class Axes(nn.Module):
    """E = Σ (y_i - w_i g_i(z))², g = (cos, sin), w learned: the practicum's ellipse as a user would write it."""

    def __init__(self, task) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))

    def forward(self, x, y, z):
        return (y[..., 0] - self.w[0] * z[..., 0].cos()).square() + (y[..., 1] - self.w[1] * z[..., 0].sin()).square()


ELLIPSE = {"learning_rate": 0.05, "dtype": torch.float64, "budget": evp.Budget(steps=400, batch_size=24, examples=240)}


def angle_fit(beta: float, thickness: tuple[float, ...], **options) -> evp.Model:
    """One replicate for each thickness, all of one seed."""
    tasks = [evp.get_task("ellipse", thickness=each) for each in thickness]
    seeds = [0] * len(tasks)
    return evp.fit("latent_free_energy", tasks, seeds=seeds, decoder="angle", beta=beta, **ELLIPSE, **options)


def test_the_ellipse_is_recovered_at_zero_temperature_and_biased_at_one():
    """Axes to 1e-3 at ε = 1e-4 for F_inf, and no steeper gradients as ε falls; F_1 shrinks the axes.

    F_1 of the published energy |y - g|² is beta = 2 of ours, half of it; (1.78, 1.36) in the course's own 24 points.
    """
    true = torch.tensor([2.0, 1.5], dtype=torch.float64)
    coldest = angle_fit(INF, (0.05, 1e-4), nodes=16, refine=5)
    torch.testing.assert_close(coldest.module.energy.axes[1].abs(), true, atol=1e-3, rtol=0)
    steepest = coldest.training.traces["gradient_norm"].amax(1)
    assert float(steepest[1]) == pytest.approx(float(steepest[0]), rel=0.2)
    biased = angle_fit(2.0, (0.05, 1e-4), nodes=64).module.energy.axes.abs()
    expected = torch.tensor([1.78, 1.36], dtype=torch.float64).expand(2, -1)
    torch.testing.assert_close(biased, expected, atol=0.07, rtol=0)


def test_a_users_energy_with_an_angle_learns_the_same_axes():
    task = evp.get_task("ellipse", thickness=1e-3)
    options = {"nodes": 256, "low": -math.pi, "high": math.pi}
    own = evp.fit("latent_free_energy", task, energy=Axes, **{**ELLIPSE, "budget": evp.Budget(steps=150)}, **options)
    torch.testing.assert_close(
        next(own.module.parameters())[0].abs(), torch.tensor([2.0, 1.5], dtype=torch.float64), atol=5e-3, rtol=0
    )
    with pytest.raises(ValueError, match="decoder"):
        evp.fit("latent_free_energy", task, energy=Axes, decoder="angle", budget=evp.Budget(steps=1))
    with pytest.raises(ValueError, match="decode"):
        own.decoded(torch.empty(1, 0))


def test_an_angle_is_found_by_newtons_method_round_the_turn():
    decoder = AngleDecoder([0, 1], 0, Network()).double()
    decoder.axes.data = torch.tensor([[2.0, 1.5], [-1.2, 2.0]], dtype=torch.float64)
    y = 4 * torch.randn(2, 400, 2, dtype=torch.float64, generator=generator(11))
    y[:, 0] = torch.tensor([-9.0, 1e-6])  # its foot lies where the turn closes
    x = torch.empty(1, 400, 0, dtype=torch.float64)
    bounds, beta = (-math.pi, math.pi), torch.full((2,), INF, dtype=torch.float64)
    free = FreeEnergy(decoder, latent_nodes(48, 1, bounds), beta, bounds, refine=8)
    found = free.infer_latent(x, y, evp.Search(max_steps=30, tolerance=1e-6))
    axes = decoder.axes.detach().abs()
    exact = torch.stack([distance(axes[r], y[r]) for r in range(2)])
    torch.testing.assert_close(found.free_energy, 0.5 * exact**2, atol=1e-12, rtol=1e-12)
    assert found.converged.all()
    assert (found.z.abs() <= math.pi).all()
    torch.testing.assert_close(decoder.decode(x, found.z).sub(y).norm(dim=-1), exact)
    energy, gradient = free.energy_and_gradient(x, y)
    point = y.clone().requires_grad_()
    value = free(x, point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    torch.testing.assert_close(energy, value)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("options", [{"latent_dim": 2}, {"latent_l1": 0.1}])
def test_an_angle_has_one_dimension_and_no_length(options):
    with pytest.raises(ValueError, match="angle"):
        evp.fit("latent_free_energy", evp.get_task("ellipse"), decoder="angle", budget=evp.Budget(steps=1), **options)
    with pytest.raises(ValueError, match="two numbers"):
        evp.fit("latent_free_energy", evp.get_task("three_curves"), decoder="angle", budget=evp.Budget(steps=1))


ANGLE_BOUNDS = (-math.pi, math.pi)


def ellipses(axes: list[list[float]]) -> AngleDecoder:
    decoder = AngleDecoder(range(len(axes)), 0, Network()).double()
    decoder.axes.data = torch.tensor(axes, dtype=torch.float64)
    return decoder


def test_a_converged_angle_stays_while_the_others_search():
    """Where a point ends depends on it alone, to the last bit, however long the points beside it take."""
    y = 2 * torch.randn(1, 60, 2, dtype=torch.float64, generator=generator(12))
    nodes, search = latent_nodes(6, 1, ANGLE_BOUNDS), evp.Search(max_steps=60, tolerance=1e-2)
    decoder, x = ellipses([[2.0, 1.5]]), torch.empty(1, 60, 0)
    together = nearest_angle(decoder, x, y, nodes, search)
    assert together.converged.all()
    for i in range(60):
        alone = nearest_angle(decoder, x[:, :1], y[:, i : i + 1], nodes, search)
        assert torch.equal(alone.z[:, 0], together.z[:, i])


@pytest.mark.parametrize("bad", [float("nan"), INF, 1e200])
def test_an_energy_that_is_not_finite_is_returned_as_it_is(bad):
    """Not as a finite number, nor as found: of an angle by Newton's method, of any energy by descent."""
    y = torch.tensor([[[1.0, 1.0], [bad, 0.5]]], dtype=torch.float64)
    x, nodes = torch.empty(1, 2, 0, dtype=torch.float64), latent_nodes(16, 1, ANGLE_BOUNDS)
    decoder = ellipses([[2.0, 1.5]])
    beta = torch.full((1,), INF, dtype=torch.float64)
    for energy in (decoder, MLPDecoder([0], 0, 2, 1, Network(hidden=(4,)), torch.zeros(1)).double()):
        found = FreeEnergy(energy, nodes, beta, ANGLE_BOUNDS).infer_latent(x, y)
        assert found.free_energy.isfinite().tolist() == found.converged.tolist() == [[True, False]]
        assert found.free_energy[0, 1].isnan() == math.isnan(bad)


def test_a_start_without_a_number_is_never_the_best():
    def energy(x, y, z):
        return torch.where(z[..., 0] < 0, torch.where(z[..., 0] < -1, torch.nan, INF), (y - z).square().sum(-1))

    starts = torch.tensor([[-1.5], [-0.5], [3.0]], dtype=torch.float64)
    found = infer_latent(energy, torch.empty(1, 0), torch.full((1, 1), 2.0, dtype=torch.float64), starts, (-2.0, 4.0))
    assert float(found.z) == pytest.approx(2.0, abs=1e-3)
    assert found.converged.all()


@pytest.mark.parametrize("own", [False, True])
def test_a_minimum_is_refined_beside_a_finite_beta(own):
    """Each replicate has the free energy, and its gradient, of a module where all have its beta."""
    x, y = (
        torch.empty(1, 30, 0, dtype=torch.float64),
        torch.randn(2, 30, 2, dtype=torch.float64, generator=generator(3)),
    )
    energy = ellipses([[2.0, 1.5], [1.0, 1.2]])
    if own:
        energy = JoinedEnergy(
            replicated(lambda task: _Split(Axes(task), 2), [None] * 2, [0, 1], widths=(0, 3))
        ).double()
    nodes = latent_nodes(7, 1, ANGLE_BOUNDS)

    def free(*beta: float) -> FreeEnergy:
        return FreeEnergy(energy, nodes, torch.tensor(beta, dtype=torch.float64), ANGLE_BOUNDS, refine=20)

    mixed, both = free(INF, 2.0), (free(INF, INF), free(2.0, 2.0))
    point = y.clone().requires_grad_()
    found = mixed(x, point)
    (slope,) = torch.autograd.grad(found.sum(), point)
    value, gradient = mixed.energy_and_gradient(x, y)
    for r, alone in enumerate(both):
        torch.testing.assert_close(found[r], alone(x, y)[r])
        expected = alone.energy_and_gradient(x, y)
        torch.testing.assert_close(value[r], expected[0][r])
        torch.testing.assert_close(gradient[r], expected[1][r])
    torch.testing.assert_close(gradient, slope)
    assert (found[0] < FreeEnergy(energy, nodes, mixed.beta, ANGLE_BOUNDS)(x, y)[0]).all()


@pytest.mark.parametrize("options", [{}, {"decoder": "angle", "refine": 3}])
def test_a_replicate_trains_beside_others_noise_as_it_would_alone(options):
    task, budget = evp.get_task("ellipse"), evp.Budget(steps=20, batch_size=8, examples=40)
    given = {"nodes": 8, "budget": budget, "dtype": torch.float64, **options}
    company = evp.fit("latent_free_energy", task, seeds=[0, 1], latent_noise=[0.0, 0.3], **given)
    for r, noise in enumerate([0.0, 0.3]):
        alone = evp.fit("latent_free_energy", task, seeds=[r], latent_noise=noise, **given)
        torch.testing.assert_close(company.training.loss[r], alone.training.loss[0])
        assert company.cost[r].multiply_adds == alone.cost[0].multiply_adds


def test_a_replicate_of_finite_beta_trains_beside_noise_as_it_would_alone():
    task, budget = evp.get_task("ellipse"), evp.Budget(steps=20, batch_size=8, examples=40)
    given = {"nodes": 8, "budget": budget, "dtype": torch.float64}
    betas, noises = [2.0, INF], [0.0, 0.3]
    company = evp.fit("latent_free_energy", task, seeds=[0, 1], beta=betas, latent_noise=noises, **given)
    for r in range(2):
        alone = evp.fit("latent_free_energy", task, seeds=[r], beta=betas[r], latent_noise=noises[r], **given)
        torch.testing.assert_close(company.training.loss[r], alone.training.loss[0])


def test_noise_is_on_the_best_node_where_nothing_refines_it():
    """One step at a noise of 1e-9: the loss is that of no noise, which a step of descent from the node would lower."""
    task, budget = evp.get_task("ellipse"), evp.Budget(steps=1, batch_size=8, examples=40)
    loss, noisy = (
        evp.fit(
            "latent_free_energy", task, nodes=4, latent_noise=noise, budget=budget, dtype=torch.float64
        ).training.loss
        for noise in (0.0, 1e-9)
    )
    torch.testing.assert_close(noisy, loss)


def test_points_that_share_an_x_have_its_nodes_decoded_once(monkeypatch):
    task = evp.get_task("three_curves", thickness=0.1)
    budget = evp.Budget(steps=1, batch_size=8, examples=8)
    model = evp.fit("latent_free_energy", task, seeds=[0, 1], network=evp.Network(hidden=(8,)), budget=budget, nodes=16)
    module, decoded = model.module, []
    decode = type(module.energy).decode
    monkeypatch.setattr(
        type(module.energy), "decode", lambda self, *given: decoded.append(decode(self, *given)) or decoded[-1]
    )
    x, y = task.sample(3)[0].float()[None, :, None], torch.randn(2, 3, 50, task.y_space.dim, generator=generator())
    z = module.minimiser(x, y)
    assert decoded[0].shape[:-1] == (2, 3, 1, 16)
    assert torch.equal(z, module.minimiser(x.expand(2, 3, 50, -1), y))


def test_steps_on_z_are_counted_where_they_are_taken():
    nodes, counted = latent_nodes(10, 1, ANGLE_BOUNDS), []
    for beta in (INF, 2.0):
        free = FreeEnergy(ellipses([[2.0, 1.5]]), nodes, torch.tensor([beta]), ANGLE_BOUNDS, refine=5)
        counted.append(free.multiply_adds / free.energy.multiply_adds)
    assert counted == [25.0, 10.0]
    with pytest.raises(ValueError, match=r"beta = .inf. with refine > 0"):
        evp.fit("latent_free_energy", evp.get_task("ellipse"), beta=2.0, refine=1, budget=evp.Budget(steps=1))


def test_bad_points_of_the_public_search_are_named():
    nodes, y, x = latent_nodes(8, 1, (0.0, 6.3)), torch.ones(2, 2), torch.empty(2, 0)
    for field, given in {
        "x.shape": (torch.empty(3, 0), y, nodes),
        "x": (torch.full((2, 1), torch.nan), y, nodes),
        "y": (x, torch.tensor([[1.0, INF], [0.0, 0.0]]), nodes),
        "y.shape": (x, torch.ones(2), nodes),
        "starts": (x, y, torch.tensor([[0.1], [torch.nan]])),
    }.items():
        with pytest.raises(ValueError, match=rf"^{field} = .* is not valid: expected"):
            evp.infer_latent(ellipse, *given, (0.0, 6.3))


REGULARISERS = {
    "gradient_penalty": 1.0,
    "energy_magnitude": 0.1,
    "weight_decay": 0.1,
    "spectral_penalty": 0.1,
}


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("latent_free_energy", {}),
        ("latent_free_energy", {"refine": 3}),
        ("latent_free_energy", {"beta": 5.0}),
        ("latent_clustering", {}),
        ("sparse_coding", {"iterations": 5, "l1": 2.0}),  # where no entry of z is used, for its slope is l1 elsewhere
    ],
)
def test_regularisers_compose_with_latent_objectives(method, options):
    """Each alone, and all together, adds to the loss of the first step and changes what is learned."""
    task, budget = evp.get_task("three_curves"), evp.Budget(steps=2, batch_size=8, examples=40)
    plain = evp.fit(method, task, budget=budget, **options)
    for chosen in [{name: weight} for name, weight in REGULARISERS.items()] + [REGULARISERS]:
        model = evp.fit(method, task, budget=budget, **options, **chosen)
        assert model.status[0].ok
        assert model.training.loss[0, 0] > plain.training.loss[0, 0]
        assert not torch.equal(model.energy(*task.sample(8)), plain.energy(*task.sample(8)))


@pytest.mark.parametrize(("dim", "collapsed"), [(1, False), pytest.param(2, True, marks=pytest.mark.slow)])
def test_a_latent_of_the_dimension_of_y_collapses(dim, collapsed):
    """The energy is quadratic in z: from any node a few steps find its minimum."""
    model = evp.fit(
        "latent_free_energy", gaussian(2), energy=lambda task: Line(dim), budget=evp.Budget(steps=50, batch_size=16),
        latent_dim=dim, nodes=64, low=-8.0, high=8.0, refine=10,
    )  # fmt: skip
    y = 2 * torch.randn(200, 2, generator=generator(5))
    energy = model.energy(torch.empty(200, 0), y)
    assert bool(energy.mean() < 1e-2) == collapsed


def test_noise_on_z_limits_what_it_explains():
    losses = [
        evp.fit("latent_free_energy", evp.get_task("circle"), budget=evp.Budget(steps=150), latent_noise=noise)
        .training.loss[0, -20:]
        .mean()
        for noise in (0.0, 1.0)
    ]
    assert losses[1] > 2 * losses[0]


def test_two_clusters_on_a_normal_are_the_lloyd_max_points():
    """k-means with K = 2 on N(0, 1): ±sqrt(2/π), distortion 1 - 2/π (Max 1960)."""
    model = evp.fit(
        "latent_clustering", gaussian(1), seeds=[0, 1], clusters=2, learning_rate=0.02,
        budget=evp.Budget(steps=1500, batch_size=256, examples=20000),
    )  # fmt: skip
    places = model.module.places(torch.empty(2, 1, 0)).flatten(1).sort(1).values
    expected = math.sqrt(2 / math.pi) * torch.tensor([[-1.0, 1.0]]).expand(2, -1)
    # Means of 10,000 half-normals of variance 1 - 2/π, and .02 of the stochastic steps at the end.
    reach = standard_errors(comparisons=5) * math.sqrt((1 - 2 / math.pi) / 10_000) + 0.02
    torch.testing.assert_close(places, expected, atol=reach, rtol=0)
    # A squared distance from its place has a standard deviation below 1; two fits have 40,000 examples.
    reach = standard_errors(comparisons=5) / math.sqrt(40_000) + 0.005
    assert 2 * float(model.training.loss[:, -200:].mean()) == pytest.approx(1 - 2 / math.pi, abs=reach)
    answers = model.infer_latent(torch.empty(4, 0), torch.tensor([[-2.0], [-0.1], [0.1], [2.0]]))
    assert (answers.z[:, 0] == answers.z[:, 1]).all()
    assert (answers.z[:, 0] != answers.z[:, 3]).all()


def test_more_clusters_than_examples_are_refused():
    with pytest.raises(ValueError, match=r"clusters = 50.*budget.examples = 20"):
        evp.fit("latent_clustering", gaussian(1), clusters=50, budget=evp.Budget(steps=1, examples=20))


def sparse(l1: float, atoms: int = 3, iterations: int = 400) -> SparseCodingEnergy:
    dictionary = torch.randn(1, 2, atoms, dtype=torch.float64, generator=generator(7))
    head = ReplicatedMLP([0], (0, 4, 2)).double()
    return SparseCodingEnergy(head, dictionary, torch.tensor([l1], dtype=torch.float64), iterations).double()


def test_fista_meets_the_optimality_conditions_of_the_lasso():
    """At the minimiser Dᵀ(r - D z) = l1 sign(z) where z != 0 and within ±l1 elsewhere (Tibshirani 1996)."""
    energy = sparse(0.3)
    r = torch.randn(1, 40, 2, dtype=torch.float64, generator=generator(8))
    z = energy.code(r)
    pull = torch.bmm(r - torch.bmm(z, energy.columns().mT), energy.columns())
    assert (pull.abs() <= 0.3 + 1e-6).all()
    active = z != 0
    torch.testing.assert_close(pull[active], 0.3 * z[active].sign(), atol=1e-6, rtol=0)
    assert 0 < int(active.sum()) < active.numel()
    assert energy.infer_latent(torch.empty(1, 40, 0), r).converged.all()


def test_without_its_cost_a_sparse_code_explains_every_y():
    y = torch.randn(1, 40, 2, dtype=torch.float64, generator=generator(9))
    x = torch.empty(1, 40, 0)
    assert sparse(0.0)(x, y).max() < 1e-6
    assert sparse(0.3)(x, y).mean() > 0.1


def test_the_gradient_of_sparse_coding_is_the_misfit():
    """The envelope theorem: dF/dy = y - c - D z*."""
    energy = sparse(0.3)
    y = torch.randn(1, 40, 2, dtype=torch.float64, generator=generator(10)).requires_grad_()
    x = torch.empty(1, 40, 0)
    (gradient,) = torch.autograd.grad(energy(x, y).sum(), y)
    residual = energy.residual(x, y)
    expected = residual - torch.bmm(energy.code(residual), energy.columns().mT)
    torch.testing.assert_close(gradient, expected.detach(), atol=1e-5, rtol=0)


def test_sparse_coding_recovers_the_axes_of_its_data():
    """Data on two skew lines through the origin: with two atoms, the columns are the lines' directions up to sign."""

    class Cross(type(gaussian(2))):
        name, dim = "cross", 2

        def _draw(self, n, rng, split):
            import numpy as np

            lines = np.array([[1.0, 0.0], [0.6, 0.8]])
            y = rng.standard_normal((n, 1)) * 2 * lines[rng.integers(2, size=n)]
            return np.zeros((n, 0)), y, np.zeros((n, 0))

    model = evp.fit(
        "sparse_coding", Cross(), seeds=[0, 1, 2], atoms=2, l1=0.05, learning_rate=0.02,
        budget=evp.Budget(steps=300, batch_size=64),
    )  # fmt: skip
    lines = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    match = torch.einsum("rdk,ld->rkl", model.module.columns(), lines).abs()
    best = torch.maximum(match[:, 0, 0] + match[:, 1, 1], match[:, 0, 1] + match[:, 1, 0]) / 2
    assert float(best.median()) > 0.99


@pytest.mark.parametrize("method", ["latent_free_energy", "latent_clustering", "sparse_coding"])
@pytest.mark.parametrize("task", ["circle", "three_curves", "digits"])
def test_answers_come_with_their_latent(method, task):
    model = evp.fit(method, evp.get_task(task), seeds=[0, 1], budget=evp.Budget(steps=3, batch_size=8, examples=40))
    x, y = model.tasks[0].sample(4, split="test")
    answers = model.infer(x, n_starts=2, search=evp.Search(max_steps=5))
    assert answers.z.shape[:3] == (2, 4, 2)
    again = model.infer_latent(x, y)
    assert again.z.shape[:2] == (2, 4)
    assert (again.free_energy <= model.energy(x, y).double() + 1e-4).all()


def of_joint(model, x, found):
    """E(x, y, z) of answers (R, n, starts, ...) by the method's own formula, written out."""
    module, x = model.module, x.to(model.setting.dtype).expand(model.num_replicates, -1, -1).unsqueeze(2)
    if model.method.name == "latent_clustering":
        places = module.places(x).expand(*found.y.shape[:-1], -1, -1)
        own = places.gather(-2, found.z[..., None, None].expand(*found.z.shape, 1, found.y.shape[-1])).squeeze(-2)
        return 0.5 * (found.y - own).square().sum(-1)
    if model.method.name == "sparse_coding":
        code = torch.einsum("rdk,rnsk->rnsd", module.columns(), found.z)
        misfit = found.y - module.head(x) - code
        return 0.5 * misfit.square().sum(-1) + module.l1.reshape(-1, 1, 1) * found.z.abs().sum(-1)
    misfit = found.y - module.energy.decode(x, found.z)
    return 0.5 * misfit.square().sum(-1) + module.energy.latent_cost(found.z)


@pytest.mark.parametrize("rule", ["line_search", "lbfgs"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("latent_free_energy", {}),
        ("latent_free_energy", {"decoder": "angle"}),
        ("latent_free_energy", {"beta": 2.0}),
        ("latent_clustering", {}),
        ("sparse_coding", {"atoms": 4}),
    ],
    ids=str,
)
def test_joint_answers_minimise_over_y_and_z_at_once(method, options, rule):
    """All three energies are ½ |y - g(x, z)|² and a cost of z that is 0 somewhere: their least value is 0."""
    task = evp.get_task("circle" if "decoder" in options else "three_curves")
    budget = evp.Budget(steps=20, batch_size=16, examples=40)
    model = evp.fit(method, task, seeds=[0, 1], budget=budget, dtype=torch.float64, **options)
    x, _ = task.sample(3, split="test")
    found = model.infer(x, n_starts=4, search=evp.Search(rule, max_steps=400, tolerance=1e-7), jointly=True)
    assert found.z.shape[:3] == found.energy.shape == (2, 3, 4)
    torch.testing.assert_close(found.energy, of_joint(model, x, found), atol=1e-9, rtol=0)
    # Where the box holds g it can be reached; sparse coding has to give up its z for that, by ever smaller steps.
    assert found.energy.median() < (1e-3 if method == "sparse_coding" else 1e-9)
    assert found.converged.double().mean() > 0.8
    start = model.infer(x, n_starts=4, search=evp.Search(rule, max_steps=1), jointly=True)
    torch.testing.assert_close(start.energy, of_joint(model, x, start), atol=1e-9, rtol=0)
    assert (found.energy <= start.energy + 1e-12).all()
    if "decoder" in options:
        assert found.z.abs().max() <= math.pi


@pytest.mark.parametrize(("option", "message"), [({"low": 3.0}, "low < high"), ({"nodes": 1}, "nodes = 1")])
def test_bad_latent_options(option, message):
    with pytest.raises(ValueError, match=message):
        evp.fit("latent_free_energy", evp.get_task("circle"), budget=evp.Budget(steps=1), **option)


@pytest.mark.parametrize(
    ("method", "options"),
    [("latent_free_energy", {"refine": 0}), ("latent_variable_likelihood", {}), ("latent_free_energy", {"beta": 2.0})],
    ids=str,
)
def test_twice_the_nodes_are_twice_the_work(method, options):
    """Decodings of an example grow with the nodes, and each costs what it costs: not once more for each."""
    task, budget = evp.get_task("circle", thickness=0.1), evp.Budget(steps=3, batch_size=8, examples=20)
    few, many = (
        evp.fit(method, task, budget=budget, nodes=nodes, **options).training.cost[0].multiply_adds
        for nodes in (64, 128)
    )
    assert many / few == pytest.approx(2.0, rel=0.05)
