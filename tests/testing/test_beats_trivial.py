"""On each task an arm of each family, trained for seconds, does better than what knows nothing of it."""

from __future__ import annotations

import math

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation

pytestmark = pytest.mark.slow

SEEDS = (200, 201)
NETWORK, BUDGET = evp.Network(hidden=(32, 32)), evp.Budget(steps=600, batch_size=64, examples=1000)
LOOK = Evaluation(test_examples=256, inputs=8, starts=2, samples=16, max_steps=5, partitions=64)
EBM, PROB = "denoising_score_matching", "mixture_density"
VECTORS = [
    ("manifold", {"shape": "sphere", "manifold_dim": 1, "ambient_dim": 2, "thickness": 0.1}),
    ("three_modes", {"thickness": 0.1}),
    ("discontinuous", {"thickness": 0.1}),
    ("particle", {"thickness": 0.05}),
]


@pytest.mark.parametrize(("name", "options"), VECTORS, ids=[name for name, _ in VECTORS])
@pytest.mark.parametrize(("family", "method"), [("ebm", EBM), ("prob", PROB)])
def test_a_density_of_each_family_beats_a_gaussian(name, options, family, method):
    """The Gaussian of the training answers, whatever x is, by the log score of held-out answers: .2 nats at least."""
    task = evp.get_task(name, **options)
    assert evp.get_method(method).family == family
    given = {"sigma": 0.1} if method == EBM else {}
    model = evp.fit(method, task, seeds=SEEDS, network=NETWORK, budget=BUDGET, **given)
    table = evp.evaluate(model, task, LOOK)
    scores = table[table["metric"] == "gibbs_log_score"].set_index("replicate")["value"]
    for replicate, seed in enumerate(SEEDS):
        y = task.sample(BUDGET.examples, seed=seed)[1]
        held_out = task.sample(LOOK.test_examples, seed=seed, split="test")[1]
        centred = y - y.mean(0)
        gaussian = torch.distributions.MultivariateNormal(y.mean(0), centred.T @ centred / len(y))
        trivial = float(gaussian.log_prob(held_out[: LOOK.partitions]).mean())
        assert scores[replicate] > trivial + 0.2, (replicate, scores[replicate], trivial)


@pytest.mark.parametrize(
    ("family", "method"), [("ebm", "structured_hinge"), ("ebm", "pseudo_likelihood"), ("prob", "autoregressive")]
)
@pytest.mark.parametrize("kind", ["parity", "knapsack"])
def test_strings_of_each_family_beat_the_likeliest_symbol_of_each_place(kind, family, method):
    """Every symbol by its frequency at its place in training: what is known without x and without other symbols."""
    task = evp.get_task("hard_strings", kind=kind, length={"parity": 3, "knapsack": 5}[kind])
    assert evp.get_method(method).family == family
    network = evp.Network(hidden=(32, 32), factors="whole") if family == "ebm" else NETWORK
    model = evp.fit(method, task, seeds=SEEDS, network=network, budget=BUDGET)
    metric = "gibbs_log_score" if family == "ebm" else "log_score"
    table = evp.evaluate(model, task, LOOK)
    scores = table[table["metric"] == metric].set_index("replicate")["value"]
    for replicate, seed in enumerate(SEEDS):
        y, held_out = task.sample(BUDGET.examples, seed=seed)[1], task.sample(256, seed=seed, split="test")[1]
        frequency = torch.stack([(y == symbol).double().mean(0) for symbol in range(task.y_space.num_values)], -1)
        trivial = float(frequency.log().expand(256, -1, -1).gather(-1, held_out.unsqueeze(-1)).sum((1, 2)).mean())
        assert math.isfinite(trivial)
        assert scores[replicate] > trivial + 0.05, (replicate, scores[replicate], trivial)


@pytest.mark.parametrize("name", ["video", "super_resolution"])
@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("ebm", "latent_clustering", {}),
        ("prob", "latent_variable_likelihood", {"initial_sigma": 0.2}),
    ],
)
def test_answers_of_pictures_are_nearer_than_the_mean_picture(name, family, method, options):
    """Descent from uniform points of 512 or 256 dimensions on what a latent of few values decodes to.

    The mean training answer is 1.7 from a future and 1.4 from a picture. A latent of as many values as there are
    futures, or few more, leaves none of them unused, where descent would end as well.
    """
    task = evp.get_task(name)
    assert evp.get_method(method).family == family
    values = {"clusters" if family == "ebm" else "nodes": 4 if name == "video" else 16}
    budget = evp.Budget(steps=600, batch_size=32, examples=2000)
    network = evp.Network(hidden=(64,) if name == "video" else (64, 64))
    model = evp.fit(method, task, seeds=[200], network=network, budget=budget, learning_rate=5e-3, **values, **options)
    x = task.sample(16, seed=200, split="test")[0]
    mean = task.sample(2000, seed=200)[1].mean(0)
    trivial = task.reference.distance(x, mean.expand(16, -1))
    found = model.infer(x, n_starts=4).y[0].double()
    distance = task.reference.distance(x.repeat_interleave(4, 0), found.flatten(0, 1)).reshape(16, 4)
    assert float(distance.mean()) < 0.9 * float(trivial.mean())
    assert float((distance.mean(1) < trivial).double().mean()) > 0.7
