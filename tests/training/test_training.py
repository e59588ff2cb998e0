"""Replicates trained together are the models that would have been trained alone."""

import pytest
import torch
from gaussian import Quadratic, curvature_tolerance, gaussian, mean_curvature
from hand_made import poisoned

import ebm_vs_prob as evp
from ebm_vs_prob.core.options import OptionBatch
from ebm_vs_prob.ebm.objectives.score import denoising_score_matching_loss
from ebm_vs_prob.models.setting import Setting
from ebm_vs_prob.training.batches import BLOCK, BLOCK_NUMBERS, Noise, draws
from ebm_vs_prob.training.optimizers import ReplicatedAdam, learning_rate_schedule

TRAINED = ("denoising_score_matching", "hinge", "gibbs_maximum_likelihood", "mixture_density", "mean_squared_error")
#: In the slow suite; the others are tried under every arithmetic too.
DEAR = ("mean_squared_error", "mixture_density")
#: Curvature of the energy where a method's declared optimum is a sign only must still be clearly positive.
SIGN = 0.05


def setting_of(method: str, dim: int, seeds, budget, **options) -> Setting:
    task = gaussian(dim)
    return Setting(
        tasks=(task,) * len(seeds),
        seeds=tuple(seeds),
        options=OptionBatch.from_given(evp.get_method(method).Options, options, len(seeds), method),
        network=evp.Network(),
        budget=budget,
        dtype=torch.float32,
        device="cpu",
        compile=False,
    )


@pytest.mark.parametrize("method", TRAINED)
def test_one_nan_replicate_leaves_the_others_without_padding(method, monkeypatch):
    budget = evp.Budget(steps=40)
    task = evp.get_task("circle", thickness=0.1)
    healthy = evp.fit(method, task, seeds=[0, 1, 2], budget=budget)
    poisoned(monkeypatch, replicate=1, at=7)
    sick = evp.fit(method, task, seeds=[0, 1, 2], budget=budget)
    assert [status.ok for status in sick.status] == [True, False, True]
    assert sick.status[1].step == 7
    assert "not finite" in sick.status[1].reason
    x, y = task.sample(32, seed=1)
    assert torch.equal(healthy.energy(x, y)[[0, 2]], sick.energy(x, y)[[0, 2]])
    assert sick.energy(x, y)[1].isnan().all()


def test_global_generators_are_left_alone():
    before = torch.random.get_rng_state()
    for method in TRAINED:
        evp.fit(method, evp.get_task("circle", thickness=0.1), budget=evp.Budget(steps=3))
    evp.fit("denoising_score_matching", gaussian(1), energy=Quadratic, budget=evp.Budget(steps=3))
    assert torch.equal(before, torch.random.get_rng_state())


GAUSSIAN_SEEDS, GAUSSIAN_EXAMPLES = range(8), 4000


def gaussian_fit(method: str, dim: int) -> evp.Model:
    options = {"mixture_density": {"components": 1}, "gibbs_maximum_likelihood": {"sigma": 0.0}}.get(method, {})
    # The sign of the hinge's curvature needs few draws, and its distances are to all of them. Steps of the likelihood
    # are dear, and hardly noisier than the data: a few long ones end within .01 of where many short ones do.
    budget, rate = {
        "hinge": (evp.Budget(steps=200, batch_size=64, examples=64), 0.01),
        "gibbs_maximum_likelihood": (evp.Budget(steps=400, batch_size=128, examples=GAUSSIAN_EXAMPLES), 0.03),
    }.get(method, (evp.Budget(steps=1500, batch_size=128, examples=GAUSSIAN_EXAMPLES), 0.01))
    return evp.fit(
        method,
        gaussian(dim),
        seeds=GAUSSIAN_SEEDS,
        energy=None if method in ("mixture_density", "mean_squared_error") else Quadratic,
        budget=budget,
        learning_rate=rate,
        **options,
    )


def gaussian_gap(model: evp.Model, dim: int) -> float:
    declared = model.method.gaussian_optimum.of(model.setting.options.replicates[0])
    return abs(float(mean_curvature(model, dim).mean()) - declared)


def gaussian_tolerance(dim: int) -> float:
    """.01 is for an optimiser that is stopped."""
    return curvature_tolerance(dim, GAUSSIAN_EXAMPLES, len(GAUSSIAN_SEEDS), left=0.01)


@pytest.mark.portable
@pytest.mark.parametrize("dim", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] if name in DEAR else []) for name in TRAINED]
)
def test_the_optimum_on_a_gaussian_is_the_declared_one(method, dim):
    model = gaussian_fit(method, dim)
    assert all(status.ok for status in model.status)
    if model.method.gaussian_optimum.of(model.setting.options.replicates[0]) is None:
        assert (mean_curvature(model, dim) > SIGN).all()
    else:
        assert gaussian_gap(model, dim) < gaussian_tolerance(dim)


