"""Faults that only chance or an optimum shows: each is planted here, and the conformance checks notice it."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln

import ebm_vs_prob as evp
from ebm_vs_prob.energies.mlp import MLPEnergy
from ebm_vs_prob.models.energy_model import EnergyModel
from ebm_vs_prob.models.setting import box_dims
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.tasks.circle import Circle, CircleReference
from ebm_vs_prob.tasks.density_reference import DensityReference
from ebm_vs_prob.tasks.ellipse import AXES, Ellipse
from ebm_vs_prob.testing import check_method, check_task, optimum, randomness
from ebm_vs_prob.testing.cells import check_probability_of_draws, check_same_law


class ByArcLength(Ellipse):
    """Draws are uniform in the length of the arc, the log-density is that of uniform angles."""

    def draw(self, x, rng):
        fine = np.linspace(-np.pi, np.pi, 20_001)
        speed = np.hypot(AXES[0] * np.sin(fine), AXES[1] * np.cos(fine))
        length = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
        angle = np.interp(rng.uniform(0, length[-1], len(x)), length, fine)
        noise = rng.standard_normal((len(x), 2))
        return np.array(AXES) * np.stack([np.cos(angle), np.sin(angle)], -1) + self.thickness * noise, angle


class Lopsided(Circle):
    """Angles have the density (1 + cos / 4) / 2π, the log-density is that of uniform ones: the means of both agree."""

    def draw(self, x, rng):
        fine = np.linspace(-np.pi, np.pi, 2001)
        angle = np.interp(rng.uniform(0, 1, len(x)), (fine + np.pi + np.sin(fine) / 4) / (2 * np.pi), fine)
        return self.embed(angle) + self.thickness * rng.standard_normal((len(x), 2)), angle


def test_samples_that_are_not_of_the_log_density_are_noticed_by_cells():
    with pytest.raises(AssertionError, match="must be shared among cells as"):
        check_task(Lopsided(ambient_dim=2, concentration=0.0, thickness=0.1))


@pytest.mark.slow
def test_weights_by_arc_length_are_noticed_by_cells():
    with pytest.raises(AssertionError, match="must be shared among cells as"):
        check_task(ByArcLength)


class SeedIgnored(CircleReference):
    def sample(self, x, num_samples, seed=0):
        return super().sample(x, num_samples, 0)


def test_draws_of_the_reference_that_ignore_their_seed_are_noticed():
    class Broken(Circle):
        def __init__(self, **options):
            super().__init__(**options)
            self.reference = SeedIgnored(self)

    with pytest.raises(AssertionError, match=r"reference.sample: another seed"):
        check_task(Broken)


class StudentReference(DensityReference):
    """y is Student's t with 4 degrees of freedom, of which the thickness is the scale."""

    nu = 4.0

    def log_density(self, x, y):
        d, nu = y.shape[-1], self.nu
        square = (y / self.noise).square().sum(-1) / nu
        level = gammaln((nu + d) / 2) - gammaln(nu / 2) - 0.5 * d * math.log(nu * math.pi) - d * math.log(self.noise)
        return level - (nu + d) / 2 * torch.log1p(square)

    def distance(self, x, y):
        return y.norm(dim=-1)

    def answers(self, x):
        return torch.zeros(len(x), 1, self.task.y_space.dim, dtype=torch.float64)

    def entropy(self):
        d, nu = self.task.y_space.dim, self.nu
        level = gammaln((nu + d) / 2) - gammaln(nu / 2) - 0.5 * d * math.log(nu * math.pi) - d * math.log(self.noise)
        return evp.Approximate((nu + d) / 2 * (digamma((nu + d) / 2) - digamma(nu / 2)) - level)


class Student(Task):
    name = "student"
    summary = "Student's t with 4 degrees of freedom"
    manifold_dim = None
    dim: ClassVar[int] = 1
    kind: ClassVar[type[StudentReference]] = StudentReference

    def __init__(self, **options):
        super().__init__(**options)
        extent = 4.0 * self.thickness
        self.x_space, self.y_space, self.z_space = evp.Box((0.0, 1.0), 0), evp.Box((-extent, extent), self.dim), None
        self.reference = self.kind(self)

    def draw(self, x, rng):
        scale = np.sqrt(rng.chisquare(4.0, (len(x), 1)) / 4.0)
        return self.thickness * rng.standard_normal((len(x), self.dim)) / scale, np.zeros(len(x))

    def _draw(self, n, rng, split):
        x = np.empty((n, 0))
        return x, self.draw(x, rng)[0], np.empty((n, 0))


