"""The coefficient of ln beta: a half, a quarter at the cusps, of exact and of hand-made energies; and what has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation

LOOK = Evaluation(test_examples=16, inputs=2, samples=8)
NAMES = {"latent_coefficient", "latent_coefficient_cusp"}


def measured(model, task):
    table = evp.evaluate(model, task, LOOK, only=NAMES)
    return table.set_index(["metric", "replicate"])["value"], table.attrs["notes"]


def test_the_exact_latent_has_a_half_and_at_the_cusps_a_quarter():
    task = evp.get_task("ellipse", thickness=0.05)
    found, _ = measured(evp.fit("exact_latent", task), task)
    assert found["latent_coefficient", 0] == pytest.approx(0.5, abs=1e-3)
    assert found["latent_averaged_cold", 0] < 1e-3
    assert found["latent_averaged_hot", 0] > 0.98
    for name, beta in (("latent_coefficient_cusp", 1e3), ("latent_coefficient_cusp_cold", 1e4)):

        def energy(z):
            return 0.5 * ((0.875 - 2 * np.cos(z)) ** 2 + (1.5 * np.sin(z)) ** 2 - (2 - 0.875) ** 2)

        def weighed(z, power, beta=beta):
            return energy(z) ** power * np.exp(-beta * energy(z))

        parts = [2 * integrate.quad(weighed, 0, 1, (power,), epsabs=1e-14, limit=200)[0] for power in (1, 0)]
        assert found[name, 0] == pytest.approx(beta * parts[0] / parts[1], abs=1e-6)
        assert found[name, 0] == pytest.approx(0.25, abs=2e-3)


def test_the_coefficient_is_the_slope_of_the_free_energy_in_the_logarithm_of_beta():
    task = evp.get_task("horn", thickness=0.3)
    model = evp.fit("exact_latent", task)
    x, y = task.sample(16, split="test")
    z = torch.linspace(-torch.pi, torch.pi, 16385, dtype=torch.float64)[:-1].reshape(1, 1, -1, 1)
    energies = model.joint_energy(x[None, :, None], y[None, :, None], z) - model.energy(x, y).unsqueeze(-1)
    low, high = (beta * evp.free_energy(energies, beta, -1) for beta in (999.0, 1001.0))
    slope = (high - low) / np.log(1001 / 999)
    found, notes = measured(model, task)
    assert found["latent_coefficient", 0] == pytest.approx(float(slope.mean()), abs=1e-6)
    assert notes == {}


def test_cusps_are_where_half_the_squared_distance_grows_as_the_fourth_power():
    for name, x in (("ellipse", torch.empty(1, 0)), ("horn", torch.tensor([[0.0], [0.9], [0.5]], dtype=torch.float64))):
        reference, axes = evp.get_task(name).reference, evp.get_task(name).axes(x)
        for row, ends in zip(axes, reference.cusps(x), strict=True):
            longest = int(row.argmax())
            a, b = row.max(), row.min()
            t = torch.tensor([0.0, 1e-2], dtype=torch.float64)
            curve = torch.stack([a * t.cos(), b * t.sin()], -1)
            half = 0.5 * (curve - torch.stack([ends[0, longest].abs(), torch.zeros_like(a)])).square().sum(-1)
            grown = float((half[1] - half[0]) / t[1] ** 4)
            assert grown == pytest.approx(float(a**2 - b**2) / 8, rel=1e-3, abs=1e-3)
            torch.testing.assert_close(ends[1], -ends[0])
    torch.testing.assert_close(
        evp.get_task("ellipse").reference.cusps(torch.empty(1, 0))[0, 0], torch.tensor([0.875, 0.0]).double()
    )


@pytest.mark.parametrize("method", ["latent_free_energy", "latent_variable_likelihood"])
def test_learned_energies_have_it_and_those_of_more_dimensions_do_not(method):
    task, budget = evp.get_task("ellipse"), evp.Budget(steps=2, examples=32, batch_size=8)
    found, _ = measured(evp.fit(method, task, decoder="angle", dtype=torch.float64, budget=budget), task)
    assert found["latent_coefficient", 0] == pytest.approx(0.5, abs=0.02)
    found, notes = measured(evp.fit(method, task, latent_dim=2, nodes=16, budget=budget), task)
    assert np.isnan(found["latent_coefficient", 0])
    assert "several dimensions" in notes["latent_coefficient"]


def test_models_without_a_latent_and_tasks_without_an_evolute_say_so():
    task = evp.get_task("circle")
    _, notes = measured(evp.fit("exact", task), task)
    assert "no energy of a latent" in notes["latent_coefficient"]
    assert "evolute" in notes["latent_coefficient_cusp"]
