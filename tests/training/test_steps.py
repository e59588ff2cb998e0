"""A training step recorded, and compiled, is the step that was written: every trained method."""

from __future__ import annotations

import itertools
import logging
import time

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core import programs
from ebm_vs_prob.descent.angle import MOST_RECORDED
from ebm_vs_prob.ebm.objectives import margin as losses
from ebm_vs_prob.testing.methods import applicable_task
from ebm_vs_prob.training import loop, notices
from ebm_vs_prob.training.step import Step

METHODS = [method for method in evp.list_methods() if method.compilable]
#: One of each kind of step; the others are recorded where minutes are spent.
QUICK = ("denoising_score_matching", "contrastive_divergence", "gibbs_maximum_likelihood", "vae", "softmax_classifier")
#: One of each kind of step, compiled where every change is checked.
COMPILED = (
    "hinge",
    "denoising_score_matching",
    "vae",
    "contrastive_divergence",
    "gibbs_maximum_likelihood",
    "mixture_density",
    "autoregressive",
)
NETWORK = evp.Network(hidden=(7, 5), activation="softplus")


def fitted(method, steps, seeds=(4, 5, 6), **options):
    steps = max(steps, {"gibbs_stochastic_gradient_langevin": 20}.get(method.name, 0))
    budget = evp.Budget(steps=steps, batch_size=17, examples=120)
    rates = [0.002 * (1 + seed % 4) for seed in seeds]
    task = applicable_task(method)
    return evp.fit(method, task, seeds=seeds, budget=budget, network=NETWORK, learning_rate=rates, **options)


def trained(method, steps, **options):
    """All that a fit leaves."""
    return left_by(fitted(method, steps, **options))


def left_by(model):
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


#: Options that change what a step does, of methods whose defaults are recorded above.
OPTIONS = {
    "thickness prior": ("vae", {"thickness_prior": "log_normal"}),
    "thickness prior of a likelihood": ("latent_variable_likelihood", {"thickness_prior": "half_normal"}),
    "Newton's method": ("latent_free_energy", {"decoder": "angle", "nodes": 8, "refine": 6}),
    "noise on the latent": ("latent_free_energy", {"latent_noise": [0.0, 0.1, 0.2]}),
    "constant margin": ("hinge", {"margin_by": "constant", "gradient_penalty": 0.1}),
    "leapfrog steps": ("contrastive_divergence", {"kernel": "hmc", "leapfrog_steps": 2}),
}


@pytest.mark.parametrize(("name", "options"), [pytest.param(*OPTIONS[key], id=key) for key in OPTIONS])
def test_options_that_change_a_step_leave_it_recordable(name, options, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "ebm_vs_prob.training")
    method = evp.get_method(name)
    written = trained(method, 6, **options)
    monkeypatch.setattr(loop, "RECORDED", 1)
    assert bits(trained(method, 6, **options)) == bits(written)
    assert not caplog.records, "a step was not recorded"
    assert method.compilable_with(method.Options(**{k: v for k, v in options.items() if not isinstance(v, list)}))


@pytest.mark.parametrize(
    "options", [{"refine": 2}, {"decoder": "angle", "refine": MOST_RECORDED + 1}], ids=["descent", "long search"]
)
def test_a_search_that_ends_with_its_last_point_is_not_called_compilable(options, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "ebm_vs_prob.training")
    method = evp.get_method("latent_free_energy")
    assert not method.compilable_with(method.Options(nodes=8, **options))
    monkeypatch.setattr(loop, "RECORDED", 1)
    trained(method, 2, nodes=8, **options)
    assert "as it is written" in caplog.text


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
    caplog.clear()
    monkeypatch.setattr(notices, "_said", set())
    assert bits(trained(method, 8, compile=True)) == bits(written)
    assert caplog.messages[0].startswith("steps are not compiled: ")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("energy_loss", RuntimeError("no C++ compiler\nfound"), id="two lines"),
        pytest.param("energy_loss", FileNotFoundError("g++"), id="g++"),
        pytest.param("hinge", FileNotFoundError("g++"), id="distances"),
    ],
)
def test_without_a_compiler_steps_are_recorded_and_it_is_said_once(monkeypatch, caplog, name, error):
    """Also where a loss is written otherwise for a compiler, as distances to training answers are."""
    import torch._inductor

    def fail(*given, **options):
        raise error

    method = evp.get_method(name)
    monkeypatch.setattr(loop, "RECORDED", 1)
    recorded = trained(method, 6)
    monkeypatch.setattr(torch._inductor, "standalone_compile", fail)
    monkeypatch.setattr(programs, "_compiled", type(programs._compiled)())
    monkeypatch.setattr(programs, "_refused", {})
    monkeypatch.setattr(notices, "_said", set())
    for _ in range(2):
        assert bits(trained(method, 6, compile=True)) == bits(recorded)
    (said,) = caplog.messages
    assert said.startswith("steps are taken without the compiler, which does not work here: ")
    assert "\n" not in said
    model = evp.fit(method, evp.get_task("circle"), budget=evp.Budget(steps=3, examples=10, batch_size=4), compile=True)
    assert not model.training.compiled


