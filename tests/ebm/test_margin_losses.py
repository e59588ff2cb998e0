"""The tutorial's losses as methods: what they do on a Gaussian, on sets of answers, and on the package's tasks."""

import math

import pytest
import torch
from gaussian import Quadratic, curvature_tolerance, gaussian, mean_curvature

import ebm_vs_prob as evp
from ebm_vs_prob.ebm.objectives import margin as losses
from ebm_vs_prob.ebm.objectives.margin import TUTORIAL_LOSSES, distance_scaled_margin
from ebm_vs_prob.ebm.search_method import ComparedEnergies, DistanceScaledMethod

#: Losses with a margin > 0 whose methods scale it by distance.
SCALED = [
    name
    for name, loss in TUTORIAL_LOSSES.items()
    if loss.margin in ("m", "> 0") and issubclass(evp.get_method(name), DistanceScaledMethod)
]
#: Curvature of the energy where a method's declared optimum is a sign only must still be clearly positive.
SIGN = 0.05
TINY = evp.Budget(steps=4, batch_size=8, examples=32)


def gaussian_fit(name: str, dim: int, steps: int = 70, learning_rate: float = 0.03, **options) -> evp.Model:
    """On 64 draws of N(0, I), from curvature 0.3: a sign needs few."""
    budget = evp.Budget(steps=steps, batch_size=64, examples=64)
    options |= {"learning_rate": learning_rate} | ({} if name == "energy_loss" else {"descent_steps": 2})
    return evp.fit(name, gaussian(dim), seeds=[0, 1], energy=Quadratic, budget=budget, **options)


def test_every_loss_of_the_table_is_a_method():
    assert set(TUTORIAL_LOSSES) <= {method.name for method in evp.list_methods(family="ebm")}
    assert len(SCALED) == 6
    for name, loss in TUTORIAL_LOSSES.items():
        assert (evp.get_method(name).gaussian_optimum is None) == (loss.margin in ("none", "0"))


@pytest.mark.parametrize("dim", [1, pytest.param(2, marks=pytest.mark.long), 8])
@pytest.mark.parametrize("name", SCALED)
def test_margin_losses_find_the_sign_of_a_gaussians_curvature(name, dim):
    model = gaussian_fit(name, dim)
    assert all(status.ok for status in model.status)
    assert (mean_curvature(model, dim) > SIGN).all()


@pytest.mark.parametrize("dim", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SCALED)
def test_with_a_constant_margin_the_sign_is_the_same(name, dim):
    assert (mean_curvature(gaussian_fit(name, dim, margin_by="constant"), dim) > SIGN).all()


def test_a_constant_margin_flipped_fails_that_check(monkeypatch):
    right = losses.hinge
    monkeypatch.setattr(losses, "hinge", lambda good, bad, margin: right(-good, -bad, margin))
    model = gaussian_fit("hinge", 2, learning_rate=0.05, margin_by="constant")
    assert (mean_curvature(model, 2) < SIGN).all()


def test_a_constant_margin_asks_for_no_distance_to_a_training_answer(monkeypatch):
    """And so the radius sets the last move of the descent alone."""

    def asked(*arguments):
        raise AssertionError("a distance to the training answers was taken")

    monkeypatch.setattr("ebm_vs_prob.ebm.search_method.nearest_distance", asked)
    monkeypatch.setattr("ebm_vs_prob.models.data_kernel.DataKernel.centers", asked)
    task = evp.get_task("three_curves")
    assert evp.fit("hinge", task, budget=TINY, margin_by="constant").status[0].ok
    with pytest.raises(AssertionError, match="distance"):
        evp.fit("hinge", task, budget=TINY)


@pytest.mark.parametrize("name", SCALED)
def test_a_constant_margin_learns_a_circle(name):
    budget = evp.Budget(steps=150, examples=500)
    model = evp.fit(name, evp.get_task("circle", thickness=0.1), budget=budget, margin_by="constant")
    assert separation(model) > 0.8


@pytest.mark.parametrize("name", SCALED)
def test_a_flipped_sign_in_the_loss_fails_that_check(name, monkeypatch):
    right = getattr(losses, name)
    monkeypatch.setattr(losses, name, lambda good, bad, *rest: right(-good, -bad, *rest))
    assert (mean_curvature(gaussian_fit(name, 2, learning_rate=0.05), 2) < SIGN).all()


