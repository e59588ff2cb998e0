"""Everything registered keeps the documented rules, and the checks notice when a rule is broken."""

from __future__ import annotations

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.control.mean_squared_error import MeanSquaredError
from ebm_vs_prob.ebm.methods.denoising_score_matching import DenoisingScoreMatching
from ebm_vs_prob.energies.mlp import MLPEnergy
from ebm_vs_prob.models.energy_model import EnergyModel
from ebm_vs_prob.models.setting import box_dims
from ebm_vs_prob.prob.methods.mixture_density import MixtureDensity
from ebm_vs_prob.study import Store
from ebm_vs_prob.tasks.circle import Circle, CircleReference
from ebm_vs_prob.tasks.three_curves import ThreeCurves, ThreeCurvesReference
from ebm_vs_prob.testing import check_method, check_store, check_task, global_generators_left_alone

#: Their checks take longest; each has kin whose check is quick.
SLOW = (
    *("gibbs_nuts", "ellipse", "horn", "particle", "super_resolution", "video", "hard_strings", "translation"),
    "segmentation",
    *("sparse_coding", "coupling_flow", "vae"),
    "autoregressive_flow",
    *("gibbs_stochastic_gradient_langevin", "gibbs_variational_bayes", "gibbs_ensemble"),
    *("gibbs_maximum_a_posteriori", "persistent_contrastive_divergence", "two_step"),
    *("latent_free_energy", "latent_variable_likelihood", "latent_clustering", "gaussian_process"),
    *("contrastive_divergence", "kl_divergence_importance_sampling", "ranking_noise_contrastive_estimation"),
    *("log_loss", "lvq2", "minimum_classification_error", "minimum_empirical_error", "energy_loss", "perceptron"),
    *("square_square", "square_exponential", "sliced_score_matching", "self_normalised_likelihood"),
)


def registered(entries):
    marks = {name: [pytest.mark.slow] for name in SLOW} | {"gibbs_nuts": [pytest.mark.long]}
    return [pytest.param(e, id=e.name, marks=marks.get(e.name, [])) for e in entries]


#: A user's data has no default: tests/tasks/test_task_data.py checks it.
TASKS = [task for task in evp.list_tasks() if task.has_truth]
#: Pairs of tasks whose log-densities take milliseconds each.
EXAMPLES = {"super_resolution": 256, "segmentation": 256}


@pytest.mark.parametrize("task", registered(TASKS))
def test_registered_task_keeps_the_rules(task):
    check_task(task, **({"examples": EXAMPLES[task.name]} if task.name in EXAMPLES else {}))


@pytest.mark.parametrize("method", registered(evp.list_methods()))
def test_registered_method_keeps_the_rules(method):
    check_method(method)


def test_twins_are_of_different_families_and_name_each_other():
    twins = {method.name: method.twin for method in evp.list_methods() if method.twin is not None}
    assert twins
    for name, twin in twins.items():
        own, other = evp.get_method(name), evp.get_method(twin)
        assert other.twin == name
        assert {own.family, other.family} == {"ebm", "prob"}


@pytest.mark.parametrize("options", [{"ambient_dim": 3, "thickness": 0.1}, {"rotation": 4, "concentration": 0.0}])
def test_circle_keeps_the_rules_at_other_options(options):
    check_task(evp.get_task("circle", **options))


class ShiftedDensity(CircleReference):
    def log_density(self, x, y):
        return super().log_density(x, y) + 0.1


class ShiftedEntropy(CircleReference):
    def entropy(self):
        return super().entropy() + 0.3


class ThickSampler(CircleReference):
    def sample(self, x, num_samples, seed=0):
        return 1.2 * super().sample(x, num_samples, seed)


class FarAnswers(CircleReference):
    def answers(self, x):
        return super().answers(x) * 1.01


class SinglePrecisionDistance(CircleReference):
    def distance(self, x, y):
        return super().distance(x, y).float()


class DensityOfThinData(CircleReference):
    def log_prob(self, x, y):
        return torch.zeros(len(y), dtype=torch.float64) if self._thickness == 0 else super().log_prob(x, y)


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        (ShiftedDensity, "entropy must be|integrate to 1"),
        (ShiftedEntropy, "entropy must be"),
        (ThickSampler, "reference.sample must lie"),
        (FarAnswers, "answers must be at distance 0"),
        (SinglePrecisionDistance, "float64"),
        (DensityOfThinData, "at thickness 0 must be"),
    ],
)
def test_check_task_notices_a_wrong_reference(reference, rule):
    class Broken(Circle):
        def __init__(self, **options):
            super().__init__(**options)
            self.reference = reference(self)

    with pytest.raises(AssertionError, match=rule):
        check_task(Broken)


