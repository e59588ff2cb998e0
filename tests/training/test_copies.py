"""A model can be pickled, copied and sent to another process, and a copy answers for itself: every method."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.testing.methods import applicable_task

#: NUTS takes seconds a model; its model is the same class as that of the other posteriors.
METHODS = [method for method in evp.list_methods() if method.name != "gibbs_nuts"]
BUDGET = evp.Budget(steps=20, examples=60, batch_size=16)


def fitted(method):
    """A model that has been asked, so that what it remembers is copied too, and points to ask it at."""
    task = applicable_task(method)
    model = evp.fit(method, task, seeds=[0, 1], budget=BUDGET) if method.batchable else evp.fit(method, task, [0])
    x, y = task.sample(5, seed=3, split="test")
    x, y = model.setting.placed(x, task.x_space), model.setting.placed(y, task.y_space)
    answers(model, x, y)
    return model, x, y


def answers(model, x, y):
    """The energy at the points, and the log-density of a normalised model."""
    with torch.no_grad():
        energy = model.energy(x, y)
        return (energy, model.log_prob(x, y)) if model.normalised else (energy,)


def same(one, other):
    return all(torch.equal(a.nan_to_num(nan=7e7), b.nan_to_num(nan=7e7)) for a, b in zip(one, other, strict=True))


def altered(model):
    """Its numbers moved in place, as a user's own optimiser would."""
    with torch.no_grad():
        for value in model.module.state_dict(keep_vars=True).values():
            if value.is_floating_point():
                value.mul_(1.05)


def energies_elsewhere(sent):
    """Run in another process: the answers of pickled models."""
    return [answers(*pickle.loads(one)) for one in sent]


@pytest.mark.parametrize("method", [pytest.param(m, id=m.name) for m in METHODS])
@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
def test_a_copy_answers_for_itself(method):
    model, x, y = fitted(method)
    before = answers(model, x, y)
    assert same(answers(pickle.loads(pickle.dumps(model)), x, y), before)
    copied = copy.deepcopy(model)
    assert same(answers(copied, x, y), before)
    altered(copied)
    assert same(answers(model, x, y), before)
    if method.name != "exact":  # whose module is the truth
        assert not same(answers(copied, x, y), before)
    # What the copy remembered of its old numbers is not in its answers: a copy of the copy has nothing to remember.
    fresh = copy.deepcopy(model)
    fresh.module.load_state_dict(copied.module.state_dict())
    assert same(answers(fresh, x, y), answers(copied, x, y))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
def test_models_answer_the_same_in_a_spawned_process():
    models = [fitted(method) for method in METHODS]
    sent = [pickle.dumps(each) for each in models]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (elsewhere,) = pool.map(energies_elsewhere, [sent])
    for method, (model, x, y), found in zip(METHODS, models, elsewhere, strict=True):
        assert same(answers(model, x, y), found), method.name
