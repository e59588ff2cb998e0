"""A replicate that diverges fails alone, with the reason; a number that nothing can be computed with is refused."""

from __future__ import annotations

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.testing.methods import applicable_task
from ebm_vs_prob.training import loop
from ebm_vs_prob.training.method import LARGEST, LEAST

#: A rate at which nothing stays finite.
FATAL = 1e30
BUDGET, NETWORK = evp.Budget(steps=20, batch_size=16, examples=64), evp.Network(hidden=(8, 8))
#: `exact` trains nothing, NUTS takes one replicate at a time, and the others follow no rate.
METHODS = [m for m in evp.list_methods() if m.batchable and m.principle != "exact" and m.name != "gaussian_process"]
DEAR = ("coupling_flow", "autoregressive_flow")
OPTIONS = {
    "gibbs_variational_bayes": ({}, {"rank": 2}, {"prior": "horseshoe"}),
    "implicit_manifold": ({}, {"density": True, "negative_weight": 0.5}),
    "gibbs_maximum_a_posteriori": ({}, {"prior": "laplace"}, {"prior": "smoothness"}),
    "vae": ({}, {"guide": "full_rank"}, {"guide": "flow"}),
}
LOOK = evp.Evaluation(test_examples=8, inputs=2, starts=2, samples=8, max_steps=3, partitions=2)


def marked(method):
    dear = pytest.mark.long if method.name in DEAR else pytest.mark.slow
    return pytest.param(method, id=method.name, marks=[] if method.name == "sparse_coding" else [dear])


@pytest.mark.parametrize("method", [marked(m) for m in METHODS])
def test_a_replicate_that_diverges_leaves_the_others_as_they_are(method):
    task = applicable_task(method) if method.name != "vae" else evp.get_task("linear_gaussian")
    x, y = task.sample(6, seed=3, split="test")
    for options in OPTIONS.get(method.name, ({},)):
        given = {"network": NETWORK, "budget": BUDGET, **options}
        model = evp.fit(method, task, seeds=[200, 201, 202], learning_rate=[1e-3, FATAL, 1e-3], **given)
        sound = evp.fit(method, task, seeds=[200, 203, 202], learning_rate=1e-3, **given)
        for r in (0, 2):
            assert model.status[r].ok
            assert torch.equal(model.energy(x, y)[r], sound.energy(x, y)[r]), options
            assert torch.equal(model.infer(x[:2], 2).y[r], sound.infer(x[:2], 2).y[r]), options
        if method.name != "kernel_density":  # it follows no rate
            assert not model.status[1].ok
            assert "not finite" in model.status[1].reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "compile"),
    [("vae", False), ("contrastive_divergence", False), ("hinge", False), ("denoising_score_matching", True)],
)
def test_a_replicate_that_diverges_leaves_the_others_of_a_recorded_step_as_they_are(name, compile, monkeypatch):
    monkeypatch.setattr(loop, "RECORDED", 1)
    task = applicable_task(evp.get_method(name)) if name != "vae" else evp.get_task("linear_gaussian")
    given = {"network": NETWORK, "budget": BUDGET, "compile": compile}
    model = evp.fit(name, task, seeds=[200, 201, 202], learning_rate=[1e-3, FATAL, 1e-3], **given)
    sound = evp.fit(name, task, seeds=[200, 203, 202], learning_rate=1e-3, **given)
    assert model.training.compiled == compile
    x, y = task.sample(6, seed=3, split="test")
    for r in (0, 2):
        assert model.status[r].ok
        assert torch.equal(model.energy(x, y)[r], sound.energy(x, y)[r])
    assert not model.status[1].ok


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["contrastive_divergence", "latent_free_energy", "sparse_coding", "lattice_crf", "vae"]
)
def test_a_replicate_that_diverges_is_measured_as_unknown(method):
    task = applicable_task(evp.get_method(method)) if method != "vae" else evp.get_task("linear_gaussian")
    options = {"decoder": "linear"} if method in ("latent_free_energy", "vae") else {}
    given = {"network": NETWORK, "budget": BUDGET, **options}
    model = evp.fit(method, task, seeds=[200, 201], learning_rate=[1e-3, FATAL], **given)
    table = evp.evaluate(model, task, LOOK)
    measured = table[table["value"].notna() & ~table["metric"].isin(["weight_norm", "seconds"])]
    assert (measured["replicate"] == 0).sum() >= 5


@pytest.mark.parametrize("method", [m.name for m in evp.list_methods() if m.principle != "exact"])
def test_a_number_beyond_single_precision_is_refused(method):
    schema = evp.get_method(method).Options
    for name in sorted(schema.per_replicate_fields()):
        for value in (LEAST / 10, 1e-300, LARGEST * 1e20, 1e300):
            with pytest.raises(ValueError, match=name):
                schema(**{name: value})


def test_an_annealed_temperature_stays_finite_at_its_ends():
    task = evp.get_task("steering")
    ends = {"temperature": [1e-6, 1e6], "final_temperature": [1e-6, 1e6]}
    model = evp.fit("end_to_end_decision", task, seeds=[200, 201], network=NETWORK, budget=BUDGET, **ends)
    assert all(status.ok for status in model.status)
    with pytest.raises(ValueError, match="temperature"):
        evp.fit("end_to_end_decision", task, temperature=1e-300)


@pytest.mark.parametrize(
    "method", ["gibbs_maximum_likelihood", "importance_sampled_likelihood", "noise_contrastive_estimation"]
)
def test_answers_that_blur_takes_out_of_the_box_come_back(method):
    """A density normalised on the box is 0 beyond it, where blur of half the box's width leads in most steps."""
    task = evp.get_task("circle", thickness=0.1)
    budget = evp.Budget(steps=20, batch_size=32, examples=128)
    model = evp.fit(method, task, seeds=[0, 1], network=evp.Network(hidden=(8,)), budget=budget, sigma=2.0)
    assert all(status.ok for status in model.status)