@pytest.mark.slow
def test_the_square_losses_fix_the_depth_of_the_energy_and_not_its_curvature():
    """E and m times 3 make the loss 9 times as large: the curvature found is proportional to m. And it falls with d."""
    curvature = {
        (dim, margin): float(mean_curvature(gaussian_fit("square_square", dim, steps=250, margin=margin), dim).mean())
        for dim, margin in ((2, 1.0), (8, 1.0), (8, 3.0))
    }
    assert curvature[8, 3.0] == pytest.approx(3 * curvature[8, 1.0], rel=0.2)
    assert curvature[8, 1.0] < 0.6 * curvature[2, 1.0]
    depth = {dim: 0.5 * dim * curvature[dim, 1.0] for dim in (2, 8)}
    assert all(0.05 < value < 0.5 for value in depth.values())


@pytest.mark.parametrize("name", ["energy_loss", "perceptron", "lvq2"])
def test_losses_without_margin_flatten_a_quadratic_energy(name):
    """From .3 they end near 0, a constant energy, or below it where nothing is compared: no margin, no curvature."""
    assert (mean_curvature(gaussian_fit(name, 2, steps=200, learning_rate=0.01), 2) < 0.1).all()


LIKELIHOOD_SEEDS, LIKELIHOOD_EXAMPLES = range(4), 4000


def likelihood_fit(dim: int, beta: float = 1.0) -> evp.Model:
    budget = evp.Budget(steps=250, batch_size=32, examples=LIKELIHOOD_EXAMPLES)
    return evp.fit(
        "negative_log_likelihood",
        gaussian(dim),
        seeds=LIKELIHOOD_SEEDS,
        energy=Quadratic,
        budget=budget,
        learning_rate=0.02,
        proposals=4,
        beta=beta,
    )


def likelihood_gap(model: evp.Model, dim: int) -> float:
    """Distance of the mean curvature from the declared one, in units of it."""
    declared = model.method.gaussian_optimum.of(model.setting.options.replicates[0])
    return abs(float(mean_curvature(model, dim).mean()) / declared - 1)


def likelihood_tolerance(dim: int) -> float:
    """.03 is for stopping after 250 steps of few proposals."""
    return curvature_tolerance(dim, LIKELIHOOD_EXAMPLES, len(LIKELIHOOD_SEEDS), left=0.03)


@pytest.mark.parametrize(("dim", "beta"), [(1, 1.0), (2, 2.0), (8, 1.0)])
def test_likelihood_recovers_the_gaussian(dim, beta):
    model = likelihood_fit(dim, beta)
    assert model.method.gaussian_optimum.of(model.setting.options.replicates[0]) == 1 / beta
    assert likelihood_gap(model, dim) < likelihood_tolerance(dim)


def test_a_flipped_sign_in_the_likelihood_fails_that_check(monkeypatch):
    right = losses.negative_log_likelihood
    monkeypatch.setattr(losses, "negative_log_likelihood", lambda good, bad, beta: right(-good, -bad, beta))
    assert not likelihood_gap(likelihood_fit(1), 1) < likelihood_tolerance(1)


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_the_likelihood_loss_is_the_energy_plus_the_log_partition_function(beta):
    """At E = ½ a (y - b)² the loss in expectation is ½ a (1 + b²) + (1/beta) ½ ln(2 pi / (a beta))."""
    a, b = 0.3, 0.2
    budget = evp.Budget(steps=40, batch_size=256, examples=4000)
    options = {"learning_rate": 1e-9, "beta": beta}
    model = evp.fit("negative_log_likelihood", gaussian(1), energy=Quadratic, budget=budget, **options)
    expected = 0.5 * a * (1 + b**2) + 0.5 * math.log(2 * math.pi / (a * beta)) / beta
    # ½ a y² has standard deviation .21, so 10,240 draws of 4,000 leave .0035; 4 of those and .006 for ln Z.
    assert abs(float(model.training.loss.mean()) - expected) < 0.02


