"""The public fit: what it refuses, what it returns, what is written to disk."""

import numpy as np
import pytest
import torch
from gaussian import Quadratic, gaussian
from hypothesis import given
from hypothesis import strategies as st
from statistical import within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core import registry
from ebm_vs_prob.core.seeding import check_seed, stream

TINY = evp.Budget(steps=4, batch_size=8, examples=32)
METHODS = ("denoising_score_matching", "hinge", "gibbs_maximum_likelihood", "mixture_density", "mean_squared_error")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, r"seeds\[0\]"),
        ({"seeds": [0.5]}, r"seeds\[0\]"),
        ({"dtype": torch.float16}, "dtype"),
        ({"device": "abacus"}, "device"),
        ({"network": evp.Network(), "energy": Quadratic}, "network"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": [0.1, 0.2]}, "sigma"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"sgima": 0.1}, "did you mean 'sigma'"),
        ({"task": []}, "task"),
        ({"task": [evp.get_task("circle"), evp.get_task("three_curves")], "seeds": [0, 1]}, "same spaces"),
        ({"energy": lambda task: 3}, "nn.Module"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    call = {"task": evp.get_task("circle"), "budget": TINY, **arguments}
    with pytest.raises(ValueError, match=words):
        evp.fit("denoising_score_matching", **call)


def test_unknown_names_offer_the_nearest():
    with pytest.raises(LookupError, match="did you mean 'hinge'"):
        evp.fit("hing", evp.get_task("circle"))
    with pytest.raises(LookupError, match="did you mean 'circle'"):
        evp.get_task("cirle")
    with pytest.raises(LookupError, match="did you mean 'prob'"):
        evp.list_methods(family="probs")
    with pytest.raises(AttributeError, match="no attribute"):
        _ = evp.no_such_name


def test_an_energy_of_the_users_has_no_head_to_replace():
    with pytest.raises(ValueError, match="replaces the trunk's head"):
        evp.fit("mixture_density", gaussian(1), energy=Quadratic, budget=TINY)


def test_a_model_says_how_to_normalise_it():
    model = evp.fit("hinge", evp.get_task("circle"), budget=TINY)
    x, y = model.tasks[0].sample(3)
    with pytest.raises(TypeError, match=r"model\.gibbs\(x\)"):
        model.log_prob(x, y)


def test_a_normaliser_of_the_users_choice_is_taken_and_not_kept_for_others():
    model = evp.fit("hinge", evp.get_task("circle"), seeds=[0, 1], budget=TINY, gibbs_beta=2.0)
    x = torch.zeros(1, 0)
    proposed, error = model.gibbs(x, normalizer="importance").log_partition()
    exact, _ = model.gibbs(x).log_partition()
    assert (error > 0).all()
    assert (proposed != exact).all()
    # Errors of 256 weights are themselves estimates; one of .5 nats would be seen, an exact log Z of another beta too.
    assert within_standard_errors(proposed, exact, error, degrees=255)
    assert (error < 0.1).all()
    with pytest.raises(ValueError, match="unknown normalizer"):
        model.gibbs(x, normalizer="guess")


def test_shapes_of_the_interface():
    task = evp.get_task("three_curves", thickness=0.1)
    x, y = task.sample(6)
    for method in METHODS:
        model = evp.fit(method, task, seeds=[0, 1, 2], budget=TINY)
        assert model.energy(x, y).shape == (3, 6)
        torch.testing.assert_close(model.energy(x, y), model.energy(x.expand(3, -1, -1), y))
        answers = model.infer(x, n_starts=5, search=evp.Search(max_steps=3))
        assert answers.y.shape == (3, 6, 5, 1)
        assert answers.energy.shape == answers.steps.shape == answers.converged.shape == (3, 6, 5)
        if model.method.family != "control":
            assert model.sample(x, num_samples=4).shape == (3, 6, 4, 1)
            assert model.gibbs(x).batch_shape == (3, 6)
        if model.method.family == "prob":
            assert model.log_prob(x, y).shape == (3, 6)


@pytest.mark.parametrize(
    "bad", [(torch.zeros(3, 2), torch.zeros(3, 1)), (torch.zeros(3, 1), torch.full((3, 1), torch.nan))]
)
def test_bad_points_are_named(bad):
    model = evp.fit("hinge", evp.get_task("three_curves"), budget=TINY)
    with pytest.raises(ValueError, match=r"x|y"):
        model.energy(*bad)


def test_an_empty_batch_is_named():
    model = evp.fit("hinge", evp.get_task("circle", thickness=0.1), budget=evp.Budget(steps=1))
    x, y = model.tasks[0].sample(3)
    for call in (lambda: model.energy(x[:0], y[:0]), lambda: model.infer(x[:0]), lambda: model.sample(x[:0])):
        with pytest.raises(ValueError, match=r"x\.shape = \(0, 0\) is not valid"):
            call()
    with pytest.raises(ValueError, match=r"y\.shape = \(2, 2\) is not valid"):
        model.gibbs(x).log_prob(y[:2])


@pytest.mark.parametrize("method", METHODS)
def test_a_model_survives_the_disk(method, tmp_path):
    tasks = [evp.get_task("circle", thickness=thickness) for thickness in (0.1, 0.01)]
    model = evp.fit(method, tasks, seeds=[3, 4], budget=TINY, learning_rate=[1e-3, 1e-2])
    x, y = tasks[0].sample(10)
    model.save(tmp_path / "model.safetensors")
    back = evp.load_model(tmp_path / "model.safetensors")
    assert torch.equal(back.energy(x, y), model.energy(x, y))
    assert back.method is model.method
    assert back.seeds == model.seeds
    assert [task.specification() for task in back.tasks] == [task.specification() for task in model.tasks]
    assert back.setting.options.replicates == model.setting.options.replicates
    assert back.setting.budget == model.setting.budget
    assert back.cost == model.cost
    assert torch.equal(back.training.loss, model.training.loss)
    if model.method.family != "control":
        assert torch.equal(back.sample(x[:1], 3), model.sample(x[:1], 3))


def test_a_users_energy_comes_back_with_its_factory(tmp_path):
    evp.register_task(gaussian_task := type(gaussian(1)))
    try:
        model = evp.fit("hinge", gaussian_task(), energy=Quadratic, budget=TINY)
        model.save(tmp_path / "model")
        with pytest.raises(ValueError, match="factory"):
            evp.load_model(tmp_path / "model")
        back = evp.load_model(tmp_path / "model", energy=Quadratic)
    finally:
        from ebm_vs_prob.core.registry import TASKS

        TASKS.unregister("gaussian")
    x, y = model.tasks[0].sample(5)
    assert torch.equal(back.energy(x, y), model.energy(x, y))


def test_what_is_not_a_model_is_refused(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match=r"model\.save"):
        evp.load_model(path)
    with pytest.raises(OSError, match="model2"):
        evp.load_model(tmp_path / "model2")


class PairedOptions(evp.MethodOptions):
    ends: tuple[float, float] = (0.0, 1.0)


def test_options_that_are_tuples_come_back_as_they_were(tmp_path, monkeypatch):
    base = registry.METHODS.get("mean_squared_error")
    paired = type("Paired", (base,), {"name": "paired", "Options": PairedOptions, "__module__": __name__})
    monkeypatch.setattr(registry.METHODS, "get", {"paired": paired}.__getitem__)
    evp.fit("paired", evp.get_task("circle"), seeds=[0, 1], budget=TINY, ends=(2.0, 3.0)).save(tmp_path / "model")
    assert evp.load_model(tmp_path / "model").setting.options.ends == (2.0, 3.0)


def test_a_damaged_model_is_refused(tmp_path):
    evp.fit("hinge", evp.get_task("circle"), budget=TINY).save(tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"model\.save"):
        evp.load_model(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@given(st.integers(0, 2**63 - 1), st.lists(st.one_of(st.text(), st.integers(0, 9)), max_size=3))
def test_streams_follow_from_their_names(seed, axes):
    assert stream(seed, *axes) == stream(seed, *axes)
    assert 0 <= stream(seed, *axes) < 2**63
    assert stream(seed, *axes) != stream(seed, *axes, "more")


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "0", None, True])
def test_bad_seeds_are_named(seed):
    with pytest.raises(ValueError, match="seed"):
        check_seed(seed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": None}, "method = None is not valid"),
        ({"task": None}, r"task = None is not valid: expected a task, such as get_task\('circle'\)"),
        ({"task": "circle"}, "task = 'circle' is not valid: expected a task"),
        ({"seeds": None}, "seeds = None is not valid"),
        ({"budget": 100}, "budget = 100 is not valid: expected a Budget"),
        ({"network": [4]}, r"network = \[4\] is not valid: expected a Network"),
    ],
)
def test_arguments_of_another_type_are_named(arguments, message):
    given = {"method": "hinge", "task": evp.get_task("circle"), "budget": TINY, **arguments}
    with pytest.raises(ValueError, match=message):
        evp.fit(given.pop("method"), given.pop("task"), **given)


@pytest.mark.parametrize("bad", [None, [[0.0, 1.0]], np.zeros((1, 2))])
def test_points_that_are_no_tensors_are_named(bad):
    model = evp.fit("hinge", evp.get_task("circle"), budget=TINY)
    with pytest.raises(ValueError, match=r"^y = .*expected a torch\.Tensor"):
        model.energy(torch.zeros(1, 0), bad)
