"""Descent against energies whose minima, basins and stability limits are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ebm_vs_prob.descent import descend

BOUNDS = (-3.0, 3.0)


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


def starts(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (6 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 3).to(dtype)


@pytest.mark.parametrize("rule", ["line_search", "fixed", "scaled"])
def test_finds_the_minimum_of_a_bowl(rule):
    x = starts(1, 5, 1, 2, seed=1)
    size = None if rule == "line_search" else 0.3
    found = descend(Quadratic([1.0, 2.0]), x, starts(1, 5, 7, 2), BOUNDS, rule, size, tolerance=1e-9)
    assert found.y.shape == (2, 5, 7, 2)
    assert found.energy.shape == found.steps.shape == found.converged.shape == (2, 5, 7)
    torch.testing.assert_close(found.y, x.expand(2, 5, 7, 2), atol=1e-7, rtol=0)
    assert found.converged.all()
    assert (found.steps > 0).all()


def test_the_energy_returned_is_that_of_the_answer():
    module = Ring([0.3, 0.1])
    for rule, size in (("line_search", None), ("fixed", 0.001)):
        found = descend(module, torch.zeros(1, 1, 1, 0), starts(1, 4, 3, 2), BOUNDS, rule, size, max_steps=7)
        torch.testing.assert_close(found.energy, module(torch.zeros(1, 1, 1, 0), found.y))


def test_minimum_outside_the_box_ends_on_its_face():
    found = descend(Quadratic([1.0]), torch.full((1, 1, 1), 9.0), starts(1, 6, 1), BOUNDS)
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
        "fixed",
        step,
        tolerance=tolerance,
    )
    rate = 1 - step * curvature
    steps = math.floor(math.log(tolerance / (step * curvature * y0)) / math.log(rate)) + 2
    assert found.steps.item() == steps
    assert found.y.item() == pytest.approx(y0 * rate**steps, rel=1e-9)


def test_a_fixed_step_beyond_the_stability_limit_does_not_converge():
    # Gradient descent on curvature c is stable below step 2 / c and only there.
    steps = torch.tensor([1.9, 2.1])
    found = descend(
        Quadratic([1.0]), torch.zeros(1, 1, 1), torch.full((1, 2, 1), 1e-2), BOUNDS, "fixed", steps, max_steps=400
    )
    assert found.converged.tolist() == [[True, False]]
    assert found.steps[0, 1] == 400


@pytest.mark.parametrize("max_steps", [9, 10, 20, 21])
def test_a_point_that_bounces_between_two_walls_ends_where_the_last_step_puts_it(max_steps):
    # On curvature 1 a step of 5 multiplies y by -4, so that the walls at ±3 stop it from the third step on.
    found = descend(
        Quadratic([1.0]), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.1), BOUNDS, "fixed", 5.0, max_steps=max_steps
    )
    assert found.y.item() == (3.0 if max_steps % 2 == 0 else -3.0)
    assert found.steps.item() == max_steps
    assert not found.converged.any()


def test_scaled_is_fixed_with_the_square_of_the_scale():
    module, y0, none = Ring([0.3, 0.1]), starts(1, 4, 2, 2), torch.zeros(1, 1, 1, 0)
    scaled = descend(module, none, y0, BOUNDS, "scaled", 0.5, scale=torch.tensor([0.3, 0.1]))
    for r, eps in enumerate((0.3, 0.1)):
        fixed = descend(module, none, y0, BOUNDS, "fixed", 0.5 * eps**2)
        torch.testing.assert_close(scaled.y[r], fixed.y[r])
        assert torch.equal(scaled.steps[r], fixed.steps[r])


def test_a_grid_of_steps_in_one_call_equals_one_call_a_step():
    module, y0, none = Ring([0.3, 0.1]), starts(1, 4, 3, 2), torch.zeros(1, 1, 1, 0)
    grid = torch.tensor([0.001, 0.003, 0.01, 0.5])
    together = descend(module, none.unsqueeze(2), y0.unsqueeze(2), BOUNDS, "fixed", grid.unsqueeze(1), max_steps=60)
    assert together.y.shape == (2, 4, 4, 3, 2)
    for k, size in enumerate(grid.tolist()):
        alone = descend(module, none, y0, BOUNDS, "fixed", size, max_steps=60)
        torch.testing.assert_close(together.y[:, :, k], alone.y)
        assert torch.equal(together.steps[:, :, k], alone.steps)
        assert torch.equal(together.converged[:, :, k], alone.converged)


@pytest.mark.parametrize("thickness", [0.3, 0.03, 0.003, 1e-4])
def test_line_search_reaches_a_ring_of_any_thickness(thickness):
    found = descend(Ring([thickness]), torch.zeros(1, 1, 0), starts(1, 40, 2), BOUNDS)
    assert found.converged.all()
    assert (found.y.norm(dim=-1) - 1).abs().max() < 1e-3
    assert found.steps.double().mean() < 30


def test_line_search_does_not_depend_on_the_scale_of_the_energy():
    y0, none = starts(1, 10, 2), torch.zeros(1, 1, 0)
    small, large = (descend(Ring([eps]), none, y0, BOUNDS, max_steps=5) for eps in (1e-3, 1e3))
    torch.testing.assert_close(small.y, large.y)


def test_a_replicate_alone_equals_the_same_replicate_in_company():
    y0, none = starts(1, 20, 2), torch.zeros(1, 1, 0)
    together = descend(Ring([0.3, 0.003, 0.05]), none, y0, BOUNDS)
    alone = descend(Ring([0.003]), none, y0, BOUNDS)
    torch.testing.assert_close(together.y[1:2], alone.y, rtol=0, atol=1e-9)
    assert torch.equal(together.steps[1:2], alone.steps)


@pytest.mark.parametrize(("rule", "size"), [("line_search", None), ("fixed", 0.05)])
def test_a_nan_replicate_leaves_the_others_as_they_were(rule, size):
    y0, none = starts(1, 20, 2), torch.zeros(1, 1, 0)
    sick = descend(Ring([0.3, math.nan, 0.2]), none, y0, BOUNDS, rule, size)
    well = descend(Ring([0.3, 0.2]), none, y0, BOUNDS, rule, size)
    torch.testing.assert_close(sick.y[[0, 2]], well.y)
    assert torch.equal(sick.converged[[0, 2]], well.converged)
    assert not sick.converged[1].any()
    assert sick.y[1].isfinite().all()


def test_a_flat_energy_converges_where_it_starts():
    y0 = starts(1, 5, 2)
    found = descend(Ring([math.inf]), torch.zeros(1, 1, 0), y0, BOUNDS)
    assert torch.equal(found.y, y0)
    assert found.converged.all()


def test_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    descend(Ring([0.1]), torch.zeros(1, 1, 0), starts(1, 5, 2), BOUNDS)
    assert torch.equal(before, torch.random.get_rng_state())


@settings(max_examples=30)
@given(
    st.sampled_from([(0.3,), (1.0, 0.05)]),
    st.integers(1, 60),
    st.sampled_from(["line_search", "fixed"]),
    st.integers(0, 10_000),
)
def test_line_search_never_climbs_and_no_point_leaves_the_box(thickness, max_steps, rule, seed):
    module, none, y0 = Ring(thickness), torch.zeros(1, 1, 0), starts(1, 9, 2, seed=seed)
    found = descend(module, none, y0, BOUNDS, rule, None if rule == "line_search" else 0.2, max_steps=max_steps)
    assert found.y.abs().max() <= 3.0
    assert found.steps.max() <= max_steps
    if rule == "line_search":
        assert (found.energy <= module(none, y0) + 1e-12).all()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"step_rule": "newton"}, "step_rule"),
        ({"step_rule": "fixed"}, "step_size"),
        ({"step_rule": "fixed", "step_size": -1.0}, "step_size"),
        ({"step_rule": "scaled", "step_size": math.nan}, "step_size"),
        ({"step_rule": "line_search", "step_size": 0.1}, "step_size"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 2.5}, "max_steps"),
        ({"tolerance": -1e-3}, "tolerance"),
    ],
)
def test_bad_input_names_the_field(options, field):
    with pytest.raises(ValueError, match=field):
        descend(Ring([0.1]), torch.zeros(1, 1, 0), starts(1, 5, 2), BOUNDS, **options)
