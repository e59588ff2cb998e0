"""A training step recorded, and compiled, is the step that was written: every trained method."""

from __future__ import annotations

import logging

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core import programs
from ebm_vs_prob.ebm.objectives import margin as losses
from ebm_vs_prob.testing.methods import applicable_task
from ebm_vs_prob.training import loop

METHODS = [method for method in evp.list_methods() if method.compilable]
#: One of each kind of step; the others are recorded where minutes are spent.
QUICK = ("denoising_score_matching", "contrastive_divergence", "gibbs_maximum_likelihood", "vae", "softmax_classifier")
COMPILED = ("hinge",)
NETWORK = evp.Network(hidden=(7, 5), activation="softplus")


def trained(method, steps, seeds=(4, 5, 6), **options):
    """Bits of all that a fit leaves."""
    steps = max(steps, {"gibbs_stochastic_gradient_langevin": 20}.get(method.name, 0))
    budget = evp.Budget(steps=steps, batch_size=17, examples=120)
    rates = [0.002 * (1 + seed % 4) for seed in seeds]
    task = applicable_task(method)
    model = evp.fit(method, task, seeds=seeds, budget=budget, network=NETWORK, learning_rate=rates, **options)
    kept = {**model.module.state_dict(), "loss": model.training.loss, **model.training.traces}
    return {name: value.detach().clone() for name, value in kept.items()}


def bits(kept):
    return {name: value.contiguous().numpy().tobytes() for name, value in kept.items()}


#: Those that every check of a change records besides.
SLOW = (
    "persistent_contrastive_divergence",
    "linear_chain_crf",
    "gibbs_variational_bayes",
    "mixture_density",
    "two_step",
)


def chosen(quick, slow=()):
    def marks(name):
        return [] if name in quick else [pytest.mark.slow] if name in slow else [pytest.mark.long]

    return [pytest.param(method, id=method.name, marks=marks(method.name)) for method in METHODS]


@pytest.mark.parametrize("method", chosen(QUICK, SLOW))
def test_a_recorded_training_is_the_written_one_to_the_bit(method, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "ebm_vs_prob.training")
    written = trained(method, 6)
    monkeypatch.setattr(loop, "RECORDED", 1)
    assert bits(trained(method, 6)) == bits(written)
    assert not caplog.records, "a step was not recorded"


def test_a_step_that_decides_by_values_is_taken_as_it_is_written(monkeypatch, caplog):
    method = evp.get_method("energy_loss")
    original = losses.energy_loss

    def deciding(energy):
        return original(energy) if float(energy.detach().mean()) > 0 else original(energy.abs())

    monkeypatch.setattr(losses, "energy_loss", deciding)
    written = trained(method, 8)
    monkeypatch.setattr(loop, "RECORDED", 1)
    caplog.set_level(logging.INFO, "ebm_vs_prob.training")
    assert bits(trained(method, 8)) == bits(written)
    assert "as it is written" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("no C++ compiler\nfound"), FileNotFoundError("g++")], ids=["", "g++"])
def test_without_a_compiler_steps_are_recorded_and_it_is_said_once(monkeypatch, caplog, error):
    import torch._inductor

    def fail(*given, **options):
        raise error

    method = evp.get_method("energy_loss")
    monkeypatch.setattr(loop, "RECORDED", 1)
    recorded = trained(method, 6)
    monkeypatch.setattr(torch._inductor, "standalone_compile", fail)
    monkeypatch.setattr(programs, "_compiled", type(programs._compiled)())
    loop._say_once.cache_clear()
    for _ in range(2):
        assert bits(trained(method, 6, compile=True)) == bits(recorded)
    (said,) = caplog.messages
    assert said.startswith("steps are taken without the compiler, which does not work here: ")
    assert "\n" not in said
    model = evp.fit(method, evp.get_task("circle"), budget=evp.Budget(steps=3, examples=10, batch_size=4), compile=True)
    assert not model.training.compiled


@pytest.mark.slow
@pytest.mark.parametrize("method", chosen(COMPILED))
def test_a_compiled_training_is_the_recorded_one_but_for_roundings(method, monkeypatch):
    """Six steps, each some hundred operations on numbers of order 1 to 10."""
    monkeypatch.setattr(loop, "RECORDED", 1)
    recorded, compiled = trained(method, 6), trained(method, 6, compile=True)
    for name, value in recorded.items():
        if value.is_floating_point() and name != "partition_gap":
            torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)