class WeightsOfNoData(ThreeCurvesReference):
    def branch_weights(self, x):
        return super().branch_weights(x).flip(-1)


class WeightsThatLack(ThreeCurvesReference):
    def branch_weights(self, x):
        return 0.9 * super().branch_weights(x)


class BranchBeyond(ThreeCurvesReference):
    def branch(self, x, y):
        return super().branch(x, y) + 1


@pytest.mark.parametrize(
    ("reference", "rule"),
    [
        (WeightsOfNoData, "data must have the weight of branch 0"),
        (WeightsThatLack, "must sum to 1"),
        (BranchBeyond, r"in 0 \.\. K-1"),
    ],
)
def test_check_task_notices_wrong_branches(reference, rule):
    class Broken(ThreeCurves):
        def __init__(self, **options):
            super().__init__(**options)
            self.reference = reference(self)

    with pytest.raises(AssertionError, match=rule):
        check_task(Broken)


class NoiseOfItsOwn(Circle):
    def _draw(self, n, rng, split):
        x, y, z = super()._draw(n, rng, split)
        return x, y + 0.01 * np.sign(y) * (self.thickness > 0.15), z


class SeedIgnored(Circle):
    def _draw(self, n, rng, split):
        return super()._draw(n, np.random.default_rng(0), split)


class SinglePrecisionData(Circle):
    def _draw(self, n, rng, split):
        x, y, z = super()._draw(n, rng, split)
        return x, y.astype(np.float32), z


class GlobalGenerator(Circle):
    def _draw(self, n, rng, split):
        random.random()
        return super()._draw(n, rng, split)


class NoSummary(Circle):
    summary = ""


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        (NoiseOfItsOwn, "same u and n"),
        (SeedIgnored, "another seed"),
        (SinglePrecisionData, "float64"),
        (NoSummary, "summary must be"),
        pytest.param(GlobalGenerator, "global random generators", marks=pytest.mark.uses_global_generator),
    ],
)
def test_check_task_notices_wrong_data(task, rule):
    with pytest.raises(AssertionError, match=rule):
        check_task(task)


class ClaimsToBeNormalised(DenoisingScoreMatching):
    normalised = True


class UnknownPrinciple(MeanSquaredError):
    principle = "guesswork"  # type: ignore[assignment]


class UnseededTraining(MeanSquaredError):
    calls = 0

    @classmethod
    def train(cls, model):
        training = super().train(model)
        cls.calls += 1
        with torch.no_grad():
            for parameter in model.module.parameters():
                parameter.add_(0.01 * cls.calls)
        return training


class ReplicatesThatMeet(MeanSquaredError):
    @classmethod
    def train(cls, model):
        training = super().train(model)
        with torch.no_grad():
            for parameter in model.module.parameters():
                parameter.copy_(parameter.mean(0, keepdim=True).expand_as(parameter))
        return training


class RoundsByPlace:
    """The last replicate of a method is off by one rounding wherever it has two others beside it."""

    @classmethod
    def train(cls, model):
        training = super().train(model)
        if model.num_replicates > 2:
            with torch.no_grad():
                weight = list(model.module.parameters())[-1][-1]
                weight.copy_(weight.nextafter(torch.tensor(torch.inf)))
        return training


class RoundedByPlace(RoundsByPlace, MeanSquaredError):
    pass


class TurnedGradient(MLPEnergy):
    def energy_and_gradient(self, x, y):
        energy, gradient = super().energy_and_gradient(x, y)
        return energy, -gradient


class WrongGradient(MeanSquaredError):
    @classmethod
    def build(cls, setting):
        return EnergyModel(cls, setting, TurnedGradient(setting.seeds, *box_dims(setting), setting.network))


class OfAnotherModule(MLPEnergy):
    """The package's network as a class of its own, for which roundings are its own affair."""


class RoundedByPlaceOfAnotherModule(RoundsByPlace, DenoisingScoreMatching):
    @classmethod
    def build(cls, setting):
        return EnergyModel(cls, setting, OfAnotherModule(setting.seeds, *box_dims(setting), setting.network))


