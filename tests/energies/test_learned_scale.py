"""A learned factor e^s in front of an energy: in every derivative, off by default, and left out of the weight norm."""

from __future__ import annotations

import math

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.spaces import Sequences
from ebm_vs_prob.energies.derivatives import gradient_and_trace
from ebm_vs_prob.energies.evaluation import energy_and_gradient, weight_names, weight_norm
from ebm_vs_prob.energies.graphs import ChainEnergy
from ebm_vs_prob.energies.mlp import MLPEnergy
from ebm_vs_prob.study import load_study, plan_study

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
