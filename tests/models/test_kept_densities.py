"""The last density that a model was asked for is kept with its partition functions, for as long as it holds."""

from __future__ import annotations

import copy

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.metrics.observation import Observation
from ebm_vs_prob.models import model as models

TASK = evp.get_task("three_curves", thickness=0.2)
BUDGET = evp.Budget(steps=5, batch_size=8, examples=64)
X = torch.tensor([[-0.5], [0.1], [0.7]], dtype=torch.float64)


@pytest.fixture
def model():
    network = evp.Network(hidden=(6, 6))
    return evp.fit("denoising_score_matching", TASK, seeds=[0, 1], network=network, budget=BUDGET, gibbs_beta=2.0)


@pytest.fixture
def asked(model, monkeypatch):
    """How many energies the model's module was asked for, in a list of one number."""
    count, kind = [0], type(model.module)
    forward = kind.forward

    def counting(module, x, y):
        found = forward(module, x, y)
        count[0] += found.numel()
        return found

    monkeypatch.setattr(kind, "forward", counting)
    return count


@torch.no_grad()
def test_the_same_inputs_again_ask_for_no_energy(model, asked):
    first = model.gibbs(X).log_partition()
    assert asked[0] > 0
    asked[0] = 0
    again = model.gibbs(X.clone()).log_partition()
    assert asked[0] == 0
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
@pytest.mark.parametrize("given", [{"x": X + 0.1}, {"x": X[:2]}, {"beta": 1.0}, {"normalizer": "importance"}])
def test_another_density_is_found_anew(model, asked, given):
    model.gibbs(X).log_partition()
    asked[0] = 0
    model.gibbs(**{"x": X, **given}).log_partition()
    assert asked[0] > 0


def test_a_changed_parameter_or_module_is_seen(model):
    before = model.gibbs(X).log_partition()[0]
    with torch.no_grad():
        next(model.module.parameters()).mul_(1.5)
    changed = model.gibbs(X).log_partition()[0]
    assert not torch.equal(changed, before)
    assert torch.equal(changed, model.gibbs(X, beta=2.0).log_partition()[0])
    model.module = copy.deepcopy(model.module)
    with torch.no_grad():
        next(model.module.parameters()).mul_(1.5)
    assert not torch.equal(model.gibbs(X).log_partition()[0], changed)
    assert torch.equal(model.gibbs(X).log_partition()[0], model.gibbs(X, beta=2.0).log_partition()[0])


def test_a_gradient_in_x_is_not_lost(model):
    model.gibbs(X).log_partition()
    x = X.clone().requires_grad_()
    model.gibbs(x).log_partition()[0].sum().backward()
    assert (x.grad != 0).all()
    assert not model.gibbs(X).log_partition()[0].requires_grad


@torch.no_grad()
def test_densities_of_many_inputs_are_not_kept(model, asked, monkeypatch):
    monkeypatch.setattr(models, "KEPT_DENSITIES", 2 * len(X) - 1)
    model.gibbs(X).log_partition()
    asked[0] = 0
    model.gibbs(X).log_partition()
    assert asked[0] > 0


def test_samples_and_their_doubts_share_partition_functions(model, asked, monkeypatch):
    evaluation = Evaluation(test_examples=16, inputs=8, samples=32)
    observed = Observation(model, model.tasks, evaluation)
    note, samples, shared = observed.partition_note, observed.samples, asked[0]
    asked[0] = 0
    monkeypatch.setattr(models, "KEPT_DENSITIES", 0)
    model.finished(model.training)
    alone = Observation(model, model.tasks, evaluation)
    assert alone.partition_note == note
    assert torch.equal(alone.samples, samples)
    assert shared < 0.6 * asked[0]