@pytest.mark.parametrize("dim", [1, 2])
def test_a_heavy_tail_whose_mass_lies_outside_the_box_is_no_fault(dim):
    kind = type("Student", (Student,), {"dim": dim})
    check_task(kind(thickness=0.5))


def test_a_heavy_tail_that_does_not_integrate_to_one_is():
    class Lacking(StudentReference):
        def log_density(self, x, y):
            return super().log_density(x, y) - 0.001

    with pytest.raises(AssertionError, match="must integrate to 1"):
        check_task(type("Student", (Student,), {"kind": Lacking})(thickness=0.5))


def test_discrete_draws_come_as_often_as_they_are_probable():
    every, log_prob = torch.arange(4), torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    right = torch.repeat_interleave(every, torch.tensor([400, 300, 200, 100]))
    check_probability_of_draws(right, every, log_prob, "draws", "they")
    with pytest.raises(AssertionError, match="as often"):
        check_probability_of_draws(right.flip(0) * 0 + 3 - right, every, log_prob, "draws", "they")


def test_two_laws_are_told_apart_and_one_is_not():
    rng = np.random.default_rng(200)
    first, second, centres = (torch.from_numpy(rng.standard_normal((n, 2))) for n in (3000, 3000, 12))
    check_same_law(first, second, centres, "draws", "one law")
    with pytest.raises(AssertionError, match="one law"):
        check_same_law(first, 1.2 * second, centres, "draws", "one law")


class Classifier(evp.Method):
    """Tell data from uniform noise; the faults below are planted in it."""

    name = "planted_classifier"
    family = "ebm"
    principle = "contrastive"
    normalised = False
    summary = "logistic regression of data against uniform noise"
    gaussian_optimum = evp.GaussianOptimum(curvature=lambda options: 1.0)
    sign: ClassVar[float] = 1.0
    model: ClassVar[type[EnergyModel]] = EnergyModel

    @classmethod
    def build(cls, setting):
        return cls.model(cls, setting, evp.build_energy(setting, level=True))

    @classmethod
    def noise_of(cls, batch):
        return batch.noise["y"]

    @classmethod
    def train(cls, model):
        low, high = model.y_box.bounds

        def loss(batch):
            negative = low + (high - low) * cls.noise_of(batch)
            data, noise = model.module(batch.x, batch.y), model.module(batch.x, negative)
            return (evp.softplus(cls.sign * data) + evp.softplus(-cls.sign * noise)).mean(-1)

        drawn = {"y": evp.Noise("uniform", (model.setting.budget.batch_size, model.y_box.dim))}
        return evp.train(model, loss, drawn)


class Turned(Classifier):
    sign = -1.0


class TurnedUndeclared(Turned):
    """The same fault in a method that says nothing of its optimum."""

    gaussian_optimum = None


class Undeclared(Classifier):
    gaussian_optimum = None


class UndeclaredMargin(Undeclared):
    principle = "margin"


class TurnedMargin(TurnedUndeclared):
    principle = "margin"


class SameWeights(Classifier):
    @classmethod
    def build(cls, setting):
        return EnergyModel(cls, setting, MLPEnergy((0,) * len(setting.seeds), *box_dims(setting), setting.network))


def with_same_layer(start):
    """The classifier whose largest layer (inputs, units) starts at the same weights whatever the seed."""

    class Started(Classifier):
        @classmethod
        def build(cls, setting):
            model = super().build(setting)
            weights = max(model.module.parameters(), key=torch.numel)
            with torch.no_grad():
                weights.copy_(start(*weights.shape[1:]))
            return model

    return Started