def set_valued(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right answers of an x that has three, incorrect ones uniform or one of the three, and shares of the margin."""
    generator = torch.Generator().manual_seed(0)
    answers = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    y = answers[torch.randint(3, (1, count), generator=generator)]
    uniform = torch.rand(1, count, 16, generator=generator, dtype=torch.float64) * 4 - 2
    others = answers[torch.randint(3, (1, count, 16), generator=generator)]
    negative = torch.cat([uniform, others], -1)
    distance = (negative.unsqueeze(-1) - answers).abs().amin(-1)
    share = distance_scaled_margin(distance, 1.0, torch.tensor(0.3, dtype=torch.float64))
    return y, negative, share


def loss_of(name: str, positive: torch.Tensor, negative: torch.Tensor, share: torch.Tensor) -> float:
    method = evp.get_method(name)
    defaults = method.Options()
    found = ComparedEnergies(positive, negative, share)
    terms = method.terms(found, lambda option: torch.full((1, 1, 1), getattr(defaults, option), dtype=share.dtype))
    return float(terms.mean())


@pytest.mark.parametrize("name", SCALED)
def test_on_sets_of_answers_the_perfect_energy_beats_every_constant_one(name):
    y, negative, share = set_valued()
    perfect = loss_of(name, torch.zeros_like(y), share, share)
    constant = [
        loss_of(name, torch.full_like(y, c), torch.full_like(negative, c), share) for c in (-1, 0, 0.25, 0.5, 1)
    ]
    assert perfect < min(constant) - 1e-3


def test_without_a_margin_the_constant_energy_ties_with_the_perfect_one():
    y, negative, share = set_valued()
    assert loss_of("lvq2", torch.zeros_like(y), share, share) == 0.0
    assert loss_of("lvq2", torch.zeros_like(y), torch.zeros_like(negative), share) == 0.0
    assert float(losses.perceptron(torch.zeros_like(y), share).max()) == 0.0
    assert float(losses.perceptron(torch.zeros_like(y), torch.zeros_like(negative)).max()) == 0.0


@pytest.mark.parametrize("name", SCALED)
def test_an_answer_that_is_right_is_owed_nothing(name):
    """At distance 0 from the answers, raising a negative's energy from the right answer's own does not pay."""
    negative = torch.zeros(1, 5, 3, dtype=torch.float64, requires_grad=True)
    share = torch.zeros(1, 5, 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad(
        evp.get_method(name)
        .terms(
            ComparedEnergies(torch.zeros(1, 5, dtype=torch.float64), negative, share),
            lambda option: torch.ones(1, 1, 1, dtype=torch.float64),
        )
        .sum(),
        negative,
    )
    assert slope.abs().max() < 1e-12


def separation(model: evp.Model) -> torch.Tensor:
    """Share of pairs of a test answer and a uniform point that the energy orders rightly, (R,)."""
    _, y = model.tasks[0].sample(200, seed=5, split="test")
    low, high = model.y_box.bounds
    anywhere = low + (high - low) * torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    x = torch.zeros(200, 0)
    return (model.energy(x, y).unsqueeze(2) < model.energy(x, anywhere).unsqueeze(1)).float().mean((1, 2))


@pytest.mark.parametrize("name", [*SCALED, "negative_log_likelihood"])
def test_margin_losses_and_likelihood_learn_a_circle(name):
    model = evp.fit(name, evp.get_task("circle", thickness=0.1), budget=evp.Budget(steps=150, examples=500))
    assert separation(model) > 0.8


def test_the_energy_loss_falls_without_bound_unless_its_energy_is_regularised():
    """With E[E²] beside it at weight w the minimum is E = -p / (2 w (p + u)), for data p and uniform u."""
    circle, budget = evp.get_task("circle", thickness=0.1), evp.Budget(steps=250, examples=500)
    bare = evp.fit("energy_loss", circle, budget=budget)
    assert bare.training.loss[0, -1] < -30
    held = evp.fit("energy_loss", circle, budget=budget, energy_magnitude=1.0)
    assert -0.5 < held.training.loss[0, -1] < 0
    assert separation(held) > 0.8


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("square_square", {"margin": 0.0}, "margin = 0.0"),
        ("lvq2", {"ceiling": -1.0}, "ceiling = -1.0"),
        ("square_exponential", {"strength": 0.0}, "strength = 0.0"),
        ("minimum_empirical_error", {"beta": -1.0}, "beta = -1.0"),
        ("negative_log_likelihood", {"proposals": 0}, "proposals = 0"),
        ("perceptron", {"max_width": 0.01}, "max_width >= min_width"),
        ("perceptron", {"margin": 1.0}, "unknown option"),
        ("energy_loss", {"radius": 1.0}, "unknown option"),
        ("log_loss", {"radius": [0.1, 0.2]}, "radius"),
    ],
)
def test_bad_options_are_named(name, options, words):
    with pytest.raises(ValueError, match=words):
        evp.fit(name, evp.get_task("circle"), budget=TINY, **options)
