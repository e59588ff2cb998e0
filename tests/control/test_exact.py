"""The exact model: the task's own law behind the Model interface."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from statistical import counts_agree, follows

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference, NotNormalised


def pairs(task, n=20, seed=3):
    return task.sample(n, seed=seed)


@pytest.mark.parametrize("name", ["circle", "three_curves"])
def test_is_the_reference_of_each_replicates_own_task(name):
    tasks = [evp.get_task(name, thickness=eps) for eps in (0.3, 0.01, 0.3)]
    model = evp.fit("exact", tasks, seeds=[0, 1, 2], dtype=torch.float32)
    x, y = pairs(tasks[0])
    expected = torch.stack([task.reference.log_prob(x, y) for task in tasks])
    assert model.log_prob(x, y).dtype == torch.float64
    torch.testing.assert_close(model.log_prob(x, y), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.energy(x, y), -expected, rtol=0, atol=1e-12)


def test_inputs_of_its_own_for_each_replicate():
    tasks = [evp.get_task("three_curves", thickness=eps) for eps in (0.3, 0.1, 0.3)]
    model = evp.fit("exact", tasks, seeds=[0, 1, 2])
    x, y = (torch.stack(part) for part in zip(*(pairs(task, seed=k) for k, task in enumerate(tasks)), strict=True))
    expected = torch.stack([task.reference.log_prob(x[r], y[r]) for r, task in enumerate(tasks)])
    torch.testing.assert_close(model.log_prob(x, y), expected, rtol=0, atol=1e-12)


def test_the_density_as_potential():
    task = evp.get_task("circle", thickness=0.3)
    x, y = pairs(task)
    model = evp.fit("exact", task, potential="density")
    torch.testing.assert_close(model.energy(x, y)[0], -task.reference.log_prob(x, y).exp())
    assert not model.normalised
    with pytest.raises(NotNormalised, match="log_density"):
        model.log_prob(x, y)
    assert model.sample(x[:1], 3).shape == (1, 1, 3, 2)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("circle", {"concentration": 1.0}),
        ("circle", {"ambient_dim": 4, "rotation": 1}),
        ("three_curves", {}),
        ("video", {}),
        ("three_modes", {"ambient_dim": 5, "bridge": 0.2}),
        ("three_modes", {"shape": "circles"}),
    ],
)
def test_the_mean_as_potential_is_that_of_many_draws(name, options):
    task = evp.get_task(name, thickness=0.05, **options)
    x, y = task.sample(3, seed=4)
    mean = task.reference.conditional_mean(x)
    drawn = task.reference.sample(x, 4000)
    assert mean.shape == y.shape
    # 6 standard errors of the draws' mean: false alarm below 1e-5 over all coordinates that are looked at.
    assert ((drawn.mean(1) - mean).abs() <= 6 * drawn.std(1) / 4000**0.5 + 1e-12).all()
    model = evp.fit("exact", task, potential="mean")
    torch.testing.assert_close(model.energy(x, y)[0], 0.5 * (y - mean).square().sum(-1))
    torch.testing.assert_close(model.infer(x, n_starts=2).y[0, :, 0], mean, rtol=0, atol=1e-3)
    with pytest.raises(NotNormalised, match="infer"):
        model.sample(x)


def test_the_circles_mean_lies_half_way_in():
    task = evp.get_task("circle", thickness=0.0)
    x, _ = task.sample(1)
    # 1 - I_1(1)/I_0(1), from tables of Bessel functions
    assert float(task.reference.distance(x, task.reference.conditional_mean(x))) == pytest.approx(0.5536, abs=5e-5)


def test_a_mean_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="gustafsson_1d"):
        evp.fit("exact", evp.get_task("gustafsson_1d"), potential="mean")


def test_samples_follow_the_task_and_differ_between_seeds():
    task = evp.get_task("three_curves", thickness=0.01)
    x, _ = pairs(task)
    model = evp.fit("exact", task, seeds=[0, 1])
    draws = model.sample(x, 500)
    assert draws.shape == (2, 20, 500, 1)
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(draws, model.sample(x, 500))
    assert not torch.equal(draws, model.sample(x, 500, seed=1))
    curve = (draws - task.reference.answers(x).squeeze(-1).unsqueeze(1)).abs().argmin(-1)
    counts = torch.bincount(curve.flatten(), minlength=3)
    assert counts_agree(counts, [0.5, 0.3, 0.2])  # of 20,000 draws: sees a share off by .025


def test_descent_on_it_finds_the_answers():
    task = evp.get_task("three_curves", thickness=0.01)
    x, _ = pairs(task)
    found = evp.fit("exact", task).infer(x, n_starts=8)
    nearest = (found.y[0] - task.reference.answers(x).squeeze(-1).unsqueeze(1)).abs().amin(-1)
    assert nearest.max() < 1e-3
    assert found.converged.all()


def test_without_a_density_everything_but_samples_says_why():
    task = evp.get_task("circle", thickness=0.0)
    model = evp.fit("exact", task)
    x, y = pairs(task)
    for ask in (lambda: model.log_prob(x, y), lambda: model.energy(x, y), lambda: model.infer(x)):
        with pytest.raises(NoExactReference, match="thickness"):
            ask()
    assert model.sample(x[:1], 5).norm(dim=-1).sub(1).abs().max() < 1e-12


def test_in_company_a_task_without_a_density_is_nan():
    tasks = [evp.get_task("circle", thickness=eps) for eps in (0.1, 0.0)]
    model = evp.fit("exact", tasks, seeds=[0, 1])
    x, y = pairs(tasks[0])
    energy = model.energy(x, y)
    assert energy[1].isnan().all()
    torch.testing.assert_close(energy[0], -tasks[0].reference.log_prob(x, y))
    found = model.infer(x, n_starts=2)
    assert (found.y[0].norm(dim=-1) - 1).abs().max() < 0.05
    assert not found.converged[1].any()


def test_digits_are_sampled_and_nothing_else():
    task = evp.get_task("digits")
    model = evp.fit("exact", task)
    x, y = task.sample(4, split="test")
    assert torch.equal(task.reference.reduce(model.sample(x, 3)[0]), x.unsqueeze(1).expand(-1, 3, -1))
    with pytest.raises(NoExactReference, match="density"):
        model.energy(x, y)


def test_costs_nothing_and_has_no_weights(tmp_path):
    task = evp.get_task("circle", thickness=0.1)
    model = evp.fit("exact", task, seeds=[4])
    assert model.cost[0].multiply_adds == model.cost[0].energy_evaluations == model.cost[0].seconds == 0
    model.save(tmp_path / "exact")
    x, y = pairs(task)
    assert torch.equal(evp.load_model(tmp_path / "exact").energy(x, y), model.energy(x, y))


def test_an_unknown_potential_is_refused():
    with pytest.raises(ValueError, match="potential"):
        evp.fit("exact", evp.get_task("circle"), potential="entropy")


def test_the_constant_potential_knows_nothing():
    task = evp.get_task("circle", thickness=0.1)
    model = evp.fit("exact", [task, task], seeds=[0, 1], potential="constant")
    y = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (model.energy(torch.zeros(5, 0), y) == 0).all()
    with pytest.raises(NotNormalised, match="constant"):
        model.log_prob(torch.zeros(5, 0), y)
    low, high = task.y_space.bounds
    drawn = model.sample(torch.zeros(1, 0), 4000)
    assert drawn.shape == (2, 1, 4000, 2)
    for coordinate in drawn[:, 0].movedim(-1, 0).flatten(0, 1).numpy():
        assert follows(coordinate, stats.uniform(low, high - low).cdf, comparisons=4)
    found = model.infer(torch.zeros(1, 0), n_starts=3)
    assert found.converged.all()
    table = evp.evaluate(model, [task, task], only=["tube_mass", "curvature_p95"])
    assert set(table["metric"]) >= {"tube_mass", "curvature_p95"}
    assert "answer_distance_median" not in set(table["metric"])
    assert (table[table["metric"] == "tube_mass"]["value"] < 0.1).all()
