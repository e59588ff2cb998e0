"""On each registered task an arm of each family, trained for seconds, does better than what knows nothing of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation

SEEDS = (200, 201)
NETWORK, EXAMPLES = evp.Network(hidden=(32, 32)), 1000
LOOK = Evaluation(test_examples=256, inputs=8, starts=2, samples=16, max_steps=5, partitions=256)


@dataclass(frozen=True)
class Arm:
    """A method with its options, and another network than `NETWORK` where it takes one."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    network: evp.Network = NETWORK


@dataclass(frozen=True)
class Trial:
    """A task, an arm or more of each family, and how long they are trained."""

    task: str
    options: dict[str, Any]
    arms: tuple[Arm, ...]
    steps: int = 600


def noised(sigma: float = 0.1, **options: Any) -> tuple[Arm, ...]:
    """Denoising score matching and a mixture density, of real vectors."""
    return Arm("denoising_score_matching", {"sigma": sigma, **options}), Arm("mixture_density")


WHOLE = evp.Network(hidden=(32, 32), factors="whole")
BITS = (Arm("structured_hinge", network=WHOLE), Arm("pseudo_likelihood", network=WHOLE), Arm("autoregressive"))
CHAINS = (Arm("pseudo_likelihood"), Arm("linear_chain_crf"))
CLASSES = (Arm("pseudo_likelihood"), Arm("softmax_classifier"))


def places(values: int, *hidden: int) -> tuple[Arm, ...]:
    """A latent of as many values as there are futures, or few more, leaves none unused, where descent would end too."""
    network, steps = evp.Network(hidden=hidden), {"learning_rate": 5e-3}
    return (
        Arm("latent_clustering", {"clusters": values, **steps}, network),
        Arm("latent_variable_likelihood", {"nodes": values, "initial_sigma": 0.2, **steps}, network),
    )


#: Real vectors, whose densities are held against a Gaussian; labels and strings, against frequencies; pictures, whose
#: answers are held against the mean picture; strips, whose reading is held against the likeliest symbols.
VECTORS = (
    Trial("circle", {"thickness": 0.1}, noised()),
    Trial("discontinuous", {"thickness": 0.1}, noised()),
    Trial("discontinuous", {"shape": "circle", "thickness": 0.1}, noised()),
    Trial("discontinuous", {"shape": "hyperbola", "thickness": 0.1}, noised()),
    Trial("ellipse", {"thickness": 0.2}, noised(0.2)),
    Trial("gustafsson_1d", {"thickness": 0.05}, noised()),
    Trial("horn", {"thickness": 0.5}, noised(0.5)),
    Trial("linear_gaussian", {"thickness": 0.1, "input_dim": 1}, noised()),
    Trial("manifold", {"shape": "sphere", "manifold_dim": 1, "ambient_dim": 2, "thickness": 0.1}, noised()),
    Trial("manifold", {"shape": "torus", "thickness": 0.1}, noised()),
    Trial("manifold", {"shape": "swiss_roll", "thickness": 0.1}, noised(learning_rate=0.02)),
    Trial("manifold", {"shape": "klein_bottle", "thickness": 0.1}, noised(learning_rate=0.02)),
    Trial("manifold", {"shape": "polynomial", "thickness": 0.1}, noised()),
    Trial("newsvendor", {}, noised(0.15)),
    Trial("newsvendor", {"demand": "skewed"}, noised(0.15)),
    Trial("newsvendor", {"demand": "contaminated"}, noised(0.15)),
    Trial("particle", {"thickness": 0.05}, noised()),
    Trial("steering", {"answer": "continuous"}, noised()),
    Trial("thin_sphere", {"thickness": 0.1}, noised()),
    Trial("three_curves", {"thickness": 0.1}, noised(learning_rate=0.02)),
    Trial("three_modes", {"thickness": 0.1}, noised()),
    Trial("three_modes", {"shape": "circles", "thickness": 0.1}, noised(learning_rate=0.02), steps=2000),
)
SYMBOLS = (
    Trial("fusion", {}, CLASSES),
    Trial("fusion", {"views": "redundant"}, CLASSES),
    Trial("fusion", {"seen": "first"}, CLASSES),
    Trial("fusion", {"seen": "second", "thickness": 0.3}, CLASSES),
    Trial("gaussian_classes", {}, CLASSES),
    Trial("hard_strings", {"kind": "knapsack", "length": 5}, BITS),
    Trial("hard_strings", {"kind": "parity", "length": 3}, BITS),
    Trial("labelled_chain", {"length": 4}, CHAINS),
    Trial("steering", {"preferred": "roomier"}, CLASSES),
    Trial("translation", {"length": 5, "words": 8, "phrases": 0}, CHAINS),
)
PICTURES = (
    Trial("digits", {}, places(2, 64, 64)),
    Trial("super_resolution", {}, places(16, 64, 64)),
    Trial("video", {}, places(4, 64)),
)
STRIPS = (
    Trial(
        "segmentation",
        {"length": 2, "narrowest": 4, "widest": 6, "thickness": 0.25, "exemplars": 1},
        (Arm("lattice_margin"), Arm("lattice_perceptron"), Arm("lattice_pseudo_likelihood"), Arm("lattice_crf")),
    ),
)


def arms(trials: tuple[Trial, ...]) -> Iterator[Any]:
    """Every arm of every trial."""
    for trial in trials:
        kind = [str(value) for value in trial.options.values() if isinstance(value, str)]
        for arm in trial.arms:
            yield pytest.param(trial, arm, id="-".join([trial.task, *kind, arm.method]))


def trained(trial: Trial, arm: Arm, budget: evp.Budget | None = None) -> tuple[evp.Model, evp.Task]:
    task = evp.get_task(trial.task, **trial.options)
    budget = budget or evp.Budget(steps=trial.steps, batch_size=64, examples=EXAMPLES)
    return evp.fit(arm.method, task, seeds=SEEDS, network=arm.network, budget=budget, **arm.options), task


