"""Partition functions say when not to trust them: `warnings()`, `NormalizerWarning`, notes; and Pareto smoothing."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ebm_vs_prob as evp
from ebm_vs_prob.comparison.draw_scores import scored_draws
from ebm_vs_prob.gibbs.normalizers import AnnealedImportanceSampling, ImportanceSampling, Quadrature
from ebm_vs_prob.gibbs.normalizers.pareto import pareto_k, pareto_smoothed
from ebm_vs_prob.gibbs.trust import doubts_asked_for
from ebm_vs_prob.tasks.geometry.spheres import RadialEnergy


def gaussian(scale: float, dim: int) -> torch.distributions.Distribution:
    return torch.distributions.Independent(torch.distributions.Normal(torch.zeros(dim).double(), scale), 1)


def quadratic(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 0.5 * y.square().sum(-1)


NARROW = ImportanceSampling(gaussian(0.25, 3), 1000)
UNTRUSTED: dict[str, tuple[dict[str, Any], str]] = {
    "importance": ({"y_dim": 3, "normalizer": NARROW}, "Pareto k above 0.7 in 1 of 1 densities"),
    "quadrature": (
        {"energy": RadialEnergy(0.003), "y_dim": 2, "normalizer": Quadrature(max_nodes=20_000)},
        "quadrature unresolved at its cap of nodes in 1 of 1 densities",
    ),
    "annealed": (
        {"energy": RadialEnergy(0.01), "y_dim": 8, "normalizer": AnnealedImportanceSampling(100, 5)},
        "fewer than 25 effective annealed chains in 1 of 1 densities",
    ),
    "not finite": ({"energy": lambda x, y: y.sum(-1) + math.nan}, "log Z is not finite in 1 of 1 densities"),
}


@pytest.mark.parametrize("case", UNTRUSTED)
def test_what_cannot_be_trusted_is_told_once_and_by_name(case: str) -> None:
    arguments, line = UNTRUSTED[case]
    density = evp.GibbsBoltzmann(**{"energy": quadratic, **arguments})
    y = torch.zeros(arguments.get("y_dim", 1), dtype=torch.float64)
    with pytest.warns(evp.NormalizerWarning) as caught:
        density.log_prob(y)
    assert line in [str(each.message) for each in caught]
    assert caught[0].filename == __file__
    assert line in density.warnings()
    assert all("\n" not in each for each in density.warnings())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.log_prob(y)
        density.expand((4,)).log_partition()
    with pytest.warns(evp.NormalizerWarning) as caught:
        evp.GibbsBoltzmann(**{"energy": quadratic, **arguments}).log_partition()
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"y_dim": 3},
        {"y_dim": 4, "normalizer": ImportanceSampling(gaussian(1.3, 4), 2000)},
        {"y_dim": 2, "normalizer": AnnealedImportanceSampling(200, 60)},
        {"space": evp.Labels(3), "energy": lambda x, y: y.double()},
        {"energy": lambda x, y: torch.zeros(y.shape[:-1]).double(), "normalizer": "importance"},
    ],
)
def test_what_can_be_trusted_is_silent(arguments: dict[str, Any]) -> None:
    density = evp.GibbsBoltzmann(**{"energy": quadratic, **arguments})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.log_partition()
        density.log_prob(density.sample((2,), seed=0))
    assert density.warnings() == ()


def test_doubts_are_of_the_elements_that_have_them() -> None:
    thickness = torch.tensor([0.3, 0.003], dtype=torch.float64)[:, None]

    def energy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (y.norm(dim=-1) - 1).square() / (2 * thickness**2)

    density = evp.GibbsBoltzmann(
        energy, y_dim=2, x=torch.zeros(2, 0), bounds=(-3.0, 3.0), normalizer=Quadrature(max_nodes=12_000)
    )
    assert density.expand((3, 2)).doubts()["quadrature unresolved at its cap of nodes"].tolist() == [[False, True]] * 3
    assert density.warnings() == ("quadrature unresolved at its cap of nodes in 1 of 2 densities",)


def test_training_on_given_draws_is_silent_and_evaluation_of_them_is_not() -> None:
    scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    samples = 0.25 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given_draws = ImportanceSampling(samples=samples, log_density=gaussian(0.25, 3).log_prob(samples))

    def density(normalizer: Any) -> evp.GibbsBoltzmann:
        return evp.GibbsBoltzmann(lambda x, y: scale.exp() * quadratic(x, y), y_dim=3, normalizer=normalizer)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density(given_draws).log_prob(torch.zeros(3)).backward()
        with torch.no_grad(), doubts_asked_for():
            density(given_draws).log_prob(torch.zeros(3))
    with torch.no_grad(), pytest.warns(evp.NormalizerWarning, match="Pareto k"):
        density(given_draws).log_prob(torch.zeros(3))
    with pytest.warns(evp.NormalizerWarning, match="Pareto k"):  # a proposal of one's own is no training loop's
        density(NARROW).log_prob(torch.zeros(3))


def test_a_failed_replicate_is_no_fault_of_the_partition_function() -> None:
    beta = torch.tensor([1.0, math.nan])
    density = evp.GibbsBoltzmann(quadratic, beta=beta, validate_args=False)
    assert density.warnings() == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert density.log_partition()[0].isnan().tolist() == [False, True]


def test_notes_of_an_evaluation_say_the_same_and_nothing_is_printed() -> None:
    task = evp.get_task("thin_sphere", thickness=0.003, ambient_dim=3)
    model = evp.fit("denoising_score_matching", task, [0, 1], gibbs_beta=1e5, budget=evp.Budget(steps=5, examples=50))
    with warnings.catch_warnings():
        warnings.simplefilter("error", evp.NormalizerWarning)
        table = evp.evaluate(model, task, evp.Evaluation(test_examples=32, samples=8, inputs=2, starts=2, max_steps=5))
    note = table.attrs["notes"]["gibbs_gap"]
    assert "Pareto k above 0.7 at 100% of the 1 inputs checked (replicate 0)" in note
    with pytest.warns(evp.NormalizerWarning, match="Pareto k above 0.7 in 2 of 2"):
        model.gibbs(task.sample(1)[0]).log_partition()


def test_what_is_doubted_of_scores_is_told_each_time_and_later_warnings_come_all_the_same() -> None:
    """A density that is kept and has warned, or was asked for its doubts, still has them."""
    task = evp.get_task("thin_sphere", thickness=0.003, ambient_dim=3)
    model = evp.fit("denoising_score_matching", task, [0, 1], gibbs_beta=1e5, budget=evp.Budget(steps=5, examples=50))
    x, y = task.sample(20, 0, "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error", evp.NormalizerWarning)
        for _ in range(2):
            assert scored_draws(model, x, y, None).warnings == ("Pareto k above 0.7 in 40 of 40 densities",)
        assert scored_draws(model, x, y, 1).warnings == ("Pareto k above 0.7 in 20 of 20 densities",)
    with pytest.warns(evp.NormalizerWarning, match="Pareto k above 0.7 in 2 of 2"):
        model.gibbs(x).log_prob(y.unsqueeze(0))
    assert scored_draws(model, x, y, None).warnings == ("Pareto k above 0.7 in 40 of 40 densities",)


# ---- Pareto smoothing ------------------------------------------------------------------------------------------------


def test_smoothing_is_arvizs_on_the_scale_that_was_given() -> None:
    from arviz import psislw

    log_weights = 2 * torch.randn(3, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smoothed, k = pareto_smoothed(log_weights + 100)
    expected, shapes = psislw(log_weights.clone().numpy())
    np.testing.assert_allclose(smoothed.log_softmax(-1), expected, atol=1e-9)
    np.testing.assert_allclose(k, shapes, atol=1e-12)
    below = log_weights < log_weights.quantile(0.7)
    torch.testing.assert_close(smoothed[below], (log_weights + 100)[below])


def test_smoothing_makes_heavy_tailed_estimates_less_scattered() -> None:
    """A proposal somewhat too narrow, 60 seeds: both the spread and the error of ln Z fall."""
    exact = 1.5 * math.log(2 * math.pi)
    found: dict[bool, list[float]] = {False: [], True: []}
    for smoothed, values in found.items():
        for seed in range(60):
            sampling = ImportanceSampling(gaussian(0.62, 3), 400, seed=seed, pareto_smoothed=smoothed)
            density = evp.GibbsBoltzmann(quadratic, y_dim=3, normalizer=sampling)
            with doubts_asked_for():
                values.append(float(density.log_partition()[0]) - exact)
    plain, smooth = np.array(found[False]), np.array(found[True])
    assert smooth.std() < 0.9 * plain.std()
    assert np.sqrt((smooth**2).mean()) < np.sqrt((plain**2).mean())


def test_smoothed_weights_serve_draws_and_effective_sample_size() -> None:
    plain, smoothed = (
        evp.GibbsBoltzmann(quadratic, y_dim=3, normalizer=ImportanceSampling(gaussian(0.5, 3), 500, pareto_smoothed=s))
        for s in (False, True)
    )
    assert float(smoothed.diagnostics["pareto_k"]) == float(plain.diagnostics["pareto_k"])
    assert float(smoothed.diagnostics["effective_sample_size"]) > float(plain.diagnostics["effective_sample_size"])
    with doubts_asked_for():
        assert float(smoothed.log_partition()[1]) < float(plain.log_partition()[1])
    assert smoothed.sample((20,), seed=0).shape == (20, 3)


def test_the_effective_sample_size_is_kongs() -> None:
    sampling = ImportanceSampling(gaussian(1.5, 1), 300)
    density = evp.GibbsBoltzmann(quadratic, normalizer=sampling)
    log_weights = density._memory.partition().log_weights()  # type: ignore[attr-defined]
    weights = log_weights.exp()
    expected = float(weights.sum() ** 2 / weights.square().sum())
    assert float(density.diagnostics["effective_sample_size"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("log_weights", "expected"),
    [
        (torch.zeros(100), -math.inf),  # equal weights: the estimate is exact
        (torch.cat([torch.full((60,), 3.0), torch.zeros(40)]), -math.inf),  # bounded, and the bound is common
        (torch.randn(10, generator=torch.Generator().manual_seed(0)), math.inf),  # too few to tell
        (torch.full((100,), -math.inf), math.nan),
        (torch.cat([torch.zeros(99), torch.tensor([math.nan])]), math.nan),
        (torch.cat([torch.zeros(99), torch.tensor([math.inf])]), math.nan),
    ],
)
def test_shapes_where_there_is_no_tail_to_fit(log_weights: torch.Tensor, expected: float) -> None:
    assert float(pareto_k(log_weights)) == pytest.approx(expected, nan_ok=True)
    torch.testing.assert_close(pareto_smoothed(log_weights)[0], log_weights.double(), equal_nan=True)


@given(st.integers(1, 3), st.integers(2, 60), st.integers(0, 2**31), st.floats(0.0, 50.0), st.floats(0, 1))
def test_any_weights_are_smoothed_or_left(rows: int, count: int, seed: int, scale: float, gone: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_weights = scale * torch.randn(rows, count, generator=generator, dtype=torch.float64)
    log_weights = log_weights.masked_fill(torch.rand(rows, count, generator=generator) < gone, -math.inf)
    smoothed, k = pareto_smoothed(log_weights)
    assert smoothed.shape == log_weights.shape
    assert k.shape == (rows,)
    assert not bool(smoothed.isnan().any())
    assert bool((smoothed.amax(-1) <= log_weights.amax(-1) + 1e-9).all())
    assert bool((k.isnan() == (log_weights == -math.inf).all(-1)).all())


def test_pareto_smoothed_must_be_a_truth_value() -> None:
    with pytest.raises(ValueError, match="pareto_smoothed = 1 "):
        ImportanceSampling(pareto_smoothed=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("normalizer", [Quadrature(), ImportanceSampling(gaussian(0.25, 2), 50)])
@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
def test_the_error_of_an_infinite_ln_z_is_infinite(normalizer):
    def nowhere(x, y):
        return torch.full(y.shape[:-1], math.inf, dtype=y.dtype)

    density = evp.GibbsBoltzmann(
        nowhere, space=evp.Box((-1.0, 1.0), 2), x=torch.zeros(1, 0).double(), normalizer=normalizer
    )
    log_z, error = density.log_partition()
    assert log_z.tolist() == [-math.inf]
    assert error.tolist() == [math.inf]