def drawn(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


OneFixedLayer = with_same_layer(drawn)


class OneStream(Classifier):
    """One noise for all replicates, whatever their seeds."""

    @classmethod
    def train(cls, model):
        generator = torch.Generator().manual_seed(0)
        cls.noise_of = staticmethod(
            lambda batch: torch.rand(batch.y.shape[1:], generator=generator).expand_as(batch.noise["y"])
        )
        return super().train(model)


class OneStreamAndNoSmallRate(OneStream):
    """The same fault in a method that fails where the check for it holds weights still."""

    @classmethod
    def train(cls, model):
        if float(model.setting.options.learning_rate.max()) < 1e-9:
            raise RuntimeError("no such rate")
        return super().train(model)


class NeedsTwoExamples(Classifier):
    @classmethod
    def train(cls, model):
        y = model.tasks[0].sample(8)[1]
        if torch.equal(y[0], y[1]):
            raise ValueError("y = constant is not valid: expected two examples that differ")
        return super().train(model)


class SameDraws(EnergyModel):
    def sample(self, x, num_samples=1, seed=0, **options):
        drawn = super().sample(x, num_samples, seed, **options)
        return drawn[:1].expand_as(drawn).clone()


class OneStreamOfDraws(Classifier):
    model = SameDraws


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (Turned, "training must lower the energy where data are"),
        (TurnedUndeclared, "lower the energy where data are, but .* at each of 7 seeds"),
        (TurnedMargin, "lower the energy where data are, but .* at each of 7 seeds"),
        (SameWeights, "initial weights must follow from the seed"),
        (OneFixedLayer, "initial weights must follow from the seed"),
        (OneStream, "noise of its own in training"),
        (OneStreamAndNoSmallRate, "must train at a rate of 1e-12, but: RuntimeError"),
        (OneStreamOfDraws, "a stream of its own"),
    ],
)
def test_check_method_notices_what_only_chance_or_the_optimum_shows(method, rule):
    with pytest.raises(AssertionError, match=rule):
        check_method(method)


@pytest.mark.parametrize("method", [Classifier, Undeclared, UndeclaredMargin, NeedsTwoExamples])
def test_the_method_without_a_fault_keeps_the_rules(method):
    check_method(method)


def grid(*shape):
    return torch.linspace(-1, 1, math.prod(shape)).reshape(shape)


@pytest.mark.parametrize("start", [torch.zeros, torch.eye, grid])
def test_weights_that_are_not_drawn_may_be_the_same_at_every_seed(start):
    randomness.check_initial_weights(with_same_layer(start), Circle(), "it")


def test_one_drawn_layer_that_is_the_same_at_every_seed_is_named():
    randomness.check_initial_weights(Classifier, Circle(), "it")
    with pytest.raises(AssertionError, match=r"^it: initial weights .* but \S*weights[.]\d are the same for two$"):
        randomness.check_initial_weights(OneFixedLayer, Circle(), "it")


@pytest.mark.parametrize("name", ["coupling_flow", "autoregressive_flow", "mixture_density", "vae"])
def test_replicates_that_are_made_alike_have_the_energies_of_the_first(name):
    """Orders and masks of two coordinates, which have as many rows as there are replicates, stay what they are."""
    task = Circle(thickness=0.1)
    model = evp.fit(name, task, seeds=[0, 1], budget=evp.Budget(steps=2, batch_size=8, examples=16))
    x, y = task.sample(5)
    before = model.energy(x, y)
    randomness._make_alike(model)
    assert not torch.equal(before[0], before[1])
    assert torch.equal(model.energy(x, y), before[:1].expand_as(before))


def test_a_method_without_an_optimum_is_refused_only_where_every_seed_is_the_wrong_way_round(monkeypatch):
    tried = []

    def gap(model):
        tried.append(model.seeds[0])
        return 1.0 if len(tried) == 3 else -1.0

    monkeypatch.setattr(optimum, "_gap_of_places", gap)
    monkeypatch.setattr(optimum, "STEPS", 1)
    optimum.check_direction(Undeclared, Circle(), "it")
    assert tried == [0, 1, 2]
    tried[:] = range(100)
    with pytest.raises(AssertionError, match="at each of 7 seeds"):
        optimum.check_direction(Undeclared, Circle(), "it")
