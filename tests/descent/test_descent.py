"""Descent against energies whose minima, basins and stability limits are known."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, minimize
from statistical import counts_agree
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.descent.answers import FIXED_RULES, Search, StepRule
from ebm_vs_prob.descent.lbfgs import MEMORY
from ebm_vs_prob.descent.population import _resampled
from ebm_vs_prob.descent.search import descend

BOUNDS = (-3.0, 3.0)
#: Rules that find their own step.
OWN_STEP = ("line_search", "lbfgs", "derivative_free")


class Quadratic(nn.Module):
    """E = c_r |y - x|^2 / 2 with one curvature c_r a replicate."""

    def __init__(self, curvature):
        super().__init__()
        self.curvature = torch.as_tensor(curvature, dtype=torch.float64)
        self.num_replicates = len(self.curvature)

    def forward(self, x, y):
        energy = (y - x).square().sum(-1) / 2
        return self.curvature.reshape(-1, *[1] * (energy.ndim - 1)).to(y) * energy


class Ring(nn.Module):
    """E = (|y| - 1)^2 / (2 eps_r^2)."""

    def __init__(self, thickness):
        super().__init__()
        self.thickness = torch.as_tensor(thickness, dtype=torch.float64)
        self.num_replicates = len(self.thickness)

    def forward(self, x, y):
        energy = (y.norm(dim=-1) - 1).square() / 2
        return energy / self.thickness.reshape(-1, *[1] * (energy.ndim - 1)).to(y).square()


class Rosenbrock(nn.Module):
    """E = c_r (100 (y2 - y1^2)^2 + (1 - y1)^2): one minimum, at (1, 1), at the end of a bent valley."""

    def __init__(self, factors):
        super().__init__()
        self.factors = torch.as_tensor(factors, dtype=torch.float64)
        self.num_replicates = len(self.factors)

    def forward(self, x, y):
        energy = 100 * (y[..., 1] - y[..., 0].square()).square() + (1 - y[..., 0]).square()
        return self.factors.reshape(-1, *[1] * (energy.ndim - 1)).to(y) * energy


class LeastSquares(nn.Module):
    """E = |A y - b|^2 / 2."""

    num_replicates = 1

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x, y):
        return (y @ self.a.T - self.b).square().sum(-1) / 2


def starts(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (6 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 3).to(dtype)


@pytest.mark.parametrize("rule", ["line_search", "fixed", "scaled", "lbfgs", "derivative_free"])
def test_finds_the_minimum_of_a_bowl(rule):
    x = starts(1, 5, 1, 2, seed=1)
    size = None if rule in OWN_STEP else 0.3
    found = descend(Quadratic([1.0, 2.0]), x, starts(1, 5, 7, 2), BOUNDS, Search(rule, size, tolerance=1e-9))
    assert found.y.shape == (2, 5, 7, 2)
    assert found.energy.shape == found.steps.shape == found.converged.shape == (2, 5, 7)
    # A population feels the energy down to a temperature of 1 and then finds the best of its last members by luck.
    near = 0.1 if rule == "derivative_free" else 1e-7
    torch.testing.assert_close(found.y, x.expand(2, 5, 7, 2), atol=near, rtol=0)
    assert found.converged.all()
    assert (found.steps > 0).all()


def test_the_energy_returned_is_that_of_the_answer():
    module = Ring([0.3, 0.1])
    for rule, size in (("line_search", None), ("fixed", 0.001), ("lbfgs", None), ("derivative_free", None)):
        found = descend(module, torch.zeros(1, 1, 1, 0), starts(1, 4, 3, 2), BOUNDS, Search(rule, size, max_steps=7))
        torch.testing.assert_close(found.energy, module(torch.zeros(1, 1, 1, 0), found.y))


@pytest.mark.parametrize("rule", OWN_STEP)
def test_minimum_outside_the_box_ends_on_its_face(rule):
    found = descend(Quadratic([1.0]), torch.full((1, 1, 1), 9.0), starts(1, 6, 1), BOUNDS, Search(rule))
    torch.testing.assert_close(found.y, torch.full((1, 6, 1), 3.0, dtype=torch.float64))
    assert found.converged.all()


def test_a_fixed_step_takes_exactly_its_steps():
    # y_k = (1 - step * c)^k y_0, and the k-th move is step * c |y_{k-1}|.
    y0, step, curvature, tolerance = 2.0, 0.1, 1.5, 1e-3
    found = descend(
        Quadratic([curvature]),
        torch.zeros(1, 1, 1),
        torch.full((1, 1, 1), y0).double(),
        BOUNDS,
        Search("fixed", step, tolerance=tolerance),
    )
    rate = 1 - step * curvature
    steps = math.floor(math.log(tolerance / (step * curvature * y0)) / math.log(rate)) + 2
    assert found.steps.item() == steps
    assert found.y.item() == pytest.approx(y0 * rate**steps, rel=1e-9)


def test_a_fixed_step_beyond_the_stability_limit_does_not_converge():
    # Gradient descent on curvature c is stable below step 2 / c and only there.
    steps = torch.tensor([1.9, 2.1])
    found = descend(
        Quadratic([1.0]),
        torch.zeros(1, 1, 1),
        torch.full((1, 2, 1), 1e-2),
        BOUNDS,
        Search("fixed", steps, 400),
    )
    assert found.converged.tolist() == [[True, False]]
    assert found.steps[0, 1] == 400


@pytest.mark.parametrize("max_steps", [9, 10, 20, 21])
def test_a_point_that_bounces_between_two_walls_ends_where_the_last_step_puts_it(max_steps):
    # On curvature 1 a step of 5 multiplies y by -4, so that the walls at ±3 stop it from the third step on.
    found = descend(
        Quadratic([1.0]),
        torch.zeros(1, 1, 1),
        torch.full((1, 1, 1), 0.1),
        BOUNDS,
        Search("fixed", 5.0, max_steps),
    )
    assert found.y.item() == (3.0 if max_steps % 2 == 0 else -3.0)
    assert found.steps.item() == max_steps
    assert not found.converged.any()


def test_scaled_is_fixed_with_the_square_of_the_scale():
    module, y0, none = Ring([0.3, 0.1]), starts(1, 4, 2, 2), torch.zeros(1, 1, 1, 0)
    scaled = descend(module, none, y0, BOUNDS, Search("scaled", 0.5), scale=torch.tensor([0.3, 0.1]))
    for r, eps in enumerate((0.3, 0.1)):
        fixed = descend(module, none, y0, BOUNDS, Search("fixed", 0.5 * eps**2))
        torch.testing.assert_close(scaled.y[r], fixed.y[r])
        assert torch.equal(scaled.steps[r], fixed.steps[r])


def test_a_grid_of_steps_in_one_call_equals_one_call_a_step():
    module, y0, none = Ring([0.3, 0.1]), starts(1, 4, 3, 2), torch.zeros(1, 1, 1, 0)
    grid = torch.tensor([0.001, 0.003, 0.01, 0.5])
    together = descend(module, none.unsqueeze(2), y0.unsqueeze(2), BOUNDS, Search("fixed", grid.unsqueeze(1), 60))
    assert together.y.shape == (2, 4, 4, 3, 2)
    for k, size in enumerate(grid.tolist()):
        alone = descend(module, none, y0, BOUNDS, Search("fixed", size, 60))
        torch.testing.assert_close(together.y[:, :, k], alone.y)
        assert torch.equal(together.steps[:, :, k], alone.steps)
        assert torch.equal(together.converged[:, :, k], alone.converged)


@pytest.mark.parametrize("rule", ["line_search", "lbfgs"])
@pytest.mark.parametrize("thickness", [0.3, 0.03, 0.003, 1e-4])
def test_a_ring_of_any_thickness_is_reached(thickness, rule):
    found = descend(Ring([thickness]), torch.zeros(1, 1, 0), starts(1, 40, 2), BOUNDS, Search(rule))
    assert found.converged.all()
    assert (found.y.norm(dim=-1) - 1).abs().max() < 1e-3
    assert found.steps.double().mean() < 30


@pytest.mark.parametrize("rule", ["line_search", "lbfgs"])
def test_a_search_does_not_depend_on_the_scale_of_the_energy(rule):
    y0, none = starts(1, 10, 2), torch.zeros(1, 1, 0)
    small, large = (descend(Ring([eps]), none, y0, BOUNDS, Search(rule, max_steps=5)) for eps in (1e-3, 1e3))
    torch.testing.assert_close(small.y, large.y)


def test_lbfgs_follows_a_bent_valley_where_the_gradient_alone_crawls():
    none, y0 = torch.zeros(1, 1, 0), starts(1, 30, 2)
    found = descend(Rosenbrock([1.0, 1e-3]), none, y0, (-3.0, 5.0), Search("lbfgs", tolerance=1e-8))
    torch.testing.assert_close(found.y, torch.ones(2, 30, 2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert found.converged.all()
    assert found.steps.double().mean() < 60
    crawled = descend(Rosenbrock([1.0]), none, y0, (-3.0, 5.0), Search(tolerance=1e-8))
    assert (crawled.y - 1).norm(dim=-1).median() > 1e-3


def test_lbfgs_takes_no_more_steps_than_scipys_on_a_narrow_bowl():
    # Condition number 1e4 in 12 dimensions: steepest descent needs tens of thousands of steps.
    curvature, y0 = torch.logspace(-2, 2, 12, dtype=torch.float64), starts(1, 5, 12)
    bowl = LeastSquares(torch.diag(curvature.sqrt()), curvature.sqrt())
    found = descend(bowl, torch.zeros(1, 1, 0), y0, BOUNDS, Search("lbfgs", max_steps=1000, tolerance=1e-7))
    torch.testing.assert_close(found.y, torch.ones(1, 5, 12, dtype=torch.float64), atol=1e-3, rtol=0)
    assert found.converged.all()
    c = curvature.numpy()
    options = {"maxcor": MEMORY, "gtol": 1e-6, "ftol": 0.0}
    theirs = [
        minimize(lambda y: (c @ (y - 1) ** 2 / 2, c * (y - 1)), start, jac=True, method="L-BFGS-B", options=options).nit
        for start in y0[0].numpy()
    ]
    assert found.steps.double().mean() < 1.25 * np.mean(theirs)


@pytest.mark.parametrize("seed", range(5))
def test_lbfgs_solves_least_squares_in_a_box(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((9, 6), (9,)))
    low, high = -0.3 * torch.ones(6, dtype=torch.float64), torch.linspace(0.05, 0.5, 6, dtype=torch.float64)
    exact = torch.from_numpy(lsq_linear(a.numpy(), b.numpy(), (low.numpy(), high.numpy()), tol=1e-14).x)
    assert np.isin(exact.round(decimals=6), torch.cat([low, high]).round(decimals=6)).any()
    y0 = 0.05 * starts(1, 8, 6, seed=seed)
    found = descend(LeastSquares(a, b), torch.zeros(1, 1, 0), y0, (low, high), Search("lbfgs", tolerance=1e-10))
    torch.testing.assert_close(found.y, exact.expand(1, 8, 6), atol=1e-6, rtol=0)
    assert found.converged.all()


def test_a_population_finds_the_lower_of_two_wells_from_the_higher():
    class Wells(nn.Module):
        num_replicates = 1

        def forward(self, x, y):
            return 20 * torch.minimum((y[..., 0] - 2).square(), (y[..., 0] + 2).square() + 0.4)

    y0 = torch.full((1, 12, 1), -2.0, dtype=torch.float64)
    none = torch.zeros(1, 1, 0)
    assert (descend(Wells(), none, y0, BOUNDS).y < 0).all()
    assert (descend(Wells(), none, y0, BOUNDS, Search("derivative_free")).y - 2).abs().max() < 0.1


def test_a_population_stops_at_its_steps_or_once_its_noise_is_below_the_tolerance():
    y0, none = starts(1, 4, 2), torch.zeros(1, 1, 0)
    early, late = (
        descend(Ring([0.3]), none, y0, BOUNDS, Search("derivative_free", None, steps, 0.06)) for steps in (3, 50)
    )
    assert (early.steps == 3).all()
    assert not early.converged.any()
    # .165 · 6 = .99 falls below .06 at the fifth halving.
    assert (late.steps == 5).all()
    assert late.converged.all()
    again, other = (
        descend(Ring([0.3]), none, y0, BOUNDS, Search("derivative_free", None, 3, 0.06), seed=seed) for seed in (0, 1)
    )
    assert torch.equal(again.y, early.y)
    assert not torch.equal(other.y, early.y)


@pytest.mark.parametrize("rule", OWN_STEP)
def test_an_energy_of_minus_infinity_is_no_answer(rule):
    class Pit(nn.Module):
        num_replicates = 1

        def forward(self, x, y):
            return torch.where(y[..., 0] < 0, -math.inf, y[..., 0])

    y0 = starts(1, 12, 1).abs() + 0.1
    found = descend(Pit(), torch.zeros(1, 1, 0), y0, BOUNDS, Search(rule))
    assert (found.y >= 0).all()
    torch.testing.assert_close(found.energy, found.y[..., 0])
    assert found.energy.max() < 0.1


def test_resampling_follows_the_softmax_of_minus_the_energy():
    energies = torch.tensor([[[0.0, 1.0, math.inf, 2.0]]], dtype=torch.float64)
    uniform = torch.rand(1, 1, 40_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = _resampled(energies.expand(1, 1, 4), uniform)
    counts = chosen.flatten().bincount(minlength=4)
    assert int(counts[2]) == 0
    possible = torch.tensor([0, 1, 3])
    assert counts_agree(counts[possible], (-energies[0, 0, possible]).softmax(-1))  # sees a share off by .02


@pytest.mark.parametrize("rule", OWN_STEP)
def test_a_replicate_alone_equals_the_same_replicate_in_company(rule):
    y0, none = starts(1, 20, 2), torch.zeros(1, 1, 0)
    together = descend(Ring([0.3, 0.003, 0.05]), none, y0, BOUNDS, Search(rule))
    alone = descend(Ring([0.003]), none, y0, BOUNDS, Search(rule))
    torch.testing.assert_close(together.y[1:2], alone.y, rtol=0, atol=1e-9)
    assert torch.equal(together.steps[1:2], alone.steps)


@pytest.mark.parametrize(
    ("rule", "size"), [("line_search", None), ("fixed", 0.05), ("lbfgs", None), ("derivative_free", None)]
)
def test_a_nan_replicate_leaves_the_others_without_padding(rule, size):
    y0, none = starts(1, 20, 2), torch.zeros(1, 1, 0)
    sick = descend(Ring([0.3, math.nan, 0.2]), none, y0, BOUNDS, Search(rule, size))
    well = descend(Ring([0.3, 0.2]), none, y0, BOUNDS, Search(rule, size))
    torch.testing.assert_close(sick.y[[0, 2]], well.y)
    assert torch.equal(sick.converged[[0, 2]], well.converged)
    assert not sick.converged[1].any()
    assert sick.y[1].isfinite().all()


@pytest.mark.parametrize("rule", OWN_STEP)
def test_a_flat_energy_converges_where_it_starts(rule):
    y0 = starts(1, 5, 2)
    found = descend(Ring([math.inf]), torch.zeros(1, 1, 0), y0, BOUNDS, Search(rule))
    assert torch.equal(found.y, y0)
    assert found.converged.all()


def test_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    for rule in OWN_STEP:
        descend(Ring([0.1]), torch.zeros(1, 1, 0), starts(1, 5, 2), BOUNDS, Search(rule))
    assert torch.equal(before, torch.random.get_rng_state())


@settings(max_examples=30)
@given(
    st.sampled_from([(0.3,), (1.0, 0.05)]),
    st.integers(1, 60),
    st.sampled_from([*OWN_STEP, "fixed"]),
    st.integers(0, 10_000),
)
def test_searches_never_climb_and_no_point_leaves_the_box(thickness, max_steps, rule, seed):
    module, none, y0 = Ring(thickness), torch.zeros(1, 1, 0), starts(1, 9, 2, seed=seed)
    found = descend(module, none, y0, BOUNDS, Search(rule, None if rule in OWN_STEP else 0.2, max_steps))
    assert found.y.abs().max() <= 3.0
    assert found.steps.max() <= max_steps
    if rule in OWN_STEP:
        assert (found.energy <= module(none, y0) + 1e-12).all()


def test_a_model_answers_by_every_rule():
    task = evp.get_task("three_curves", thickness=0.1)
    model = evp.fit("denoising_score_matching", task, seeds=[0, 1], budget=evp.Budget(steps=60, examples=200))
    x, _ = task.sample(5, split="test")
    sizes = dict.fromkeys(FIXED_RULES, 0.01)
    answers = {rule: model.infer(x, 3, search=Search(rule, sizes.get(rule))) for rule in get_args(StepRule)}
    for found in answers.values():
        assert found.y.shape == (2, 5, 3, 1)
        torch.testing.assert_close(
            found.energy.flatten(1), model.energy(x.repeat_interleave(3, 0), found.y.flatten(1, 2))
        )
    # From anywhere a population finds what the other rules find from the best of their starts, in one dimension.
    best = answers["line_search"].energy.amin(-1, keepdim=True)
    assert (answers["derivative_free"].energy <= best + 1e-2).all()
    assert (answers["lbfgs"].energy <= model.infer(x, 3, search=Search(max_steps=1)).energy + 1e-5).all()
    other = model.infer(x, 3, seed=1, search=Search("derivative_free"))
    assert not torch.equal(other.y, answers["derivative_free"].y)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"step_rule": "newton"}, "step_rule"),
        ({"step_rule": "fixed"}, "step_size"),
        ({"step_rule": "fixed", "step_size": -1.0}, "step_size"),
        ({"step_rule": "scaled", "step_size": math.nan}, "step_size"),
        ({"step_rule": "line_search", "step_size": 0.1}, "step_size"),
        ({"step_rule": "lbfgs", "step_size": 0.1}, "step_size"),
        ({"step_rule": "derivative_free", "step_size": 0.1}, "step_size"),
        ({"step_rule": "fixed", "step_size": "wide"}, "step_size"),
        ({"step_rule": "fixed", "step_size": True}, "step_size"),
        ({"step_rule": "fixed", "step_size": torch.tensor([0.1, 0.0])}, "step_size"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 2.5}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"tolerance": -1e-3}, "tolerance"),
        ({"tolerance": math.inf}, "tolerance"),
        ({"tolerance": "small"}, "tolerance"),
    ],
)
def test_a_bad_search_names_the_field(settings, field):
    with pytest.raises(ValueError, match=rf"{field}\b.* valid"):
        Search(**settings)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"search": Search("derivative_free"), "bounds": (-3.0, math.inf)}, "bounds"),
        ({"bounds": (2.0, -2.0)}, "low < high"),
        ({"bounds": (torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 1.0]))}, "low < high"),
        ({"bounds": (math.nan, 1.0)}, "low < high"),
    ],
)
def test_bad_bounds_are_named(options, field):
    with pytest.raises(ValueError, match=field):
        descend(Ring([0.1]), torch.zeros(1, 1, 0), starts(1, 5, 2), **{"bounds": BOUNDS, **options})


BRIEF = evp.Budget(steps=20, batch_size=16, examples=40)


@pytest.mark.parametrize(
    ("method", "task", "options"),
    [
        ("latent_free_energy", "circle", {"decoder": "angle"}),
        ("latent_free_energy", "three_curves", {}),
        ("sparse_coding", "three_curves", {"atoms": 2}),
    ],
    ids=str,
)
def test_populations_of_answers_and_latents_find_the_least_energy(method, task, options):
    """The least of each energy is 0, and the energy returned is that of the (y, z) returned."""
    task = evp.get_task(task)
    model = evp.fit(method, task, seeds=[0, 1], budget=BRIEF, dtype=torch.float64, **options)
    x, _ = task.sample(3, split="test")
    settings = {"n_starts": 4, "search": Search("derivative_free"), "jointly": True}
    found = model.infer(x, **settings)
    assert found.converged.all()
    y0 = model.starts(3, 4, 0).flatten(1, 2)
    start = model.energy(x.repeat_interleave(4, 0), y0).reshape(2, 3, 4)
    assert (found.energy <= start + 1e-12).all()
    y, x_of = found.y, x.double().expand(2, -1, -1).unsqueeze(2)
    if method == "sparse_coding":
        misfit = y - model.module.head(x_of) - torch.einsum("rdk,rnsk->rnsd", model.module.columns(), found.z)
        cost = model.module.l1.reshape(-1, 1, 1) * found.z.abs().sum(-1)
    else:
        misfit = y - model.module.energy.decode(x_of, found.z)
        cost = model.module.energy.latent_cost(found.z)
    torch.testing.assert_close(found.energy, 0.5 * misfit.square().sum(-1) + cost, atol=1e-9, rtol=0)
    # A cost of |z|_1 that vanishes at one point only draws a population weakly.
    assert found.energy.median() < (0.5 * start.median() if method == "sparse_coding" else 1e-2)
    if "decoder" in options:
        assert found.z.abs().max() <= math.pi
    alone = evp.fit(method, task, seeds=[1], budget=BRIEF, dtype=torch.float64, **options).infer(x, **settings)
    torch.testing.assert_close(alone.energy[0], found.energy[1], atol=1e-6, rtol=0)


def test_populations_say_where_nothing_bounds_a_sparse_code():
    task = evp.get_task("circle")
    model = evp.fit("sparse_coding", task, budget=BRIEF, l1=0.0, atoms=2)
    x, _ = task.sample(2, split="test")
    assert model.infer(x, 2, jointly=True).z.shape == (1, 2, 2, 2)
    with pytest.raises(ValueError, match="step_rule = 'derivative_free'"):
        model.infer(x, 2, search=Search("derivative_free"), jointly=True)
