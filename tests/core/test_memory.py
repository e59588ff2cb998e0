"""What follows from a task alone is computed once for all models, and is the same as if it were computed for each."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ebm_vs_prob as evp
from ebm_vs_prob.core.memory import Memory, once, remembering
from ebm_vs_prob.metrics import Evaluation


def counted():
    calls = []

    def compute():
        calls.append(1)
        return torch.full((3,), float(len(calls)))

    return calls, compute


def test_nothing_is_remembered_outside_a_block():
    calls, compute = counted()
    task = evp.get_task("circle", thickness=0.1)
    for _ in range(2):
        once(task, "it", compute=compute)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "other",
    [
        lambda task: (evp.get_task("circle", thickness=0.2), "it", torch.ones(2), [1]),
        lambda task: (evp.get_task("three_curves", thickness=0.1), "it", torch.ones(2), [1]),
        lambda task: (task, "that", torch.ones(2), [1]),
        lambda task: (task, "it", torch.zeros(2), [1]),
        lambda task: (task, "it", torch.ones(2, dtype=torch.float64), [1]),
        lambda task: (task, "it", torch.ones(2, 1), [1]),
        lambda task: (task, "it", torch.ones(2), [2]),
        lambda task: ((task, task), "it", torch.ones(2), [1]),
    ],
)
def test_another_question_is_answered_anew(other):
    calls, compute = counted()
    task = evp.get_task("circle", thickness=0.1)
    with remembering():
        for _ in range(2):
            first = once(task, "it", torch.ones(2), [1], compute=compute)
        again = once(evp.get_task("circle", thickness=0.1), "it", torch.ones(2), [1], compute=compute)
        assert first is again
        assert len(calls) == 1
        once(*other(task), compute=compute)
    assert len(calls) == 2


def test_a_block_within_another_has_its_memory():
    calls, compute = counted()
    task = evp.get_task("circle")
    with remembering(), remembering():
        once(task, "it", compute=compute)
        with remembering():
            once(task, "it", compute=compute)
    assert len(calls) == 1


def test_what_failed_is_asked_again():
    task = evp.get_task("circle")

    def fails():
        raise ArithmeticError("not this time")

    calls, compute = counted()
    with remembering():
        with pytest.raises(ArithmeticError):
            once(task, "it", compute=fails)
        once(task, "it", compute=compute)
    assert len(calls) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40))
def test_a_memory_holds_no_more_than_it_may_and_answers_rightly(asked):
    memory = Memory(most_bytes=100)
    for key, _ in asked:
        size = key * 7  # a number is one byte: all six are more than it may hold
        found = memory.once(str(key), lambda key=key, size=size: torch.full((size,), key, dtype=torch.uint8))
        assert found.shape == (size,)
        assert (found == key).all()
        assert memory.held_bytes <= 100
    memory.forget()
    assert memory.held_bytes == 0


SMALL = Evaluation(test_examples=32, inputs=3, starts=2, samples=32, max_steps=20, partitions=2)


@pytest.mark.parametrize(
    ("task", "options", "methods"),
    [
        ("circle", {"thickness": 0.1}, ("denoising_score_matching", "mixture_density", "exact")),
        ("three_curves", {"thickness": 0.05}, ("hinge", "vae", "exact")),
        ("segmentation", {"length": 2, "narrowest": 4, "widest": 6}, ("lattice_margin", "place_classifier", "exact")),
        ("labelled_chain", {}, ("structured_hinge", "linear_chain_crf", "exact")),
    ],
)
def test_models_measured_in_company_have_the_numbers_that_they_have_alone(task, options, methods):
    one = evp.get_task(task, **options)
    budget = evp.Budget(steps=5, batch_size=8, examples=64)

    def found(method):
        model = evp.fit(method, one, seeds=[0, 1], network=evp.Network(hidden=(6, 6)), budget=budget)
        table = evp.evaluate(model, one, SMALL)
        return table[table["metric"] != "seconds"].reset_index(drop=True)

    alone = [found(method) for method in methods]
    memory = Memory()
    with remembering(memory):
        together = [found(method) for method in methods]
    assert memory.held_bytes > 0
    for first, second in zip(alone, together, strict=True):
        pd.testing.assert_frame_equal(first, second, check_exact=True)


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        ("circle", ("chance_success", "sublevel_coverage", "likelihood_gap")),
        ("newsvendor", ("chance_success", "regret", "likelihood_gap")),
    ],
)
def test_a_replicate_is_held_against_the_same_truth_whoever_its_company(task, metrics):
    one = evp.get_task(task, thickness=0.1)
    models = [evp.fit("exact", one, seeds=seeds) for seeds in ([0, 1], [1])]
    evaluation = SMALL.model_copy(update={"metrics": metrics})
    computed = []

    class Counting(Memory):
        def once(self, key, compute):
            return super().once(key, lambda: computed.append(key) or compute())

    with remembering(Counting()):
        whole = evp.evaluate(models[0], one, evaluation)
        known = len(computed)
        own = evp.evaluate(models[1], one, evaluation)
    assert known > 0
    assert len(computed) == known
    of_seed = whole[(whole["replicate"] == 1) & (whole["metric"] != "seconds")].drop(columns="replicate")
    own = own[own["metric"] != "seconds"].drop(columns="replicate")
    pd.testing.assert_frame_equal(own.reset_index(drop=True), of_seed.reset_index(drop=True), check_exact=True)


def test_no_method_writes_to_the_pairs_that_others_are_trained_on():
    task = evp.get_task("three_curves", thickness=0.1)
    budget = evp.Budget(steps=20, batch_size=8, examples=64)
    memory = Memory()
    with remembering(memory):
        for method in evp.list_methods():
            if not method.batchable or method.why_not(task):
                continue
            model = evp.fit(method.name, task, seeds=[0, 1], network=evp.Network(hidden=(4, 4)), budget=budget)
            assert model.num_replicates == 2
        x, y = once((task, task), "train pairs", [64, 0, 1], ["torch.float32", "cpu", False], compute=pytest.fail)
    expected = [task.sample(64, seed) for seed in (0, 1)]
    assert torch.equal(x, torch.stack([pair[0] for pair in expected]).float())
    assert torch.equal(y, torch.stack([pair[1] for pair in expected]).float())
