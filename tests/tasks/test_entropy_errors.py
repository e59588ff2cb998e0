"""Entropies state what they may be off by: the truth, where it is known otherwise, is no further away than that."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import entr, ive
from statistical import within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.quadrature import LEFT_OUT, refined

#: Rounding of the truth that an entropy is held against.
ROUNDING = 1e-12


def on_the_circle(eps: float, kappa: float) -> float:
    """h of the blurred von Mises circle: evenly spaced angles and Gauss-Legendre radii, far more than are needed."""
    node, weight = np.polynomial.legendre.leggauss(600)
    low, high = max(0.0, 1 - 14 * eps), 1 + 14 * eps
    radius = (low + (high - low) * (node + 1) / 2)[:, None]
    angle = np.arange(4096)[None] * (2 * np.pi / 4096)
    length = np.hypot(kappa + radius * np.cos(angle) / eps**2, radius * np.sin(angle) / eps**2)
    log_p = np.log(ive(0, length)) + length - (radius**2 + 1) / (2 * eps**2)
    log_p -= math.log(2 * np.pi * eps**2 * ive(0, kappa)) + kappa
    mass = weight[:, None] * (high - low) / 2 * radius * (2 * np.pi / 4096)
    return -float((mass * np.exp(log_p) * log_p).sum())


def on_the_sphere(eps: float) -> float:
    """h of the blurred sphere in R^3, whose density is (2π ε²)^(-3/2) exp(-(r² + 1) / 2ε²) sinh(r / ε²) ε² / r."""

    def log_p(r: float) -> float:
        scaled = math.log1p(-math.exp(-2 * r / eps**2)) - math.log(2 * r / eps**2)
        return -((r - 1) ** 2) / (2 * eps**2) + scaled - 1.5 * math.log(2 * math.pi * eps**2)

    def integrand(r: float) -> float:
        return -4 * math.pi * r**2 * math.exp(log_p(r)) * log_p(r)

    return float(quad(integrand, max(1e-9, 1 - 14 * eps), 1 + 14 * eps, epsabs=1e-13, epsrel=1e-13, limit=500)[0])


def gaussian(eps: float) -> float:
    return math.log(eps) + 0.5 * math.log(2 * math.pi * math.e)


def of_shares(*shares: float) -> float:
    return float(entr(np.array(shares)).sum())


KNOWN = [
    *(("circle", {"thickness": e, "concentration": k}, on_the_circle(e, k)) for e in (0.05, 0.5) for k in (0.0, 2.0)),
    ("circle", {"thickness": 0.3, "ambient_dim": 4}, on_the_circle(0.3, 1.0) + 2 * gaussian(0.3)),
    *(("thin_sphere", {"thickness": e}, on_the_sphere(e)) for e in (0.02, 0.3)),
    ("thin_sphere", {"thickness": 0.2, "ambient_dim": 2}, on_the_circle(0.2, 0.0)),
    *(
        (
            "manifold",
            {"shape": "sphere", "manifold_dim": 1, "thickness": 0.2, "concentration": k},
            on_the_circle(0.2, k),
        )
        for k in (0.0, 3.0)
    ),
    ("manifold", {"shape": "sphere", "thickness": 0.1, "concentration": 0.0}, on_the_sphere(0.1)),
    ("ellipse", {"thickness": 0.2, "semi_major": 1.0, "semi_minor": 1.0}, on_the_circle(0.2, 0.0)),
    # Branches so far apart that which one y is of is all that noise leaves out.
    ("three_curves", {"thickness": 0.005}, of_shares(0.5, 0.3, 0.2) + gaussian(0.005)),
    ("three_modes", {"thickness": 0.02}, of_shares(0.5, 0.3, 0.2) + 2 * gaussian(0.02)),
    ("discontinuous", {"shape": "hyperbola", "thickness": 0.005, "upper": 0.8}, of_shares(0.8, 0.2) + gaussian(0.005)),
    ("steering", {"answer": "continuous", "thickness": 0.005}, of_shares(0.8, 0.2) + gaussian(0.005)),
    ("newsvendor", {"demand": "contaminated", "thickness": 0.01}, of_shares(0.9, 0.1) + gaussian(0.01)),
    ("gaussian_classes", {"thickness": 0.03}, 0.0),
    ("fusion", {"thickness": 0.03}, 0.0),
]
CLOSED = [
    ("linear_gaussian", {"thickness": 0.1, "latent_dim": 2, "ambient_dim": 4}),
    ("manifold", {"shape": "linear", "thickness": 0.1}),
    ("discontinuous", {"thickness": 0.1}),
    ("newsvendor", {}),
    ("particle", {"thickness": 0.1}),
    ("hard_strings", {"kind": "parity"}),
    ("translation", {"length": 5}),
]
#: Tasks of which no entropy is exactly known at their defaults, and of which no density is.
NO_ENTROPY, NO_DENSITY = ("hard_strings", "labelled_chain", "segmentation", "super_resolution"), ("digits",)
#: Tasks whose entropy, or whose log-density at a few pairs, takes seconds.
DEAR = ("horn", "manifold", "super_resolution", "video")


@pytest.mark.parametrize(("name", "options", "truth"), KNOWN)
def test_the_error_covers_what_the_entropy_is_off_by(name, options, truth):
    found = evp.get_task(name, **options).reference.entropy()
    assert abs(found - truth) <= found.error + ROUNDING * max(1.0, abs(truth)), (found, found.error, truth)
    assert 0 < found.error <= 2e-8


@pytest.mark.parametrize(("name", "options"), CLOSED)
def test_a_closed_form_is_off_by_nothing(name, options):
    found = evp.get_task(name, **options).reference.entropy()
    assert isinstance(found, evp.Approximate)
    assert found.error == 0.0


def test_the_closed_form_of_a_gaussian_is_that_of_torch():
    task = evp.get_task("linear_gaussian", thickness=0.1, latent_dim=2, ambient_dim=4)
    covariance = torch.from_numpy(task.weight @ task.weight.T + 0.01 * np.eye(4))
    expected = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=torch.float64), covariance).entropy()
    assert task.reference.entropy() == pytest.approx(float(expected), rel=1e-12)


def test_the_error_of_a_quadrature_is_its_last_step_and_what_it_is_made_of():
    found = refined(lambda nodes: 1.0 + 1.0 / nodes, start=1024, tolerance=1e-3, of_integrand=1e-5)
    assert found.error == pytest.approx(1 / 2048 + 1e-5 + LEFT_OUT)
    assert abs(found - 1.0) <= found.error
    nested = refined(lambda nodes: evp.Approximate(2.0, 1e-7), start=4)
    assert nested.error == pytest.approx(1e-7 + LEFT_OUT)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("circle", {"thickness": 0.1}),
        ("linear_gaussian", {"thickness": 0.1, "input_dim": 1}),
        ("gaussian_classes", {}),
        ("translation", {"length": 5}),
    ],
)
def test_a_mean_over_pairs_is_off_by_its_standard_error(name, options):
    reference = evp.get_task(name, **options).reference
    found = reference.sampled_entropy(2000, seed=1)
    assert within_standard_errors(found, reference.entropy(), found.error, comparisons=4)
    assert 0 < found.error < 0.1
    assert found != reference.sampled_entropy(2000, seed=2)
    with pytest.raises(ValueError, match=r"num_samples = 1 is not valid: expected an integer >= 2"):
        reference.sampled_entropy(1)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(task.name, marks=pytest.mark.slow if task.name in DEAR else ())
        for task in evp.list_tasks()
        if task.has_truth and task.__module__.startswith("ebm_vs_prob.")
    ],
)
def test_every_task_states_an_error_or_why_it_has_no_entropy(name):
    reference = evp.get_task(name).reference
    if name in NO_ENTROPY:
        with pytest.raises(NoExactReference, match="sampled_entropy"):
            reference.entropy()
        found = reference.sampled_entropy(4)
        assert math.isfinite(found)
        assert found.error > 0
    elif name in NO_DENSITY:
        for ask in (reference.entropy, reference.sampled_entropy):
            with pytest.raises(NoExactReference, match="whose density nobody knows"):
                ask()
    else:
        found = reference.entropy()
        assert isinstance(found, evp.Approximate)
        assert math.isfinite(found)
        assert 0 <= found.error < 1e-5