@pytest.mark.parametrize(
    "words",
    [
        "C++ compile error\n\nCommand:\ng++ /tmp/{}.cpp\n",
        "[Errno 2] No such file or directory: '/tmp/{}.cpp'",
        "Command '['g++', 'C:\\temp\\{}.cpp']' returned 1",
    ],
    ids=["several lines", "no such file", "command"],
)
def test_a_compiler_that_names_a_file_for_each_program_is_complained_of_once(monkeypatch, caplog, words):
    import torch._inductor

    count = itertools.count()

    def fail(*given, **options):
        raise RuntimeError(words.format(next(count)))

    monkeypatch.setattr(torch._inductor, "standalone_compile", fail)
    monkeypatch.setattr(programs, "_compiled", type(programs._compiled)())
    monkeypatch.setattr(programs, "_refused", {})
    monkeypatch.setattr(notices, "_said", set())
    method = evp.get_method("energy_loss")
    for seeds in ((4, 5, 6), (4, 5)):
        fitted(method, 2, seeds, compile=True)
    assert len(programs._refused) == 2
    assert len(caplog.messages) == 1
    words = "another error"
    fitted(method, 2, (4, 5, 6, 7), compile=True)
    assert caplog.messages[1].endswith(words)


@pytest.mark.parametrize("name", ["kernel_density", "gaussian_process"])
def test_what_repeats_no_step_is_trained_as_ever_and_said_once_not_to_be_compiled(monkeypatch, caplog, name):
    monkeypatch.setattr(notices, "_said", set())
    method, budget = evp.get_method(name), evp.Budget(steps=3, examples=20)
    plain, *compiled = (
        evp.fit(method, evp.get_task("three_curves", thickness=0.1), budget=budget, compile=compile)
        for compile in (False, True, True)
    )
    assert all(bits(left_by(model)) == bits(left_by(plain)) for model in compiled)
    (said,) = caplog.messages
    assert said == f"{name} is not compiled: its training is no repetition of one step"


@pytest.mark.slow
@pytest.mark.parametrize("method", chosen(("hinge",)))
def test_a_compiled_training_is_the_recorded_one_but_for_roundings(method, monkeypatch):
    """Six steps, each some hundred operations on numbers of order 1 to 10."""
    monkeypatch.setattr(loop, "RECORDED", 1)
    recorded, model = trained(method, 6), fitted(method, 6, compile=True)
    assert model.training.compiled
    compiled = left_by(model)
    for name, value in recorded.items():
        if value.is_floating_point() and name != "partition_gap":
            torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4, equal_nan=True, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[pytest.param(name, {}, id=name) for name in COMPILED],
        *[pytest.param(*OPTIONS[key], id=key, marks=pytest.mark.long) for key in OPTIONS],
    ],
)
def test_a_compiled_step_is_the_recorded_one_but_for_roundings(name, options, monkeypatch):
    """The second of two: the first is taken as it is written, so that both begin it with the same numbers."""
    monkeypatch.setattr(loop, "RECORDED", 1)
    method = evp.get_method(name)
    recorded, model = trained(method, 2, **options), fitted(method, 2, compile=True, **options)
    assert model.training.compiled
    compiled = left_by(model)
    for part, value in recorded.items():
        if value.is_floating_point() and part != "partition_gap":
            torch.testing.assert_close(compiled[part], value, rtol=1e-5, atol=1e-6, equal_nan=True, msg=part)


def test_recording_a_step_is_no_training(monkeypatch):
    """A recording that takes half a second is in no replicate's seconds."""
    method, recorded = evp.get_method("energy_loss"), Step.recorded

    def slow(step, *inputs):
        time.sleep(0.5)
        return recorded(step, *inputs)

    monkeypatch.setattr(loop, "RECORDED", 1)
    monkeypatch.setattr(Step, "recorded", slow)
    started = time.perf_counter()
    model = fitted(method, 3)
    assert time.perf_counter() - started > 0.5
    assert sum(cost.seconds for cost in model.cost) < 0.5


def test_a_loss_of_double_precision_may_be_larger_than_single_precision_holds(monkeypatch):
    method, original = evp.get_method("energy_loss"), losses.energy_loss
    monkeypatch.setattr(losses, "energy_loss", lambda energy: 1e39 + original(energy))
    model = fitted(method, 3, dtype=torch.float64)
    assert all(status.ok for status in model.status)
    assert (model.training.loss > 1e38).all()
