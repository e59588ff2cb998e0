"""A learned factor e^s in front of an energy: in every derivative, off by default, and left out of the weight norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.energies.derivatives import gradient_and_trace
from ebm_vs_prob.energies.evaluation import energy_and_gradient, weight_names, weight_norm
from ebm_vs_prob.energies.graphs import ChainEnergy
from ebm_vs_prob.energies.mlp import MLPEnergy
from ebm_vs_prob.models.building import replicated
from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.training.fitting import prepare

PLAIN, SCALED = evp.Network(hidden=(6, 5)), evp.Network(hidden=(6, 5), learned_scale=True)
TINY = evp.Budget(steps=20, batch_size=16, examples=64)


def scaled(energy: torch.nn.Module, *logs: float) -> torch.nn.Module:
    with torch.no_grad():
        energy.scale.log_scale.copy_(torch.tensor(logs).unsqueeze(1))
    return energy


@pytest.mark.parametrize("x_dim", [0, 2])
def test_values_gradients_and_hessians_are_multiplied_by_each_replicates_factor(x_dim):
    plain, own = (MLPEnergy((0, 1), x_dim, 3, network).double() for network in (PLAIN, SCALED))
    scaled(own, 0.0, math.log(3.0))
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 4, dim, dtype=torch.float64, generator=generator) for dim in (x_dim, 3))
    pairs = [
        ((energy(x, y),), energy_and_gradient(energy, x, y), energy.given(x)(y), gradient_and_trace(energy, x, y))
        for energy in (plain, own)
    ]
    for first, second in zip(*pairs, strict=True):
        for before, after in zip(first, second, strict=True):
            torch.testing.assert_close(after[0], before[0])
            torch.testing.assert_close(after[1], 3 * before[1], rtol=1e-6, atol=1e-9)


def test_a_chain_is_multiplied_as_a_whole():
    space = Sequences(3, 4)
    plain, own = (ChainEnergy((0, 1), 8, space, network) for network in (PLAIN, SCALED))
    with torch.no_grad():
        for energy in (plain, own):
            energy.transitions.copy_(torch.linspace(-1, 1, 18).reshape(2, 3, 3))
    scaled(own, math.log(2.0), 0.0)
    x, y = torch.linspace(-1, 1, 40).reshape(1, 5, 8), torch.tensor([0, 2, 1, 1]).expand(1, 5, -1)
    torch.testing.assert_close(own(x, y)[0], 2 * plain(x, y)[0])
    torch.testing.assert_close(own(x, y)[1], plain(x, y)[1])


def test_it_is_no_weight_and_the_norm_leaves_it_out():
    energy = scaled(MLPEnergy((0, 1), 0, 2, SCALED), 5.0, -7.0)
    assert torch.equal(weight_norm(energy), weight_norm(MLPEnergy((0, 1), 0, 2, PLAIN)))
    assert weight_names(energy) == weight_names(MLPEnergy((0, 1), 0, 2, PLAIN))


def test_off_by_default_nothing_is_changed():
    assert "learned_scale" not in evp.Network().model_dump(mode="json")
    assert SCALED.model_dump(mode="json")["learned_scale"] is True
    assert not any("scale" in name for name in MLPEnergy((0,), 0, 2, PLAIN).state_dict())


@pytest.mark.parametrize("method", ["energy_discrepancy", "score_matching", "gibbs_maximum_likelihood", "hinge"])
def test_it_is_learned_and_a_replicate_is_the_same_alone_as_in_company(method, tmp_path):
    task = evp.get_task("circle", thickness=0.1)
    alone, company = (evp.fit(method, task, seeds=s, network=SCALED, budget=TINY) for s in ([1], [2, 0, 1]))
    own, others = (model.module.state_dict() for model in (alone, company))
    assert own["scale.log_scale"].abs().max() > 0
    for name, value in own.items():
        assert torch.equal(value[0], others[name][-1]), name
    alone.save(tmp_path / "model")
    x, y = task.sample(5, split="test")
    assert torch.equal(evp.load_model(tmp_path / "model").energy(x, y), alone.energy(x, y))


def test_a_posterior_of_weights_has_it_among_them():
    task = evp.get_task("circle", thickness=0.1)
    options = {"network": SCALED, "budget": TINY}
    model = evp.fit("gibbs_stochastic_gradient_langevin", task, **options)
    assert model.energy(*task.sample(5, split="test")).isfinite().all()


@pytest.mark.parametrize("method", ["mixture_density", "coupling_flow", "latent_free_energy", "mean_squared_error"])
def test_a_network_that_is_no_energy_has_no_scale_to_learn(method):
    with pytest.raises(ValueError, match=r"network\.learned_scale = True"):
        evp.fit(method, evp.get_task("circle"), network=SCALED, budget=TINY)


OF_METHODS = (
    ("circle", {"thickness": 0.1}),
    ("gaussian_classes", {}),
    ("labelled_chain", {"length": 3}),
    ("segmentation", {"length": 2}),
)


def cases():
    """Every method on the first of some tasks that it applies to."""
    for method in evp.list_methods():
        tasks = (evp.get_task(name, **options) for name, options in OF_METHODS)
        task = next((task for task in tasks if method.why_not(task) is None), None)
        if task is not None and method.__module__.startswith("ebm_vs_prob."):
            yield pytest.param(method, task, id=method.name)


def shapes(method, task, network):
    given = {"energy": None, "budget": TINY, "dtype": torch.float32, "device": "cpu", "compile": False, "options": {}}
    module = method.build(prepare(method, task, [0], network=network, **given)).module
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


@pytest.mark.parametrize(("method", "task"), list(cases()))
def test_every_method_has_the_scale_or_says_why_not(method, task):
    """None ignores it in silence, but those that have no network to begin with."""
    try:
        found = shapes(method, task, SCALED)
    except ValueError as error:
        assert "network.learned_scale = True is not valid: expected False: " in str(error)  # noqa: PT017
        return
    plain = shapes(method, task, PLAIN)
    assert found != plain or shapes(method, task, evp.Network(hidden=(7,))) == plain


def test_a_zero_set_has_it_in_the_energy_along_it():
    task = evp.get_task("circle", thickness=0.1)
    model = evp.fit("implicit_manifold", task, network=SCALED, budget=TINY, density=True)
    assert float(model.module.along.scale.log_scale.detach().abs()) > 0


class Ring(nn.Module):
    """½ (|y| - r)², r learned: x (n, dx) and y (n, 2) give (n,)."""

    def __init__(self):
        super().__init__()
        self.radius = nn.Parameter(torch.tensor(0.8))

    def forward(self, x, y):
        return 0.5 * (y.norm(dim=-1) - self.radius) ** 2


class Rings(nn.Module):
    """The same of R replicates side by side, with a gradient of its own."""

    multiply_adds = 4.0

    def __init__(self, replicates):
        super().__init__()
        self.num_replicates = replicates
        self.radius = nn.Parameter(torch.full((replicates,), 0.8))

    def forward(self, x, y):
        return self.energy_and_gradient(x, y)[0]

    def energy_and_gradient(self, x, y):
        norm = y.norm(dim=-1)
        away = norm - self.radius.reshape(-1, *[1] * (norm.ndim - 1))
        return 0.5 * away**2, away.unsqueeze(-1) * y / norm.unsqueeze(-1)


FACTORIES = {"one a replicate": lambda task: Ring(), "side by side": lambda task: Rings(2)}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_an_energy_of_ones_own_learns_how_sharp_data_are(factory, tmp_path):
    """Score matching of e^s ½ (|y| - r)² has its optimum at e^s = E[2 - r / |y|] / E[(|y| - r)²], in closed form."""
    task, budget = evp.get_task("circle", thickness=0.1), evp.Budget(steps=800, batch_size=500, examples=500)
    own = evp.scaled(factory)
    model = evp.fit("score_matching", task, seeds=[0, 1], energy=own, budget=budget, learning_rate=0.03)
    scales = [p for p in model.module.parameters() if p.shape == (2, 1)]
    assert len(scales) == 1
    radius = next(p for p in model.module.parameters() if p.shape == (2,)).detach()
    for replicate in (0, 1):
        norm = task.sample(500, seed=replicate)[1].norm(dim=-1)
        best = (2 - radius[replicate] / norm).mean() / (norm - radius[replicate]).square().mean()
        assert float(scales[0][replicate].detach().exp()) == pytest.approx(float(best), rel=0.05)
    x, y = task.sample(5, split="test")
    model.save(tmp_path / "model")
    assert torch.equal(evp.load_model(tmp_path / "model", energy=own).energy(x, y), model.energy(x, y))


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_ones_own_energy_is_multiplied_as_the_packages_own_is(factory):
    tasks = [evp.get_task("circle")] * 2
    plain, own = (replicated(made, tasks, (0, 1)).double() for made in (factory, evp.scaled(factory)))
    with torch.no_grad():
        for parameter in own.parameters():
            if parameter.shape == (2, 1):
                parameter.copy_(torch.tensor([[0.0], [math.log(3.0)]]))
    y = torch.randn(1, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = y[..., :0]
    pairs = zip(energy_and_gradient(plain, x, y), energy_and_gradient(own, x, y), strict=True)
    for before, after in [(plain(x, y), own(x, y)), *pairs]:
        torch.testing.assert_close(after[0], before[0])
        torch.testing.assert_close(after[1], 3 * before[1])
    assert torch.equal(weight_norm(own), weight_norm(plain))
    assert own.multiply_adds == plain.multiply_adds


class Prototypes(nn.Module):
    """Half the squared distance of x from the prototype of a label."""

    def __init__(self, task):
        super().__init__()
        self.places = nn.Parameter(torch.from_numpy(task.means.copy()).float())

    def forward(self, x, y):
        return 0.5 * (x - self.places[y]).square().sum(-1)


class Labelled(nn.Module):
    """The same of one replicate that says so, as a graph."""

    num_replicates, multiply_adds = 1, 8.0

    def __init__(self, task):
        super().__init__()
        self.places = nn.Parameter(Prototypes(task).places.detach()[None].clone())

    def graph(self, x):
        energies = 0.5 * (x.unsqueeze(-2) - self.places.unsqueeze(1)).square().sum(-1)
        return evp.FactorGraph(energies.unsqueeze(-2), energies.new_zeros(*energies.shape[:-1], 0, 4, 4))

    def forward(self, x, y):
        return self.graph(x).energy(y.unsqueeze(-1))


@pytest.mark.parametrize("module", [Prototypes, Labelled])
def test_an_energy_of_labels_learns_how_sharp_classes_are(module):
    """Half squared distances over ε², ε = .5, are the posterior up to the weights of classes: e^s is about 4."""
    task, budget = evp.get_task("gaussian_classes"), evp.Budget(steps=500, batch_size=500, examples=2000)
    model = evp.fit("softmax_classifier", task, energy=evp.scaled(module), budget=budget, learning_rate=0.02)
    (scale,) = (p for p in model.module.parameters() if p.shape == (1, 1))
    assert 2.0 < float(scale.detach().exp()) < 8.0


STUDY = """
schema = 1
name = "scales"
title = "Two scales"
claims = ["C11"]
[scales.quick]
seeds = 2
network = { hidden = [6] }
budget = { steps = 5, batch_size = 8, examples = 16 }
[[tasks]]
name = "circle"
[[arms]]
name = "plain"
method = "energy_discrepancy"
[[arms]]
name = "scaled"
method = "energy_discrepancy"
network = { learned_scale = true }
"""


def test_an_arm_of_a_study_may_have_a_network_of_its_own(tmp_path):
    path = tmp_path / "scales.toml"
    path.write_text(STUDY, encoding="utf-8")
    plan = plan_study(load_study(path), device="cpu")
    networks = [trial.specification["network"] for trial in plan.trials]
    assert [network.get("learned_scale", False) for network in networks] == [False, False, True, True]
    assert {tuple(network["hidden"]) for network in networks} == {(6,)}
    path.write_text(STUDY.replace("learned_scale", "learned_scal"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"arms\.scaled\.network.*did you mean 'learned_scale'"):
        plan_study(load_study(path), device="cpu")