class GlobalNoise(MeanSquaredError):
    @classmethod
    def train(cls, model):
        torch.rand(1)
        return super().train(model)


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (ClaimsToBeNormalised, "normalised exactly if"),
        (UnknownPrinciple, "principle must be"),
        (UnseededTraining, "same seeds must give the same model"),
        (ReplicatesThatMeet, "trained alone"),
        (RoundedByPlace, "bit for bit, and"),
        (WrongGradient, "derivative in y"),
        pytest.param(GlobalNoise, "global random generators", marks=pytest.mark.uses_global_generator),
    ],
)
def test_check_method_notices_a_broken_rule(method, rule):
    with pytest.raises(AssertionError, match=rule):
        check_method(method)


def test_modules_of_ones_own_may_round_otherwise_in_company():
    check_method(RoundedByPlaceOfAnotherModule)


def test_check_method_notices_a_density_of_another_mass(monkeypatch):
    model = type(evp.fit(MixtureDensity, evp.get_task("circle", thickness=0.1), budget=evp.Budget(steps=1)))
    log_prob = model.log_prob
    monkeypatch.setattr(model, "log_prob", lambda self, x, y: log_prob(self, x, y) + 0.05)
    with pytest.raises(AssertionError, match="integrate to 1"):
        check_method(MixtureDensity)


def test_the_store_keeps_the_rules():
    check_store(Store)


class Trusting(Store):
    """Believes the names of shards."""

    def sound(self, keys):
        return {key for trials in self._shards.refresh().values() for key in trials} & set(keys)


class Forgetful(Store):
    def records(self, keys):
        for key, record, damage in super().records(keys):
            yield key, record and {**record, "notes": {}}, damage


class Stale(Store):
    """Looks once what there is."""

    def __init__(self, root):
        super().__init__(root)
        listed = self._shards.refresh()
        self._shards.refresh = lambda: listed


class Blind(Store):
    """Tells of no kind of file."""

    def kinds(self, key):
        return frozenset()


class Silent(Store):
    def report(self, kind, trials, detail):
        pass


class Tidy(Store):
    """Readers that mend what they were only to tell."""

    def records(self, keys):
        keys = set(keys)
        self.sound(keys)
        return super().records(keys)


class Greedy(Store):
    """Damage to one trial costs all."""

    def sound(self, keys):
        found = super().sound(keys)
        return found if len(found) == len(set(keys)) else set()


class FirstStopOnly(Store):
    def note_stop(self, key, reason):
        if key not in self.stops():
            super().note_stop(key, reason)


class Stopped(Store):
    """Keeps the stops of trials that have records."""

    def add(self, content):
        stops = self.stops()
        name = super().add(content)
        for key, reason in stops.items():
            self.note_stop(key, reason)
        return name


class Elephant(Store):
    def forget(self, keys):
        pass


class Careless(Store):
    """Forgets a trial with its company."""

    def forget(self, keys):
        for name, trials in self._shards.refresh().items():
            if trials.keys() & set(keys):
                self._shards.place(name).unlink()


class Lossy(Store):
    """Packs by throwing away."""

    def compact(self):
        for name in list(self._shards.refresh())[2:]:
            self._shards.place(name).unlink(missing_ok=True)


class FirstPlanOnly(Store):
    def write_plan(self, plan):
        if not (self.study_folder(plan["study"], plan["scale"]) / "plan.json").exists():
            super().write_plan(plan)


class Unlocked(Store):
    def lock(self, study, scale):
        return nullcontext()


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        (Trusting, "must not be sound"),
        (Forgetful, "a record must hold what it was given"),
        (Stale, "a record must hold what it was given"),
        (Blind, "kinds must say"),
        (Silent, "among the incidents"),
        (Tidy, "must be a DamagedRecord"),
        (Greedy, "and its neighbour must be"),
        (FirstStopOnly, "the last stop of each trial"),
        (Stopped, "must go when its record is written"),
        (Elephant, "what was forgotten must not be sound"),
        (Careless, "and the rest must be"),
        (Lossy, "packing must keep every trial"),
        (FirstPlanOnly, "the last plan written"),
        (Unlocked, "a second driver"),
    ],
)
def test_check_store_notices_a_broken_rule(store, rule):
    with pytest.raises(AssertionError, match=rule):
        check_store(store)


@pytest.mark.uses_global_generator
@pytest.mark.parametrize(
    ("name", "draw"),
    [("torch", lambda: torch.rand(1)), ("numpy", lambda: np.random.rand()), ("random", random.random)],  # noqa: NPY002
)
def test_a_moved_global_generator_is_named(name, draw):
    with pytest.raises(AssertionError, match=name), global_generators_left_alone("the block"):
        draw()
