"""Quadrature on random energies of known ln Z: within three stated errors, or a warning."""

from __future__ import annotations

import math

import pytest
import torch
from random_energies import random_energies, verdict

import ebm_vs_prob as evp


@pytest.mark.parametrize(("low", "high"), [(1.99, 2.81), (1.995, 2.75), (-3.001, 0.5)])
def test_a_wall_between_the_outer_node_and_the_face_of_a_cell(low: float, high: float) -> None:
    density = evp.GibbsBoltzmann(lambda x, y: torch.where((y > low) & (y < high), 0.0, math.inf).double().sum(-1))
    value, error = density.log_partition()
    assert abs(float(value) - math.log(high - low)) <= 3 * float(error) < 1e-3
    assert density.warnings() == ()


@pytest.mark.parametrize("edge", [1.99, 1.999, -0.985])
def test_a_finite_step_between_the_outer_node_and_the_face_of_a_cell(edge: float) -> None:
    density = evp.GibbsBoltzmann(lambda x, y: torch.where(y > edge, 0.0, 3.0).double().sum(-1))
    value, error = density.log_partition()
    exact = math.log((8 - edge) + math.exp(-3.0) * (edge + 8))
    assert abs(float(value) - exact) <= 3 * float(error) < 1e-3
    assert density.warnings() == ()


@pytest.mark.parametrize("count", [80, pytest.param(532, marks=pytest.mark.long)])
def test_quadrature_is_within_three_stated_errors_or_warns(count: int) -> None:
    kinds = ("mixture", "wall", "step", "shell")
    said = [verdict(each) for each in random_energies(count, dims=(1, 2, 3)) if each.kind in kinds]
    silent = [(v.each.kind, v.each.dim, v.off, v.error) for v in said if v.silent]
    assert len(silent) <= 0.02 * len(said), silent