def test_rates_scale_the_update_as_adam_alone_would():
    rates = torch.tensor([1e-2, 1e-3])
    target = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))

    def run(rate, rows):
        energy = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(len(rows), 3, 4))])
        optimizer = ReplicatedAdam(energy, rate)
        for step in range(20):
            losses = (energy[0] - target[rows]).square().sum()
            with torch.no_grad():
                optimizer.move(torch.autograd.grad(losses, [energy[0]]), optimizer.inputs(step, 20))
        return energy[0].detach()

    together = run(rates, [0, 1])
    for r in (0, 1):
        torch.testing.assert_close(together[r : r + 1], run(rates[r : r + 1], [r]), rtol=1e-4, atol=1e-6)


def test_schedule_warms_up_and_ends_at_zero():
    values = [learning_rate_schedule(step, 100) for step in range(100)]
    assert values[0] == pytest.approx(0.2)
    assert max(values) == values[5] == 1.0
    assert values[-1] < 1e-3
    assert learning_rate_schedule(0, 1) == 1.0


def test_minibatches_do_not_know_the_method():
    budget = evp.Budget(steps=5, batch_size=8, examples=50)
    first = [rows for rows, _ in draws(setting_of("hinge", 1, [0, 1], budget), {}, 5)]
    other = [rows for rows, _ in draws(setting_of("mean_squared_error", 1, [1, 2], budget), {}, 5)]
    assert all(torch.equal(a[1], b[0]) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0][0], first[0][1])
    assert not torch.equal(first[0], first[1])


def test_noise_does_not_depend_on_what_else_is_drawn():
    # Beside noise so large that it is drawn for fewer steps at once, over several blocks of either.
    setting, own = setting_of("hinge", 1, [0, 1], evp.Budget(batch_size=4, examples=50)), Noise("normal", (3, 5))
    large = Noise("uniform", (2 * BLOCK_NUMBERS // BLOCK,))
    alone = list(draws(setting, {"own": own}, 2 * BLOCK + 1))
    beside = list(draws(setting, {"large": large, "own": own}, 2 * BLOCK + 1))
    for (rows, noise), (other_rows, other_noise) in zip(alone, beside, strict=True):
        assert torch.equal(rows, other_rows)
        assert torch.equal(noise["own"], other_noise["own"])


def test_a_budget_of_multiply_adds_buys_more_steps_of_a_cheaper_method():
    budget = evp.Budget(batch_size=16, examples=50, multiply_adds=2e7)
    task = evp.get_task("circle", thickness=0.1)
    costs = {method: evp.fit(method, task, budget=budget).cost[0] for method in TRAINED}
    assert costs["mean_squared_error"].steps > costs["denoising_score_matching"].steps > costs["hinge"].steps
    for cost in costs.values():
        assert 0.8 * 2e7 < cost.multiply_adds <= 2e7


def test_a_flipped_sign_in_the_objective_fails_the_gaussian_test(monkeypatch):
    monkeypatch.setattr(
        "ebm_vs_prob.ebm.methods.denoising_score_matching.denoising_score_matching_loss",
        lambda gradient, noise, sigma: denoising_score_matching_loss(-gradient, noise, sigma),
    )
    model = gaussian_fit("denoising_score_matching", 2)
    assert gaussian_gap(model, 2) > gaussian_tolerance(2)


def test_work_beside_energies_is_counted():
    """Distances to answers are what a margin by distance costs more than a constant one; draws cost their kernels."""
    budget = evp.Budget(steps=3, batch_size=8, examples=40)
    circle, curves = evp.get_task("circle", thickness=0.1), evp.get_task("three_curves", thickness=0.1)

    def work(method, task, **options):
        return evp.fit(method, task, budget=budget, **options).training.cost[0].multiply_adds

    points, steps = 2 + 2 * 1, 3 * 8
    for task, answers, dim in ((circle, 1024, 2), (curves, 64, 1)):
        more = work("hinge", task) - work("hinge", task, margin_by="constant")
        assert more == pytest.approx(steps * points * answers * dim)
    for method, points in (("gibbs_maximum_likelihood", 8), ("noise_contrastive_estimation", 9)):
        kind = evp.get_method(method)
        for task, kernels, dim in ((circle, 64, 2), (curves, 16, 1)):
            own = kind.other_multiply_adds(kind.Options(), task, 8)
            assert own == points * kernels * (dim + 2)
            per = evp.fit(method, task, budget=budget).module.multiply_adds
            energies = kind.step_evaluations(kind.Options(), task) * per
            assert work(method, task) == pytest.approx(steps * (energies + own))
