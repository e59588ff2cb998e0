"""What every task keeps: seeds, splits, options, errors, and no hand on the global generators."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import variance_agrees, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NoExactReference
from ebm_vs_prob.tasks.quadrature import refined
from ebm_vs_prob.tasks.reference import Reference

TASKS = ["circle", "three_curves", "ellipse", "horn", "digits"]
CONTINUOUS = ["circle", "three_curves", "ellipse", "horn"]


def test_the_built_in_tasks_are_listed():
    assert {task.name for task in evp.list_tasks()} >= set(TASKS)
    for task in evp.list_tasks():
        assert task.summary
        assert "thickness" in task.Options.model_fields


def test_noise_is_unknown_of_those_tasks_that_take_none():
    for task in evp.list_tasks():
        takes_noise = True
        try:
            task.Options(thickness=0.1)
        except ValueError:
            takes_noise = False
        assert task.noise_known == takes_noise, task.name


@pytest.mark.parametrize("name", TASKS)
def test_shapes_dtypes_and_bounds(name):
    task = evp.get_task(name)
    x, y, z = task.sample_with_latent(50, seed=3)
    assert x.shape == (50, task.x_space.dim)
    assert y.shape == (50, task.y_space.dim)
    assert x.dtype == y.dtype == torch.float64
    assert len(z) == 50
    low, high = task.y_space.bounds
    assert bool(((y > low) & (y < high)).all())
    distance = task.reference.distance(x, y)
    assert distance.shape == (50,)
    assert distance.dtype == torch.float64
    assert task.thickness >= 0.0


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_gives_the_same_pairs_and_others_do_not(name):
    task, again = evp.get_task(name), evp.get_task(name)
    y = task.sample(100, seed=7)[1]
    assert torch.equal(y, again.sample(100, seed=7)[1])
    assert not torch.equal(y, task.sample(100, seed=8)[1])
    for split in ("validation", "test"):
        other = task.sample(100, seed=7, split=split)[1]
        assert not bool((torch.cdist(y, other) == 0).any())


@pytest.mark.uses_global_generator
@pytest.mark.parametrize("name", TASKS)
def test_global_generators_are_neither_moved_nor_read(name):
    def states():
        return np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002

    def everything():
        task = evp.get_task(name, **({"rotation": 1} if name == "circle" else {}))
        x, y = task.sample(20, seed=0, split="test")
        if name in CONTINUOUS:
            task.reference.entropy()
        return y, task.reference.distance(x, y), task.reference.answers(x), task.reference.sample(x, 3, seed=0)

    before = states()
    first = everything()
    assert states() == before
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    for one, again in zip(first, everything(), strict=True):
        torch.testing.assert_close(one, again, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_thickness_scales_the_noise_and_changes_nothing_else(name):
    clean, thin, thick = (evp.get_task(name).with_thickness(value) for value in (0.0, 0.01, 0.3))
    x, y, z = clean.sample_with_latent(200, seed=1)
    for task in (thin, thick):
        other_x, other_y, other_z = task.sample_with_latent(200, seed=1)
        assert torch.equal(other_x, x)
        assert torch.equal(other_z, z)
        unit_noise = (thick.sample(200, seed=1)[1] - y) / 0.3
        torch.testing.assert_close((other_y - y) / task.thickness, unit_noise, rtol=0, atol=1e-12)
    assert variance_agrees(unit_noise.flatten(), mean=0.0)  # of 200 numbers, sees a noise half again as thick
    assert float(clean.reference.distance(x, y).max()) < 1e-12


@pytest.mark.parametrize("name", CONTINUOUS)
def test_at_thickness_zero_there_is_no_density_but_there_are_answers(name):
    task = evp.get_task(name, thickness=0.0)
    x, y = task.sample(5)
    for ask in (
        lambda: task.reference.log_prob(x, y),
        lambda: task.reference.log_density(x, y),
        task.reference.entropy,
    ):
        with pytest.raises(NoExactReference, match="thickness = 0 leaves y on a set of measure zero"):
            ask()
    assert bool(task.reference.answers(x).isfinite().all())
    assert task.reference.sample(x, 4).shape == (5, 4, task.y_space.dim)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_exact_samples_have_the_law_of_the_data(name):
    task = evp.get_task(name, thickness=0.1)
    x, _ = task.sample(4000, seed=2)
    y = task.reference.sample(x, 2, seed=5)
    few = slice(50)  # draws of an x do not depend on how many others follow
    assert torch.equal(y[few], task.reference.sample(x[few], 2, seed=5))
    assert not torch.equal(y[few], task.reference.sample(x[few], 2, seed=6))
    assert not torch.equal(y[:, 0], y[:, 1])
    for draw in y.unbind(1):
        surprise = -task.reference.log_prob(x, draw)
        standard_error = surprise.std() / len(x) ** 0.5
        assert within_standard_errors(surprise.mean(), task.reference.entropy(), standard_error, comparisons=2)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("thickness", [0.3, 0.003])
def test_distance_is_the_nearest_answer(name, thickness):
    task = evp.get_task(name, thickness=thickness)
    x, y = task.sample(64, seed=0)
    nearest = (task.reference.answers(x) - y.unsqueeze(1)).norm(dim=-1).amin(1)
    # Neighbouring answers on a curve lie 2 pi / 512 of its longest radius apart at most.
    reach = {"circle": 1.0, "ellipse": 2.0, "horn": 2.0 * math.exp(2.0)}.get(name, 0.0) * math.pi / 512
    torch.testing.assert_close(task.reference.distance(x, y), nearest, rtol=0, atol=reach + 1e-12)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_unchecked_log_prob_broadcasts_as_the_general_rule_does(name):
    task = evp.get_task(name, thickness=0.2)
    x, y = task.sample(12, seed=0)
    x, y = x.reshape(3, 4, -1)[:, :1], y.reshape(3, 4, -1)
    values = task.reference.log_density(x, y)
    assert values.shape == (3, 4)
    torch.testing.assert_close(values, Reference.log_density(task.reference, x, y))
    single = task.reference.log_density(x.float(), y.float())
    assert single.dtype == torch.float64


@given(
    name=st.sampled_from(TASKS), n=st.one_of(st.integers(max_value=0), st.floats(), st.booleans(), st.text(max_size=3))
)
@settings(max_examples=25, deadline=None)
def test_bad_counts_are_named(name, n):
    with pytest.raises(ValueError, match=r"^n = .* is not valid: expected an integer >= 1$"):
        evp.get_task(name).sample(n)


@given(
    name=st.sampled_from(CONTINUOUS),
    thickness=st.one_of(
        st.floats(max_value=0, exclude_max=True), st.sampled_from([math.nan, math.inf]), st.text(max_size=3), st.none()
    ),
)
@settings(max_examples=40, deadline=None)
def test_bad_thickness_is_named(name, thickness):
    with pytest.raises(ValueError, match=f"^{name}: thickness = .* is not valid: expected ") as raised:
        evp.get_task(name, thickness=thickness)
    assert "\n" not in str(raised.value)


@given(
    thickness=st.just(0.0) | st.floats(1e-12, 5),
    dim=st.integers(2, 6),
    kappa=st.floats(0, 1e4),
    rotation=st.none() | st.integers(0, 2**63 - 1),
)
@settings(max_examples=30, deadline=None)
def test_every_valid_circle_works(thickness, dim, kappa, rotation):
    task = evp.get_task("circle", thickness=thickness, ambient_dim=dim, concentration=kappa, rotation=rotation)
    assert json.loads(json.dumps(task.specification())) == task.specification()
    x, y = task.sample(3)
    assert y.shape == (3, dim)
    assert bool(y.isfinite().all())
    if thickness > 1e-100:
        assert bool(task.reference.log_prob(x, y).isfinite().all())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("circle", {"ambient_dim": 1}, "circle: ambient_dim = 1 is not valid"),
        ("circle", {"ambient_dim": 2.5}, "circle: ambient_dim = 2.5 is not valid"),
        ("circle", {"concentration": -1.0}, "circle: concentration = -1.0 is not valid"),
        ("circle", {"rotation": -1}, "circle: rotation = -1 is not valid"),
        ("digits", {"thickness": 0.1}, "digits: thickness = 0.1 is not valid: expected 0: handwriting has no noise"),
        ("digits", {"dequantisation": 0.1}, "digits: dequantisation = 0.1 is not valid"),
        ("circle", {"thicknes": 0.1}, "did you mean 'thickness'"),
        ("three_curves", {"ambient_dim": 2}, "unknown option of three_curves:"),
    ],
)
def test_bad_options_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        evp.get_task(name, **options)


@pytest.mark.parametrize("name", TASKS)
def test_bad_arguments_are_named(name):
    task = evp.get_task(name)
    x, y = task.sample(4, split="test")
    with pytest.raises(ValueError, match="split = 'dev' is not valid: expected one of train, validation, test"):
        task.sample(4, split="dev")
    with pytest.raises(ValueError, match=r"seed = -1 is not valid"):
        task.sample(4, seed=-1)
    with pytest.raises(ValueError, match=r"y\.shape = .* is not valid"):
        task.reference.distance(x, y[:, :-1])
    with pytest.raises(ValueError, match="non-finite"):
        task.reference.distance(x, torch.full_like(y, math.nan))
    with pytest.raises(ValueError, match="with one n"):
        task.reference.distance(x[:2], y)
    with pytest.raises(ValueError, match="num_samples = 0 is not valid"):
        task.reference.sample(x, 0)
    with pytest.raises(ValueError, match=r"x\.shape = .* is not valid"):
        task.reference.answers(x.unsqueeze(0))


def test_refined_raises_rather_than_return_an_inexact_value():
    assert refined(lambda n: 1.0 + 2.0**-n, start=16) == pytest.approx(1.0, abs=1e-9)
    with pytest.raises(ArithmeticError, match=r"quadrature moved by 1\.6e\+01"):
        refined(lambda n: float(n), start=1)