#: Choices of a task's options that have no trial, and why.
NO_TRIAL = {
    ("manifold", "shape", "linear"): "a Gaussian of the answers is nearly its law: nothing is to be beaten",
}


def untrained(task: type[evp.Task]) -> list[str]:
    """Choices of the task's options of which no trial here has an arm of each family, a line each."""
    trials = [trial for trial in (*VECTORS, *SYMBOLS, *PICTURES, *STRIPS) if trial.task == task.name]
    choices: list[tuple[str, Any]] = [
        (option, choice)
        for option, given in task.Options.model_fields.items()
        if get_origin(given.annotation) is Literal
        for choice in get_args(given.annotation)
        if (task.name, option, choice) not in NO_TRIAL
    ]
    found = []
    for option, choice in choices or [("", None)]:
        default = task.Options.model_fields[option].default if option else None
        own = [each for each in trials if each.options.get(option, default) == choice]
        families = {evp.get_method(arm.method).family for trial in own for arm in trial.arms}
        if families < {"ebm", "prob"}:
            found.append(f"{task.name} {option} {choice}: {' and '.join(sorted({'ebm', 'prob'} - families))}")
    return found


@pytest.mark.parametrize("task", evp.list_tasks(), ids=lambda task: task.name)
def test_every_task_is_trained_on_by_both_families(task):
    if not task.has_truth or not task.__module__.startswith("ebm_vs_prob."):
        return  # rows of a user's own are trained on in tests/study/test_own_data.py
    missing = untrained(task)
    assert not missing, f"add to VECTORS, SYMBOLS, PICTURES or STRIPS trials with an arm of: {missing}"


@pytest.mark.slow
@pytest.mark.parametrize(("trial", "arm"), list(arms(VECTORS)))
def test_a_density_of_each_family_beats_a_gaussian(trial, arm):
    """The Gaussian of the training answers, whatever x is, by the log score of held-out answers: .1 nats at least."""
    model, task = trained(trial, arm)
    table = evp.evaluate(model, task, LOOK, only=("gibbs_log_score",))
    scores = table[table["metric"] == "gibbs_log_score"].set_index("replicate")["value"]
    for replicate, seed in enumerate(SEEDS):
        y = task.sample(EXAMPLES, seed=seed)[1]
        held_out = task.sample(LOOK.test_examples, seed=seed, split="test")[1]
        centred = y - y.mean(0)
        gaussian = torch.distributions.MultivariateNormal(y.mean(0), centred.T @ centred / len(y))
        trivial = float(gaussian.log_prob(held_out).mean())
        assert scores[replicate] > trivial + 0.1, (replicate, scores[replicate], trivial)


@pytest.mark.slow
@pytest.mark.parametrize(("trial", "arm"), list(arms(SYMBOLS)))
def test_symbols_of_each_family_beat_the_likeliest_of_each_place(trial, arm):
    """Every symbol by its frequency at its place in training: what is known without x and without other symbols."""
    model, task = trained(trial, arm)
    metric = "log_score" if model.normalised else "gibbs_log_score"
    table = evp.evaluate(model, task, LOOK, only=(metric,))
    scores = table[table["metric"] == metric].set_index("replicate")["value"]
    for replicate, seed in enumerate(SEEDS):
        pairs = (task.sample(EXAMPLES, seed=seed), task.sample(LOOK.test_examples, seed=seed, split="test"))
        y, held_out = (task.y_space.to_variables(pair[1]) for pair in pairs)
        counts = torch.nn.functional.one_hot(y, task.y_space.num_values).double().sum(0) + 0.5
        log_chance = (counts / counts.sum(-1, keepdim=True)).log().expand(len(held_out), -1, -1)
        trivial = float(log_chance.gather(-1, held_out.unsqueeze(-1)).sum((1, 2)).mean())
        assert math.isfinite(trivial)
        assert scores[replicate] > trivial + 0.05, (replicate, scores[replicate], trivial)


@pytest.mark.slow
@pytest.mark.parametrize(("trial", "arm"), list(arms(STRIPS)))
def test_strips_are_read_better_than_by_a_guess(trial, arm):
    """Nine symbols in ten are wrong by any guess that sees no strip."""
    model, task = trained(trial, arm, evp.Budget(steps=320, batch_size=32, examples=1500))
    x, y = task.sample(60, seed=200, split="test")
    wrong = (model.infer(x, n_starts=1).y[:, :, 0] != y).double().mean((1, 2))
    assert (wrong < 0.5).all(), wrong


@pytest.mark.slow
@pytest.mark.parametrize(("trial", "arm"), list(arms(PICTURES)))
def test_answers_of_pictures_are_nearer_than_the_mean_picture(trial, arm):
    """Descent from uniform points of hundreds of dimensions on what a latent of few values decodes to.

    The mean training answer is 1.7 from a future, 1.4 from a picture, and 2.1 from a digit.
    """
    budget = evp.Budget(steps=trial.steps, batch_size=32, examples=1000 if trial.task == "digits" else 2000)
    model, task = trained(trial, arm, budget)
    x = task.sample(16, seed=200, split="test")[0]
    mean = task.sample(budget.examples, seed=200)[1].mean(0)
    trivial = task.reference.distance(x, mean.expand(16, -1))
    found = model.infer(x, n_starts=4).y[0].double()
    distance = task.reference.distance(x.repeat_interleave(4, 0), found.flatten(0, 1)).reshape(16, 4)
    assert float(distance.mean()) < 0.9 * float(trivial.mean())
    assert float((distance.mean(1) < trivial).double().mean()) > 0.7
