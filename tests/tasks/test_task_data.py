"""A user's own data: every file and array is a task or a one-line answer; nothing straddles; units lead back."""

from __future__ import annotations

import io
import math
import time
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import ebm_vs_prob as evp
from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.metrics import METRICS
from ebm_vs_prob.metrics.held_out_sets import precision_and_recall
from ebm_vs_prob.tasks.base import SPLITS
from ebm_vs_prob.tasks.data import Data
from ebm_vs_prob.tasks.rows.parts import FARTHEST, FEWEST
from ebm_vs_prob.tasks.rows.reference import MOST_HELD_OUT
from ebm_vs_prob.tasks.rows.table import MISSING
from ebm_vs_prob.testing import check_task

ROWS = "".join(f"{i},{i * i % 83},x{i % 3}\n" for i in range(100))
CSV = "a,b,c\n" + ROWS


def ring(n=300, seed=0, unit=(30.0, 2.0), centre=(100.0, 5.0)):
    """Points (n, 2) near an ellipse in units of its own, and the angle of each (n,)."""
    rng = evp.numpy_generator(seed, "ring")
    angle = rng.uniform(0, 2 * np.pi, n)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.05 * rng.standard_normal((n, 2))
    return circle * unit + centre, angle


def own_rows(task, split):
    """The rows of a part in the user's units, rounded so that scaling back and forth is forgotten."""
    part = task.parts[split]
    y = part.y[:, None] if task.y_scaling is None else task.y_scaling.undo(torch.from_numpy(part.y)).numpy()
    x = task.x_scaling.undo(torch.from_numpy(part.x)).numpy()
    return np.round(np.concatenate([x, y], 1), 6)


def answered(make, *reasons):
    """What `make` makes, or None where it raises a `ValueError` of one line, which gives one of the reasons if any."""
    try:
        return make()
    except ValueError as error:
        said = str(error)
    assert len(said) > 10, said
    assert "\n" not in said, said
    assert not reasons or any(reason in said for reason in reasons), said
    return None


def made(tmp_path, content, name="points.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return evp.get_task("data", **{"data": str(path), "y": ["a"], **options})


# ---- the contract --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unconditional", "conditional", "labels", "manifold", "own units"])
def test_own_data_keep_the_rules_of_tasks(kind):
    y, angle = ring(400)
    made = {
        "unconditional": lambda: evp.task_from_arrays(y),
        "conditional": lambda: evp.task_from_arrays(y, angle, scaling="mean"),
        "labels": lambda: evp.task_from_arrays((angle > 3).astype(int), y),
        "manifold": lambda: evp.task_from_arrays(y, manifold=lambda own: np.abs(own[:, 0] - 100)),
        "own units": lambda: evp.task_from_arrays(y, scaling="none"),
    }
    check_task(made[kind]())


def test_what_is_not_known_says_so():
    task = evp.task_from_arrays(ring()[0], name="ring")
    x, y = task.sample(3)
    for ask, what in (
        (lambda: task.reference.log_prob(x, y), "no exact log_prob"),
        (lambda: task.reference.log_density(x, y), "no exact log_prob"),
        (task.reference.entropy, "no exact entropy"),
        (lambda: task.reference.answers(x), "is not known"),
        (lambda: task.reference.distance(x, y), "no manifold is known"),
    ):
        with pytest.raises(evp.NoExactReference, match=f"^ring: .*{what}"):
            ask()


def test_every_option_that_a_user_may_get_wrong_is_named(tmp_path):
    for options, message in (
        ({"thickness": 0.1}, "thickness = 0.1 is not valid: expected 0: no noise is added"),
        ({"test_share": 0.9}, r"expected validation_share \+ test_share below 1"),
        ({"y": []}, r"y = \[\] is not valid: expected the names of one column or more"),
        ({"y": ["a", "a"]}, "'a' is named twice"),
        ({"x": ["a"]}, "'a' is named twice"),
        ({"y": ["a", "b"], "answers": "labels"}, "one column of y where answers = 'labels'"),
        ({"answers": "labels"}, r"x = \[\] is not valid"),
        ({"scaling": "z"}, "scaling = 'z' is not valid"),
        ({"separator": "\uff1b"}, "separator = '\uff1b' is not valid: expected one ASCII character"),
        ({"separator": '"'}, "separator = .* is not valid: expected one ASCII character"),
        ({"separator": ";;"}, "separator = ';;' is not valid: expected one ASCII character"),
        ({"colums": ["a"]}, "unknown option of data:"),
        ({"sha256": "0" * 64}, "SHA-256 of points.csv = .* is not valid: expected 0+: the file holds other data"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            made(tmp_path, CSV, **options)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"data: data = '' is not valid: expected the path"):
        evp.get_task("data", y=["a"])


# ---- parts ---------------------------------------------------------------------------------------------------------


@given(
    values=arrays.arrays(np.int64, st.tuples(st.integers(12, 60), st.just(2)), elements=st.integers(0, 6)),
    seed=st.integers(0, 2**63 - 1),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_equal_rows_are_in_one_part_whatever_the_order(values, seed):
    few = ("in every row", "expected enough for 2 in each")
    task = answered(lambda: evp.task_from_arrays(values.astype(float), scaling="none", split_seed=seed), *few)
    if task is None:
        return
    rows = {split: own_rows(task, split) for split in SPLITS}
    sets = {split: {tuple(row) for row in part} for split, part in rows.items()}
    assert len(set.union(*sets.values())) == sum(map(len, sets.values()))
    together = np.concatenate(list(rows.values()))
    assert sorted(map(tuple, together)) == sorted(map(tuple, values.astype(float)))
    assert all(len(part) >= FEWEST for part in rows.values())
    again = evp.task_from_arrays(values[::-1].astype(float), scaling="none", split_seed=seed)
    for split in SPLITS:
        assert sorted(map(tuple, own_rows(again, split))) == sorted(map(tuple, rows[split]))


def test_shares_are_met_where_no_row_comes_twice():
    task = evp.task_from_arrays(ring(1000)[0], validation_share=0.1, test_share=0.25)
    assert [len(task.parts[split]) for split in SPLITS] == [650, 100, 250]
    other = evp.task_from_arrays(ring(1000)[0], validation_share=0.1, test_share=0.25, split_seed=1)
    assert not np.array_equal(own_rows(task, "test"), own_rows(other, "test"))


def test_test_rows_of_the_users_choice_are_the_test_part_and_in_no_other():
    y = ring()[0]
    task = evp.task_from_arrays(y, test=y[:40])
    assert task.left_out == {"also in test": 40}
    assert sorted(map(tuple, own_rows(task, "test"))) == sorted(map(tuple, np.round(y[:40], 6)))
    assert len(task.parts["train"]) + len(task.parts["validation"]) == 260
    shared = {tuple(row) for row in own_rows(task, "test")} & {tuple(row) for row in own_rows(task, "train")}
    assert not shared
    with pytest.raises(ValueError, match="test"):
        evp.task_from_arrays(y, y[:, :1], test=y[:40])
    with pytest.raises(ValueError, match="columns"):
        evp.task_from_arrays(y, test=y[:40, :1])


def test_sampling_goes_through_a_part_before_it_begins_again():
    task = evp.task_from_arrays(ring()[0])
    size = len(task.parts["test"])
    y = task.sample(2 * size, seed=3, split="test")[1].numpy()
    for half in (y[:size], y[size:]):
        assert sorted(map(tuple, half)) == sorted(map(tuple, task.parts["test"].y))
    assert not np.array_equal(y[:size], y[size:])


# ---- units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["median", "mean", "none"])
def test_units_follow_from_the_training_part_and_lead_back(scaling):
    y, angle = ring()
    task = evp.task_from_arrays(y, angle, scaling=scaling)
    train = task.parts["train"]
    middle, spread = {"median": (np.median, None), "mean": (np.mean, np.std), "none": (None, None)}[scaling]
    if middle is not None:
        np.testing.assert_allclose(middle(train.y, axis=0), 0.0, atol=1e-12)
    if spread is not None:
        np.testing.assert_allclose(spread(train.y, axis=0), 1.0)
    if scaling == "median":
        low, high = np.quantile(train.y, [0.25, 0.75], axis=0)
        np.testing.assert_allclose(high - low, 2 * 0.6744897501960817)  # as of a standard normal
    both = np.concatenate([own_rows(task, split) for split in SPLITS])
    assert sorted(map(tuple, both)) == sorted(map(tuple, np.round(np.c_[angle, y], 6)))
    back = task.y_scaling.apply(task.y_scaling.undo(torch.from_numpy(train.y)))
    torch.testing.assert_close(back, torch.from_numpy(train.y), rtol=0, atol=1e-12)
    low, high = task.y_space.bounds
    assert low < train.y.min() < train.y.max() < high


def test_log_scores_are_of_the_density_in_the_users_units():
    """Independent of `log_unit`: the density of the user's y, by the change of variables, integrates to 1."""
    y = ring()[0][:, :1]
    task = evp.task_from_arrays(y)
    model = evp.fit("mixture_density", task, budget=evp.Budget(steps=40, examples=100))
    grid = torch.linspace(-400, 600, 8001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        log_q = model.log_prob(torch.empty(len(grid), 0), task.y_scaling.apply(grid))[0] - task.log_unit
    assert torch.trapezoid(log_q.double().exp(), grid[:, 0]).item() == pytest.approx(1.0, abs=1e-3)
    table = evp.evaluate(model, task, evp.Evaluation(test_examples=60, inputs=2, samples=8, starts=2))
    found = table.set_index("metric")["value"]
    x, held = task.sample(60, seed=0, split="test")
    with torch.no_grad():
        expected = float(model.log_prob(x, held).double().mean()) - math.log(task.y_scaling.unit[0])
    assert found["log_score"] == pytest.approx(expected, abs=1e-5)
    assert found["gibbs_log_score_unit_beta"] == found["log_score"]
    assert found["gibbs_log_score"] == pytest.approx(found["log_score"], abs=0.1)  # at a fitted beta


def test_distance_is_the_users_in_the_users_units():
    y, angle = ring(unit=(30.0, 30.0))
    away = evp.task_from_arrays(y, manifold=lambda own: np.abs(np.hypot(*(own - (100, 5)).T) - 30))

    def nearest(own):
        arrow = own - (100, 5)
        return (100, 5) + 30 * arrow / np.linalg.norm(arrow, axis=1, keepdims=True)

    onto = evp.task_from_arrays(y, manifold=nearest)
    x, held = away.sample(50, split="test")
    expected = np.abs(np.hypot(*(away.y_scaling.undo(held).numpy() - (100, 5)).T) - 30)
    for task in (away, onto):
        np.testing.assert_allclose(task.reference.distance(x, held).numpy(), expected, atol=1e-9)
    given_x = evp.task_from_arrays(y, angle, manifold=lambda x, own: np.abs(x[:, 0]))
    x, held = given_x.sample(5)
    np.testing.assert_allclose(given_x.reference.distance(x, held), given_x.x_scaling.undo(x)[:, 0].abs())
    x_and_y = away.sample(5)
    for wrong in (lambda own: own[:, :1], lambda own: -np.ones(len(own)), lambda own: own * np.nan, lambda own: "a"):
        task = evp.task_from_arrays(y, manifold=wrong)
        with pytest.raises(ValueError, match="manifold"):
            task.reference.distance(*x_and_y)
    with pytest.raises(ValueError, match="manifold"):
        evp.task_from_arrays(y, manifold=3)


@pytest.mark.parametrize("given_x", [False, True], ids=["unconditional", "conditional"])
def test_distances_of_one_column_are_not_taken_for_projections(given_x):
    y = ring(300, unit=(1.0, 1.0), centre=(0.0, 0.0))[0][:, :1]

    def task(manifold):
        return evp.task_from_arrays(y, *([np.arange(300.0)] if given_x else []), manifold=manifold)

    def last(made):
        return (lambda x, own: made(own)) if given_x else made

    for distances in (lambda own: np.abs(own - 3), np.abs, lambda own: np.abs(own + 0.2)):
        wrong = task(last(distances))
        with pytest.raises(ValueError, match=r"manifold\(y\) of shape \(50, 1\) at y = .* distances \(50,\)"):
            wrong.reference.distance(*wrong.sample(50))
        right = task(last(lambda own, distances=distances: distances(own)[:, 0]))
        x, held = right.sample(50)
        expected = distances(right.y_scaling.undo(held).numpy())[:, 0]
        np.testing.assert_allclose(right.reference.distance(x, held), expected)
    for onto in (np.round, np.sign, lambda own: 0 * own, lambda own: np.float32(own).clip(-0.5, 0.5)):
        right = task(last(onto))
        x, held = right.sample(50)
        own = right.y_scaling.undo(held).numpy()
        np.testing.assert_allclose(right.reference.distance(x, held), np.abs(own - onto(own))[:, 0], atol=1e-6)


def test_what_lies_too_far_for_the_arithmetic_of_models_is_named_in_every_part():
    y = ring()[0]
    far = np.concatenate([y[:20], [[100.0, -1e60]]])
    for make in (
        lambda: evp.task_from_arrays(y[20:], test=far),
        lambda: evp.task_from_arrays(pd.DataFrame(y[20:], columns=["a", "y[1]"]), test=far),
        lambda: evp.task_from_arrays(y[20:, 0], y[20:], test=(far, far[:, 0])),
        lambda: evp.task_from_arrays(far.repeat(3, 0) + np.arange(63.0)[:, None], scaling="none"),
    ):
        with pytest.raises(ValueError, match=r"column '[xy]\[1\]': a value = -1e\+60 is not valid: expected a number"):
            make()
    for seed in range(8):  # the row is in one part or another
        with pytest.raises(ValueError, match=r"column 'y\[1\]': a value = -1e\+60 is not valid"):
            evp.task_from_arrays(np.concatenate([y, far[-1:]]), split_seed=seed)
    task = evp.task_from_arrays(np.linspace(-FARTHEST, FARTHEST, 60), scaling="none")
    for part in task.parts.values():
        assert np.isfinite(np.float32(part.y) ** 2).all()
    assert len(evp.task_from_arrays(1e96 * y).parts["train"]) == 180  # large numbers that are near one another


# ---- held-out rows -------------------------------------------------------------------------------------------------


def test_held_out_answers_are_the_test_rows_of_that_x():
    rng = evp.numpy_generator(0, "held out")
    x, y = rng.integers(0, 4, 200).astype(float), rng.standard_normal(200)
    task = evp.task_from_arrays(y, x, scaling="none")
    given_x = torch.tensor([[0.0], [3.0], [9.0]])
    sets = task.reference.held_out(given_x)
    test = task.parts["test"]
    for row, value in zip(sets, (0.0, 3.0), strict=False):
        found = row[row.isfinite().all(-1)].numpy()
        assert sorted(found[:, 0]) == sorted(test.y[test.x[:, 0] == value, 0])
    assert sets[2].isnan().all()
    draws = task.reference.sample(given_x[:2], 500)
    assert set(draws[1].flatten().tolist()) <= set(test.y[test.x[:, 0] == 3.0, 0])
    with pytest.raises(ValueError, match="an input of no test row"):
        task.reference.sample(given_x, 1)
    many = evp.task_from_arrays(rng.standard_normal((3 * MOST_HELD_OUT, 1)), test_share=0.5)
    assert many.reference.held_out(torch.empty(1, 0)).shape == (1, MOST_HELD_OUT, 1)


def test_balls_of_equal_answers_reach_the_next_other():
    truth = torch.tensor([[0.0], [0.0], [3.0]], dtype=torch.float64)
    draws = torch.tensor([[2.0], [9.0]], dtype=torch.float64)
    assert precision_and_recall(draws, truth) == (0.5, 1.0)
    same = torch.zeros(3, 1, dtype=torch.float64)
    assert precision_and_recall(draws, same) == (0.0, 0.0)


def test_answers_outside_the_box_are_counted_and_not_clipped():
    y = ring()[0]
    far = np.concatenate([y[:20], [[1e4, 5.0]]])
    task = evp.task_from_arrays(y[20:], test=far)
    assert len(task.parts["test"]) == 21
    model = evp.fit("denoising_score_matching", task, budget=evp.Budget(steps=5, examples=50), gibbs_beta=1.0)
    look = evp.Evaluation(test_examples=21, inputs=2, samples=8, starts=2)
    table = evp.evaluate(model, task, look)
    assert "1 of 21 held-out answers lie outside the y-box" in table.attrs["notes"]["gibbs_log_score"]
    assert math.isnan(table.set_index("metric").loc["gibbs_log_score", "value"])
    assert table.set_index("metric").loc["energy_score", "value"] > 0


def test_no_test_row_is_measured_twice():
    task = evp.task_from_arrays(ring(100)[0])
    model = evp.fit("kernel_density", task, budget=evp.Budget(steps=1, examples=60))
    table = evp.evaluate(model, task, evp.Evaluation(inputs=40, starts=1, samples=8)).set_index("metric")
    assert table.loc["log_score", "n"] == task.test_rows == 20
    assert len(evp.compare_models({"a": model, "b": model}, task).table) == 2
    known = evp.inference_data(model, task).log_likelihood["y"]
    assert known.shape[-1] == 20
    assert float(known.mean()) == pytest.approx(table.loc["log_score", "value"], abs=1e-5)  # both in the user's units


# ---- labels --------------------------------------------------------------------------------------------------------


def test_labels_are_numbered_in_order_and_measured_without_truth():
    y, angle = ring()
    task = evp.task_from_arrays(np.where(angle > 3, "right", "left"), y)
    assert task.classes == ("left", "right")
    assert task.y_space == evp.Labels(2)
    assert evp.task_from_arrays((10 * (angle > 3)).astype(int), y).classes == ("0", "10")
    assert evp.task_from_arrays(np.floor(angle).astype(int) * 5, y).classes == ("0", "5", "10", "15", "20", "25", "30")
    model = evp.fit("softmax_classifier", task, budget=evp.Budget(steps=100, examples=180))
    table = evp.evaluate(model, task, evp.Evaluation(test_examples=60)).set_index("metric")
    assert 0 <= table.loc["error_rate", "value"] < 0.2
    assert math.isfinite(table.loc["gibbs_log_score", "value"])
    assert math.isnan(table.loc["excess_error", "value"])
    with pytest.raises(ValueError, match="a label that the data have too"):
        evp.task_from_arrays((angle > 3).astype(int), y, test=(y[:9], np.arange(9)))
    with pytest.raises(ValueError, match="None where y is labels"):
        evp.task_from_arrays((angle > 3).astype(int), y, manifold=lambda x, y: y)


GAPS = {
    "a list": lambda gap: [0, 1, gap] * 30,
    "a list of NumPy integers": lambda gap: [np.int8(0), np.int8(1), gap] * 30,
    "a list of booleans": lambda gap: [False, True, gap] * 30,
    "a list of text": lambda gap: ["a", "b", gap] * 30,
    "objects": lambda gap: np.array([0, 1, gap] * 30, dtype=object),
    "a series of objects": lambda gap: pd.Series([0, 1, gap] * 30, dtype=object),
}
MASKED = np.arange(90) % 3 == 2
KINDS = {
    **{f"{name}, {gap}": made(gap) for name, made in GAPS.items() for gap in (None, float("nan"), pd.NA)},
    "Int64": pd.Series([0, 1, None] * 30, dtype="Int64"),
    "boolean": pd.Series([False, True, None] * 30, dtype="boolean"),
    "string": pd.Series(["a", "b", None] * 30, dtype="string"),
    "categories": pd.Series(pd.Categorical([0, 1, None] * 30)),
    "masked integers": np.ma.array([0, 1, 7] * 30, mask=MASKED),
    "masked booleans": np.ma.array([False, True, True] * 30, mask=MASKED),
    "masked text": np.ma.array(["a", "b", "c"] * 30, mask=MASKED),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_makes_no_numbers_of_labels(kind):
    y, x = KINDS[kind], np.arange(90.0)
    with pytest.raises(ValueError, match=r"30 of 90 rows miss a value \(column 'y', row 3"):
        evp.task_from_arrays(y, x)
    task = evp.task_from_arrays(y, x, missing="drop")
    assert task.classes in (("0", "1"), ("False", "True"), ("a", "b"))
    assert task.left_out == {"missing": 30}
    whole = [each for each, gap in zip(list(y), MASKED, strict=True) if not gap]
    assert evp.task_from_arrays(whole, x[~MASKED]).classes == task.classes


@pytest.mark.parametrize(
    "y",
    [
        np.ma.array([0, 1] * 30),
        [torch.tensor(0), torch.tensor(1)] * 30,
        pd.Series([0, 1] * 30, dtype="Int64"),
        pd.Series([0, 1] * 30, dtype=object),
    ],
    ids=["masked", "tensors", "Int64", "objects"],
)
def test_integers_are_labels_in_whatever_holds_them(y):
    assert evp.task_from_arrays(y, np.arange(60.0)).classes == ("0", "1")


@pytest.mark.parametrize(
    "y",
    [
        [0, 1.5, None] * 30,
        pd.Series([0, 1.5, None] * 30, dtype="Float64"),
        np.ma.array([0, 1.5, 7] * 30, mask=MASKED),
        np.array([0, 1.5, np.nan] * 30, dtype=object),
    ],
    ids=["list", "Float64", "masked", "objects"],
)
def test_a_gap_makes_no_labels_of_numbers(y):
    task = evp.task_from_arrays(np.arange(90.0), x=y, missing="drop")
    assert task.left_out == {"missing": 30}
    with pytest.raises(ValueError, match="30 of 90 rows miss a value"):
        evp.task_from_arrays(y)
    assert evp.task_from_arrays(list(y)[:2] * 30 + [2.5, 3.5, 4.5] * 30, scaling="mean").classes == ()


@pytest.mark.parametrize("kind", ["list", "csv"])
def test_one_long_label_takes_no_room_in_every_row(tmp_path, kind):
    labels = [*["a", "b"] * 1000, "c" * 100_000]
    x = np.arange(2001.0)
    text = "a,b\n" + "".join(f"{label},{each}\n" for label, each in zip(labels, x, strict=True))
    tracemalloc.start()
    try:
        task = made(tmp_path, text, x="b", answers="labels") if kind == "csv" else evp.task_from_arrays(labels, x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert task.classes == ("a", "b", "c" * 100_000)
    assert peak < 5e7, "2001 rows of 100,000 characters of four bytes are 8e8"


# ---- files ---------------------------------------------------------------------------------------------------------


def npz(**columns):
    file = io.BytesIO()
    np.savez(file, **columns)
    return file.getvalue()


def parquet(**columns):
    file = io.BytesIO()
    pd.DataFrame(columns).to_parquet(file)
    return file.getvalue()


def packed(header):
    """An `.npz` with an array `a` of that header and a sound one `b`."""
    content = header.encode().ljust(117) + b"\n"
    file = io.BytesIO(npz(b=np.ones(9)))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content + bytes(72))
    return file.getvalue()


def test_one_table_in_three_kinds_of_files_is_one_task(tmp_path):
    y, angle = ring()
    text = "b,a,c\n" + "".join(f"{b!r},{a!r},{c!r}\n" for (a, b), c in zip(y.tolist(), angle.tolist(), strict=True))
    kinds = {
        "points.csv": text.encode("utf-8-sig"),
        "semicolon.csv": text.replace(",", ";").encode(),
        "points.npz": npz(a=y[:, 0], b=y[:, 1], c=angle),
        "points.parquet": parquet(a=y[:, 0], b=y[:, 1], c=angle),
    }
    tasks = [
        made(tmp_path, content, name, y=["a", "b"], x=["c"], separator=";" if "semi" in name else ",")
        for name, content in kinds.items()
    ]
    tasks.append(evp.task_from_arrays(pd.DataFrame({"a": y[:, 0], "b": y[:, 1]}), torch.from_numpy(angle)))
    for task in tasks[1:]:
        for one, other in zip(task.sample(20, seed=1), tasks[0].sample(20, seed=1), strict=True):
            assert torch.equal(one, other)
    whole = made(tmp_path, npz(a=y), "whole.npz")
    assert whole.y_space.dim == 2


def test_one_table_of_labels_in_three_kinds_of_files_is_one_task(tmp_path):
    """What is missing in one is missing in all."""
    labels = [*["a", "b"] * 30, *sorted(MISSING), " ", "None", "NAN"]
    x = [float(value) for value in range(len(labels))]
    text = "b,a\n" + "".join(f"{value},{label}\n" for value, label in zip(x, labels, strict=True))
    kinds = {"points.csv": text, "points.npz": npz(a=labels, b=x), "points.parquet": parquet(a=labels, b=x)}
    own = {"x": "b", "answers": "labels"}
    tasks = [made(tmp_path, content, name, y="a", missing="drop", **own) for name, content in kinds.items()]
    tasks += [evp.task_from_arrays(each, x, missing="drop") for each in (labels, np.array(labels), pd.Series(labels))]
    for task in tasks:
        assert task.classes == (" ", "NAN", "None", "a", "b")
        assert task.left_out == {"missing": len(MISSING)}
        for one, other in zip(task.sample(20, seed=1), tasks[0].sample(20, seed=1), strict=True):
            assert torch.equal(one, other)
    for name, content in kinds.items():
        with pytest.raises(ValueError, match=f"{len(MISSING)} of {len(labels)} rows miss a value"):
            made(tmp_path, content, name, y="a", **own)


def test_missing_in_a_csv_file_is_what_arrow_takes_for_it():
    from pyarrow import csv

    assert frozenset(csv.ConvertOptions().null_values) == MISSING


def test_a_gap_that_numpy_made_text_is_no_class():
    task = evp.task_from_arrays(np.array(["a", "b", np.nan] * 30), np.arange(90.0), missing="drop")
    assert task.classes == ("a", "b")
    assert task.left_out == {"missing": 30}


BAD = {
    "a text among numbers": (CSV + "abc,1,x\n", {}, "column 'a': Row 102: expected a number, not 'abc'"),
    "a column of text": (CSV, {"y": ["c"]}, "column 'c': Row 2: expected a number, not 'x0'"),
    "a missing value": (CSV + ",1,x\n", {}, r"1 of 101 rows miss a value \(column 'a', row 102 is the first\)"),
    "nothing but missing": ("a\nNA\nNA\n", {"missing": "drop"}, "has no rows without a missing value"),
    "a constant": ("a\n" + "3\n" * 50, {}, "column 'a' is 3 in every row: leave it out"),
    "a constant x": ("a,b\n" + "".join(f"{i},1\n" for i in range(50)), {"x": ["b"]}, "column 'b' is 1 in every row"),
    "one value in most": (
        "a,b\n" + "".join(f"{max(0, i - 80)},{i}\n" for i in range(100)),
        {"y": ["a", "b"]},
        "column 'a' has one value in half of its rows or more, and no interquartile range",
    ),
    "one row": ("a\n3\n", {}, "1 with 1 distinct ones, train gets 0: expected enough for 2"),
    "few distinct rows": ("a\n" + "1\n2\n" * 50, {}, "with 2 distinct ones"),
    "no such column": (CSV, {"y": ["bb"]}, "unknown column of points.csv: 'bb': did you mean 'b'"),
    "no header": (ROWS, {}, "unknown column of points.csv: 'a'"),
    "an empty file": ("", {}, "points.csv is empty"),
    "blank lines": ("\n\n\n", {}, "points.csv is empty"),
    "a header alone": ("a,b\n", {}, "has no rows"),
    "infinity": (CSV + "inf,1,x\n", {}, "column 'a', row 102 = inf is not valid: expected a number between"),
    "beyond float64": (CSV + "-1e400,1,x\n", {}, "row 102 = -inf is not valid"),
    "a huge integer": (CSV + "9" * 400 + ",1,x\n", {}, "row 102 = inf is not valid"),
    "no UTF-8": (b"a,b\n1,\xff\n", {}, "byte 7 is not UTF-8"),
    "no UTF-8 in the header": (b"\xe9,a\n1,2\n", {}, "byte 1 is not UTF-8"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), {}, "byte 1 is not UTF-8"),
    "a name twice": ("a,b,a\n1,2,3\n", {}, "column 'a' is there 2 times"),
    "a ragged row": (CSV + "1,2,3,4\n", {}, "Row 102: Expected 3 columns, got 4"),
    "another separator": ("a;b\n1;2\n", {}, r"valid: a;b \(separator = ';'\?\)$"),
    "a tab as separator": ("a\tb\n1\t2\n", {}, r"\(separator = '\\t'\?\)$"),
    "a comma as separator": ("a,b\n1,2\n", {"separator": ";"}, r"\(separator = ','\?\)$"),
    "a lone column of another name": ("c\n1\n", {}, "'a': valid: c$"),
    "too many labels": (
        "a,b\n" + "".join(f"id{i},{i}\n" for i in range(1200)),
        {"answers": "labels", "x": ["b"]},
        "labels = 1200 is not valid: expected at most 1000 distinct labels",
    ),
    "an open quotation mark": (
        CSV + '1,2,"x\n' + ROWS,
        {},
        "row 102 has a quotation mark that is not closed where its entry ends",
    ),
    "an open quotation mark among others": (
        'a,b,c\n1,2,"x\n' + ROWS + '1,2,"x"\n',
        {},
        "row 2 has a quotation mark that is not closed",
    ),
    "two open quotation marks": ('a,b,c\n1,2,"x\n' + ROWS + '9,9,"y\n', {}, "row 2 has a quotation mark that is not"),
    "two open quotation marks in labels": (
        'a,b,c\n1,2,"x\n' + ROWS + '9,9,"y\n',
        {"y": ["c"], "x": ["a"], "answers": "labels"},
        "row 2 has a quotation mark that is not closed where its entry ends",
    ),
    "a first name with an open quotation mark": ('\ufeff"a"b,c\n1,2\n', {"y": ["c"]}, "row 1 has a quotation mark"),
    "a quotation mark that is open after an entry of two lines": (
        'a,b,c\n1,2,"x\ny"\n\n1,2,"x\n' + ROWS + '1,2,"y\n',
        {},
        "row 4 has a quotation mark that is not closed",
    ),
    "a blank line in one column": ("\n\na\n1\n\n3\n\n", {}, r"1 of 3 rows miss a value \(column 'a', row 5 is"),
    "text after a blank line in one column": ("a\n1\n\nabc\n", {}, "column 'a': Row 4: expected a number, not 'abc'"),
    "a missing value after blank lines": ("\na,b\n\n1,2\n\n\n,4\n", {}, r"column 'a', row 7 is the first"),
    "infinity after blank lines": ("a,b\r\n\r\n1,2\r\n\r\ninf,4\r\n", {}, "column 'a', row 5 = inf is not valid"),
    "text after blank lines and an entry of two lines": (
        'a,b,c\n1,2,"x, ""y\n"\n\nabc,1,x\n',
        {},
        "column 'a': Row 4: expected a number, not 'abc'",
    ),
    "a ragged row after blank lines": ("a,b\n\n\n1,2\n1,2,3\n", {}, "Row 5: Expected 2 columns, got 3"),
    "a long entry of several lines": (
        f'{CSV}1,2,"{"x" * 99}\n' + "y\n" * (1 << 20) + '"\n',
        {},
        "a quoted entry of several lines has more than",
    ),
    "one label": ("a,b\n" + "".join(f"z,{i}\n" for i in range(30)), {"answers": "labels", "x": ["b"]}, "one label 'z'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_csv_file_has_a_one_line_answer(tmp_path, case):
    content, options, message = BAD[case]
    with pytest.raises(ValueError, match=message) as raised:
        made(tmp_path, content, **options)
    assert "\n" not in str(raised.value)


BAD_BINARIES = {
    "pickled objects": (
        "o.npz", lambda: npz(a=np.array([{}, 1], dtype=object), b=np.ones(2)), "pickled objects, which are not read"
    ),
    "arrays of two lengths": ("o.npz", lambda: npz(a=np.arange(50.0), b=np.arange(49.0)), "arrays of one length"),
    "complex numbers": ("o.npz", lambda: npz(a=np.ones(9) * 1j, b=np.ones(9)), "complex128"),
    "three dimensions": ("o.npz", lambda: npz(a=np.ones((9, 1, 1)), b=np.ones(9)), r"\(9, 1, 1\)"),
    "an array without columns": ("o.npz", lambda: npz(a=np.ones((9, 0)), b=np.ones(9)), r"float64 \(9, 0\): expected"),
    "a header of more than there is": (
        "o.npz", lambda: packed("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
        "array 'a' cannot be read",
    ),
    "a header beyond any memory": (
        "o.npz", lambda: packed("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1" + "0" * 30 + ",)}"),
        "array 'a' cannot be read",
    ),
    "a header without an end": (
        "o.npz", lambda: packed("{'descr': '<f8', 'fortran_order': False, 'shape': (9,)"), "array 'a' cannot be read"
    ),
    "a header of several kinds of keys": (
        "o.npz", lambda: packed("{'descr': '<f8', 1: False, 'shape': (9,)}"), "array 'a' cannot be read"
    ),
    "a header of no kind of number": (
        "o.npz", lambda: packed("{'descr': (), 'fortran_order': False, 'shape': (9,)}"), "array 'a' cannot be read"
    ),
    "no archive": ("o.npz", lambda: b"abc", "cannot be read as .npz"),
    "a torn archive": ("o.npz", lambda: npz(a=np.arange(50.0), b=np.arange(50.0))[:300], "cannot be read as .npz"),
    "nested columns": (
        "o.parquet", lambda: parquet(a=[[1, 2]] * 50, b=range(50)),
        "column 'a' holds list<.*>: expected numbers: one column for each of its entries",
    ),
    "dates": ("o.parquet", lambda: parquet(a=pd.date_range("2020", periods=9), b=range(9)), "holds timestamp"),
    "no Parquet": ("o.parquet", lambda: b"abc", "cannot be read as Parquet"),
    "a spreadsheet": ("o.xlsx", lambda: b"abc", "a file whose name ends in .csv, .npz, .parquet"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BINARIES)
def test_a_bad_binary_file_has_a_one_line_answer(tmp_path, case):
    name, content, message = BAD_BINARIES[case]
    with pytest.raises(ValueError, match=message) as raised:
        made(tmp_path, content(), name, x=["b"])
    assert "\n" not in str(raised.value)


def test_rows_and_a_header_longer_than_a_mebibyte_are_read(tmp_path):
    """Of 100,000 columns two are used."""
    more = range(100_000)
    text = "a,b," + ",".join(f"column {k}" for k in more) + "\n"
    text += "".join(f"{i},{i * i}," + ",".join("0.123456789" for _ in more) + "\n" for i in range(12))
    assert text.index("\n") > 1 << 20
    task = made(tmp_path, text, x=["b"], validation_share=0.25, test_share=0.25)
    rows = np.concatenate([own_rows(task, split) for split in SPLITS])
    assert sorted(map(tuple, rows)) == [(float(i * i), float(i)) for i in range(12)]


def test_a_quotation_mark_within_an_entry_means_itself(tmp_path):
    task = made(tmp_path, CSV + '1,2,5"\n', x="a", y="c", answers="labels")
    assert task.classes == ('5"', "x0", "x1", "x2")


def test_quotation_marks_that_are_closed_are_no_fault_however_long_their_entries(tmp_path):
    """Longer than the csv module of Python takes."""
    label = "z" * 200_000
    text = CSV + f'1,2,"{label}"\n3,4,{label}\n5,6,"""q"", 5"""\n7,8,"two\nlines"\n9,9,5"\n10,10,""\n'
    task = made(tmp_path, text, x="a", y="c", answers="labels", missing="drop")
    assert task.classes == ('"q", 5"', '5"', "two\nlines", "x0", "x1", "x2", label)
    assert task.left_out == {"missing": 1}
    semicolons = text.replace('"q"",', '"q"";').replace(",", ";")
    other = made(tmp_path, semicolons, "semicolon.csv", x="a", y="c", answers="labels", missing="drop", separator=";")
    assert len(other.classes) == len(task.classes)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
def test_blank_lines_at_the_ends_of_one_column_are_no_rows(tmp_path, mark):
    numbers = [f"{value}" for value in ring(60)[0][:, 0].tolist()]
    bare = made(tmp_path, "\n".join(["a", *numbers]), "bare.csv")
    task = made(tmp_path, mark + "\r\n\n" + "\r\n".join(["a", *numbers]) + "\n\r\n\n")
    for one, other in zip(task.sample(20), bare.sample(20), strict=True):
        assert torch.equal(one, other)
    gap = made(tmp_path, "\n".join(["a", *numbers[:9], "", *numbers[9:]]), missing="drop")
    assert gap.left_out == {"missing": 1}


def test_the_nearest_of_many_columns_is_offered_and_the_rest_are_counted(tmp_path):
    names = ",".join([*(f"column{k}" for k in range(300)), "weight"])
    with pytest.raises(evp.UnknownName, match=r"'wieght': did you mean 'weight'.* valid: column0, .* and 251 more$"):
        made(tmp_path, names + "\n", y=["wieght"])


def test_the_kind_of_a_file_is_that_of_its_name_as_it_is(tmp_path):
    assert made(tmp_path, CSV, " .csv").test_rows == 20
    with pytest.raises(ValueError, match="row 102 is the first"):
        made(tmp_path, CSV + ",1,x\n", " .csv")


def test_a_link_has_the_kind_of_its_own_name(tmp_path):
    (tmp_path / "content").write_text(CSV + "1,3,x\n")
    (tmp_path / "points.csv").symlink_to("content")
    task = evp.get_task("data", data=str(tmp_path / "points.csv"), y=["a"])
    assert torch.equal(Data(**task.specification()["options"]).sample(9)[1], task.sample(9)[1])


def test_one_column_needs_no_list_and_a_path_no_text(tmp_path):
    task = made(tmp_path, CSV, y="a", x="b")
    again = evp.get_task("data", data=tmp_path / "points.csv", y=["a"], x=["b"])
    assert task.specification() == again.specification()


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match="is not valid: expected a file"):
            evp.get_task("data", data=str(path), y=["a"])


def test_rows_with_missing_values_are_left_out_when_asked(tmp_path):
    task = made(tmp_path, CSV + ",1,x\nNA,2,z\n3.5,,w\n", missing="drop")
    assert task.left_out == {"missing": 2}  # b is no column of the task
    assert sum(len(part) for part in task.parts.values()) == 101


CONTENT = st.one_of(
    st.binary(max_size=200), st.text(max_size=200).map(lambda text: f"a,b\n{text}".encode("utf-8", "replace"))
)


@given(content=CONTENT)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["any.csv", "any.npz", "any.parquet"])
def test_whatever_a_file_holds_the_answer_is_one_line(tmp_path, name, content):
    answered(lambda: made(tmp_path, content, name))


NUMBER = st.one_of(
    st.integers(-99, 99).map(str), st.floats().map(repr), st.sampled_from(["", "NA", "x", "1e999", "0x1"])
)


@given(
    rows=st.lists(st.tuples(NUMBER, NUMBER), max_size=40),
    drop=st.booleans(),
    scaling=st.sampled_from(["median", "mean", "none"]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_csv_file_is_a_task_or_a_one_line_answer(tmp_path, rows, drop, scaling):
    text = "a,b\n" + "".join(f"{a},{b}\n" for a, b in rows)
    missing = "drop" if drop else "refuse"
    task = answered(lambda: made(tmp_path, text, y=["a", "b"], missing=missing, scaling=scaling))
    if task is None:
        return
    x, y = task.sample(5)
    assert x.shape == (5, 0)
    assert y.isfinite().all()


@given(
    y=arrays.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_, np.complex64, "U3"]),
        arrays.array_shapes(min_dims=0, max_dims=3, max_side=14),
    )
)
@settings(max_examples=150, deadline=None)
def test_an_array_is_a_task_or_a_one_line_answer(y):
    task = answered(lambda: evp.task_from_arrays(y))
    if task is None:
        return
    assert task.sample(3)[1].isfinite().all()
    assert math.isfinite(task.log_unit)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y = .* is not valid: expected numbers"),
        ("abc", "expected numbers"),
        (np.zeros((0, 2)), "has no rows"),
        (np.zeros((5, 0)), "one column or more"),
        (np.array([{}, 1], dtype=object), "expected numbers"),
        ([[10**400, 1]] * 30, r"y\[0\], row 1 = 10+.* is not valid: expected numbers"),
        ([10**5000, 1] * 30, "^y = 'list' is not valid: expected numbers"),
        ([[1.0, 2.0], [3.0]] * 30, "^y = 'list' is not valid: expected numbers"),
        (torch.eye(30).to_sparse(), "^y = 'Tensor' is not valid: expected numbers"),
        (pd.Series([np.arange(2)] * 30), r"^y, row 1 = array\(\[0, 1\]\) is not valid: expected numbers"),
        (pd.Series([torch.arange(2)] * 30), r"^y, row 1 = tensor\(\[0, 1\]\) is not valid: expected numbers"),
        (["a", {}] * 30, "^y = 'list' is not valid: expected numbers|^y, row 1 = 'a' is not valid"),
        (np.r_[np.nan, np.arange(30.0)], "1 of 31 rows miss a value"),
        (np.ma.array(np.arange(30.0), mask=[1] + [0] * 29), "1 of 30 rows miss a value"),
        (pd.DataFrame({"a": [1, None] * 30}), "30 of 60 rows miss a value"),
        (pd.DataFrame({"a": ["u"] * 30}), "^y: column 'a', row 1 = 'u' is not valid: expected numbers"),
        (
            pd.DataFrame({"a": [1.0, 2.0], "b": [None, "u"]}),
            "^y: column 'b', row 2 = 'u' is not valid: expected numbers",
        ),
        (pd.DataFrame({"a": range(30), "b": [3] * 30}), "column 'b' is 3 in every row"),
        (pd.DataFrame([[1.0, 3.0], [2.0, 3.0]] * 30), r"column 'y\[1\]' is 3 in every row"),
        (pd.Series([1.5, None] * 30, name="mass"), "column 'mass', row 2 is the first"),
        (pd.date_range("2020", periods=50), "expected numbers"),
    ],
)
def test_a_bad_array_is_named(y, message):
    with pytest.raises(ValueError, match=message):
        evp.task_from_arrays(y)


NO_NUMBERS = {
    "a series of text": (pd.Series(["1", "2"] * 30), "x, row 1 = '1'"),
    "a frame of text": (pd.DataFrame({"a": ["1_000", "inf"] * 30}), "x: column 'a', row 1 = '1_000'"),
    "bytes": (pd.Series([2.5, b"1"] * 30), "x, row 2 = b'1'"),
    "booleans": (pd.DataFrame({"a": [True, False] * 30}), r"x = 'bool \(60, 1\)'"),
    "booleans beside numbers": (pd.DataFrame({"a": [1.5] * 60, "b": [None, True] * 30}), "x: column 'b', row 2 = True"),
    "booleans with gaps": (pd.Series([None, True] * 30, dtype="boolean"), "x, row 2 = True"),
    "NumPy's own": (np.array([1.5, np.bool_(True)] * 30, dtype=object), r"x, row 2 = (np\.)?True_?"),
    "masked text": (np.ma.array(["1", "2"] * 30, mask=[True] + [False] * 59), "x, row 2 = '2'"),
    "masked booleans": (np.ma.array([True, False] * 30, mask=[True] + [False] * 59), "x, row 2 = False"),
}


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_text_and_booleans_are_no_numbers_whatever_holds_them(kind):
    """Python's `float` would read them."""
    x, message = NO_NUMBERS[kind]
    with pytest.raises(ValueError, match=f"^{message} is not valid: expected numbers"):
        evp.task_from_arrays(np.arange(60.0), x)


def test_columns_of_several_kinds_of_numbers_are_numbers():
    columns = {"a": range(60), "b": np.arange(60, dtype=np.float32), "c": [None, 2.5, None, 3.5] * 15}
    x = pd.DataFrame(columns, dtype=object)
    task = evp.task_from_arrays(np.arange(60.0), x, missing="drop", scaling="none")
    assert task.left_out == {"missing": 30}
    assert (own_rows(task, "train")[:, 0] == own_rows(task, "train")[:, 1]).all()


@pytest.mark.parametrize(
    "y",
    [np.arange(60), ["a", "b"] * 30, [True, None] * 30, pd.Series([0, 1] * 30)],
    ids=["integers", "text", "booleans", "series"],
)
def test_labels_without_an_x_are_told_from_numbers(y):
    with pytest.raises(ValueError, match=r"^y = '60 labels' is not valid: expected numbers of floating point where"):
        evp.task_from_arrays(y)


@pytest.mark.parametrize("x", [[[1.0, 2.0], [3.0]] * 150, torch.eye(300).to_sparse(), [{}] * 300])
def test_a_bad_x_is_named(x):
    y = ring()[0]
    with pytest.raises(ValueError, match=r"^x.* is not valid: expected numbers"):
        evp.task_from_arrays(y, x)
    with pytest.raises(ValueError, match=r"^test x.* is not valid: expected numbers"):
        evp.task_from_arrays(y, y, test=(x, y))


def test_columns_of_a_frame_keep_their_names():
    y = ring()[0]
    bare = evp.task_from_arrays(y)
    frame = pd.DataFrame(y, columns=["a", "b"])
    task = evp.task_from_arrays(frame, name="mine")
    assert (bare.y_scaling.names, task.y_scaling.names) == (("y[0]", "y[1]"), ("a", "b"))
    assert (bare.called, task.called) == ("data", "mine")
    assert task.specification() == bare.specification()  # what columns are called is not what they hold
    del bare
    assert Data(**task.specification()["options"]).options == task.options  # found as long as one of them lives
    assert evp.task_from_arrays(frame, test=y[:40]).y_scaling.names == ("a", "b")
    with pytest.raises(ValueError, match=r"columns = \['b', 'a'\] is not valid: expected those of the data"):
        evp.task_from_arrays(frame, test=frame[["b", "a"]])
    held = (frame["b"][:40].rename("c"), frame["a"][:40])
    assert evp.task_from_arrays(frame["a"], frame["b"], test=held).x_scaling.names == ("b",)


def test_bad_arguments_of_arrays_are_named():
    y, angle = ring()
    for options, message in (
        ({"x": angle[:-1]}, r"lengths of x, y = \(299, 300\)"),
        ({"name": "two\nlines"}, "name = "),
        ({"data": "points.csv"}, "it is an option of files"),
        ({"scalin": "mean"}, "unknown option of data:"),
    ):
        with pytest.raises(ValueError, match=message):
            evp.task_from_arrays(y, **options)


# ---- digests -------------------------------------------------------------------------------------------------------


def test_a_specification_follows_from_the_content_and_not_from_the_path(tmp_path):
    one, other = made(tmp_path, CSV), made(tmp_path, CSV, "elsewhere.csv")
    assert one.specification() == other.specification()
    assert str(tmp_path) not in repr(one) + str(one.specification())
    changed = made(tmp_path, CSV + "1,2,x\n", "elsewhere.csv")
    assert one.specification() != changed.specification()
    again = Data(**one.specification()["options"])
    assert torch.equal(again.sample(9)[1], one.sample(9)[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a\0=b", "c"], ["a", "b\0=c"]),
        (["a1:b", "c"], ["a", "b1:c"]),
        (["-", "a"], [None, "a"]),
        (["\ud800", "a"], ["\udfff", "a"]),
    ],
    ids=ascii,
)
def test_tasks_of_other_labels_are_other_tasks_whatever_is_in_them(one, other):
    x = np.arange(90.0)
    first, second = (evp.task_from_arrays([*labels, "z"] * 30, x, missing="drop") for labels in (one, other))
    assert first.options.sha256 != second.options.sha256
    assert first.classes == tuple(sorted([*one, "z"]))
    assert second.classes == tuple(sorted(filter(None, [*other, "z"])))


def test_a_file_that_was_changed_since_is_refused(tmp_path):
    options = made(tmp_path, CSV, split_seed=77).specification()["options"]
    (tmp_path / "points.csv").write_text(CSV + "5,5,x\n")
    with pytest.raises(ValueError, match=r"SHA-256 of points.csv = .* the file holds other data than were planned"):
        Data(**{**options, "split_seed": 78})
    with pytest.raises(ValueError, match="that of data which this process knows"):
        Data(**{**options, "sha256": "f" * 64})


def test_a_saved_model_finds_its_data_by_their_digest(tmp_path):
    y = ring(100, seed=9)[0]
    task = evp.task_from_arrays(y, scaling="mean")
    model = evp.fit("mixture_density", task, budget=evp.Budget(steps=2, examples=20))
    model.save(tmp_path / "model.safetensors")
    back = evp.load_model(tmp_path / "model.safetensors")
    assert back.tasks[0].specification() == task.specification()


def test_energy_score_of_single_answers_is_that_of_each_pair():
    """E|Y - y| - E|Y - Y'| / 2 by loops over draws of the same model, as `evaluate` draws them."""
    y, angle = ring()
    task = evp.task_from_arrays(y, angle)
    model = evp.fit("mixture_density", task, budget=evp.Budget(steps=20, examples=100))
    look = evp.Evaluation(test_examples=20, inputs=4, samples=32, starts=2)
    table = evp.evaluate(model, task, look).set_index("metric")
    x, held = task.sample(20, seed=0, split="test")
    draws = model.draw(x[:4].unsqueeze(0), 8, seed=look.seed).y[0].double().numpy()
    scores = []
    for own, answer in zip(draws, held.numpy(), strict=False):
        away = np.mean([np.linalg.norm(one - answer) for one in own])
        apart = np.mean([np.linalg.norm(a - b) for i, a in enumerate(own) for j, b in enumerate(own) if i != j])
        scores.append(away - apart / 2)
    assert table.loc["energy_score", "value"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert table.loc["energy_score", "n"] == 4
    assert table.loc["singletons", "value"] == 4
    assert math.isnan(table.loc["precision", "value"])


# ---- every method --------------------------------------------------------------------------------------------------

WITHOUT_TRUTH = {
    "unconditional": {"gibbs_log_score", "energy_score", "precision", "recall", "weight_norm"},
    "conditional": {"gibbs_log_score", "energy_score", "weight_norm"},
    "labels": {"gibbs_log_score", "error_rate", "hamming_distance", "expected_calibration_error"},
}


#: They take most of the time; tests/testing/test_conformance.py has them too.
DEAR = ("gibbs_nuts", "autoregressive_flow", "coupling_flow", "sparse_coding", "gibbs_stochastic_gradient_langevin")


@pytest.mark.parametrize("kind", WITHOUT_TRUTH)
@pytest.mark.parametrize(
    "dear", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.long)]
)
def test_every_method_trains_and_is_measured_without_a_truth(kind, dear):
    y, angle = ring(60)
    task = {
        "unconditional": lambda: evp.task_from_arrays(y),
        "conditional": lambda: evp.task_from_arrays(y, angle),
        "labels": lambda: evp.task_from_arrays((angle > 3).astype(int), y),
    }[kind]()
    look = {"test_examples": 12, "inputs": 2, "starts": 2, "samples": 16, "max_steps": 3, "partitions": 2}
    ran = []
    for method in evp.list_methods():
        if method.why_not(task) is not None or (method.name in DEAR) is not dear:
            continue
        budget = evp.Budget(steps=20, examples=36, batch_size=12)
        model = evp.fit(method, task, budget=budget, network=evp.Network(hidden=(4,)))
        found = evp.evaluate(model, task, evp.Evaluation(**look)).set_index("metric")["value"]
        # A regression stands for no density and has no distribution to sample.
        expected = WITHOUT_TRUTH[kind] if method.principle != "regression" else {"weight_norm"}
        assert expected <= set(found.dropna().index), method.name
        allowed = {"alone", "without x"} if kind == "unconditional" else {"alone"}
        assert {METRICS[name].on_rows for name in found.dropna().index} <= allowed, method.name
        ran.append(method.family)
    assert dear or set(ran) >= {"ebm", "prob"}


@pytest.mark.slow
def test_what_is_measured_on_own_rows_is_what_the_catalogue_says():
    """Of methods that have each kind of it, but for chains of weights, which take long."""
    y, angle = ring(60)
    tasks = {
        "no x": evp.task_from_arrays(y),
        "an x": evp.task_from_arrays(y, angle),
        # Where all points are answers, every step of descent succeeds.
        "a manifold": evp.task_from_arrays(y, manifold=lambda own: np.zeros(len(own))),
        "labels": evp.task_from_arrays((angle > 3).astype(int), y),
    }
    takes = {"no x": ["without x"], "an x": [], "a manifold": ["without x", "manifold"], "labels": []}
    methods = ("mixture_density", "mean_squared_error", "latent_free_energy", "latent_variable_likelihood", "vae")
    look = evp.Evaluation(test_examples=12, inputs=2, starts=2, samples=16, max_steps=3, partitions=2)
    seen: set[str] = set()
    for kind, task in tasks.items():
        for method in map(METHODS.get, (*methods, "softmax_classifier")):
            if method.why_not(task) is None:
                budget = evp.Budget(steps=4, examples=36, batch_size=12)
                model = evp.fit(method, task, budget=budget, network=evp.Network(hidden=(4,)))
                measured = evp.evaluate(model, task, look).set_index("metric")["value"].dropna().index
                assert {METRICS[name].on_rows for name in measured} <= {"alone", *takes[kind]}, (kind, method.name)
                seen |= set(measured)
    told = {name for name, metric in METRICS.items() if metric.on_rows != "no"}
    assert told - seen == {"posterior_ess_min", "posterior_r_hat_max"}


def test_the_order_of_rows_that_are_given_as_test_does_not_matter_and_none_is_never_drawn():
    rng = np.random.default_rng(0)
    test = np.concatenate([rng.normal(-1, 0.1, 2500), rng.normal(1, 0.1, 2500)])
    tasks = [evp.task_from_arrays(rng.normal(size=50), test=rows, scaling="none") for rows in (test, test[::-1])]
    x = torch.empty(1, 0, dtype=torch.float64)
    first, second = (task.reference.held_out(x)[0] for task in tasks)
    assert first.shape == (MOST_HELD_OUT, 1)
    assert torch.equal(first, second)
    assert 0.4 < float((first > 0).double().mean()) < 0.6
    drawn = tasks[0].reference.sample(x, 20_000)[0, :, 0]
    assert len(drawn.unique()) > 4800  # of 5000, each missed with probability exp(-4)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA], ids=str)
def test_a_missing_entry_is_one_in_whatever_way_it_is_written(missing):
    x = np.arange(61.0)
    labels = np.array(["a", "b"] * 30 + [missing], dtype=object)
    numbers = np.array([1.5, 2.5] * 30 + [missing], dtype=object)
    for y in (labels, numbers, pd.Series(labels), pd.Series(numbers)):
        assert evp.task_from_arrays(y, x, missing="drop").left_out["missing"] == 1
        with pytest.raises(ValueError, match="miss"):
            evp.task_from_arrays(y, x)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_compressed_file_with_a_changed_byte_is_a_task_or_a_one_line_answer(tmp_path, data):
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.random.default_rng(0).normal(size=50))
    content = bytearray(packed.getvalue())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    answered(lambda: made(tmp_path, bytes(content), "points.npz", y="a"))


def test_fractions_are_no_labels_in_any_kind_of_file(tmp_path):
    """A missing one would be a class of its own."""
    columns = {"x": np.arange(40.0), "c": np.array([0.0, 1.0] * 19 + [0.0, np.nan])}
    for name, content in (("points.npz", npz(**columns)), ("points.parquet", parquet(**columns))):
        with pytest.raises(ValueError, match="integers"):
            made(tmp_path, content, name, y="c", x="x", answers="labels")


@pytest.mark.long
def test_a_million_rows_take_seconds():
    rng = evp.numpy_generator(0, "a million")
    y = rng.standard_normal((1_000_000, 3))
    y[::1000, 1] = np.nan
    begun = time.process_time()
    task = evp.task_from_arrays(y[:, 1:], y[:, 0], missing="drop")
    x, held = task.sample(5000, split="test")
    assert time.process_time() - begun < 60.0  # 2 s on one core, unless a row costs more than it did
    assert task.left_out == {"missing": 1000}
    assert [len(task.parts[split]) for split in SPLITS] == [599_400, 199_800, 199_800]
    assert x.isfinite().all()
    assert held.isfinite().all()


def test_test_frames_whose_numbered_columns_stand_in_another_order_are_refused():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({0: rng.normal(size=60), 1: 100 * rng.normal(size=60)})
    assert evp.task_from_arrays(rows, test=rows[:9]).parts["test"].y.shape == (9, 2)
    with pytest.raises(ValueError, match=r"test y: columns = \[1, 0\] is not valid: expected those of y: \[0, 1\]"):
        evp.task_from_arrays(rows, test=rows[[1, 0]][:9])


@pytest.mark.parametrize(
    ("header", "asked", "said"),
    [("a, b", "b", "did you mean ' b'"), ("a,e\N{COMBINING ACUTE ACCENT}", "\xe9", r"'e\\u0301'")],
)
def test_a_name_that_looks_like_the_one_asked_for_is_told_as_it_is(tmp_path, header, asked, said):
    (tmp_path / "points.csv").write_text(f"{header}\n" + "1,2\n" * 3, encoding="utf-8")
    with pytest.raises(evp.UnknownName) as found:
        evp.get_task("data", data=str(tmp_path / "points.csv"), y=asked)
    assert said.replace("\\\\", "\\") in str(found.value)


def test_booleans_among_whole_numbers_are_no_labels():
    x = np.arange(60.0)
    mixed = [bool(i % 2) if i % 3 else i % 2 for i in range(60)]
    with pytest.raises(ValueError, match="y"):
        evp.task_from_arrays(mixed, x)
    assert evp.task_from_arrays([bool(each) for each in mixed], x).classes == ("False", "True")


def test_what_float64_cannot_tell_apart_is_said_to_be_rounded():
    with pytest.raises(ValueError, match=r"in every row, rounded to float64: leave it out"):
        evp.task_from_arrays((2**60 + np.arange(60))[:, None].astype(np.int64))


def test_parquet_has_the_labels_of_arrays_whatever_kind_of_text_they_are(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    text, numbers = ["one", "two"] * 30, list(range(60))
    kinds = {"string": pa.string(), "large": pa.large_string(), "view": pa.string_view()}
    columns = {name: pa.array(text, kind) for name, kind in kinds.items()}
    flags = pa.array([bool(i % 2) for i in range(60)])
    parquet.write_table(pa.table({**columns, "flag": flags, "b": numbers}), tmp_path / "points.parquet")
    for name in (*kinds, "flag"):
        own = text if name in kinds else [bool(i % 2) for i in range(60)]
        found = evp.get_task("data", data=str(tmp_path / "points.parquet"), y=name, x="b", answers="labels")
        assert found.classes == evp.task_from_arrays(own, np.arange(60.0)).classes


def test_lines_may_end_as_any_system_ends_them_and_what_is_written_is_told_whole(tmp_path):
    file = tmp_path / "points.csv"
    tasks = []
    for end in ("\n", "\r\n", "\r"):
        file.write_bytes(CSV.replace("\n", end).encode())
        tasks.append(evp.get_task("data", data=str(file), y=["a", "b"]))
    assert all(np.array_equal(each.parts["train"].y, tasks[0].parts["train"].y) for each in tasks)
    file.write_text(CSV + "# end\n")
    with pytest.raises(ValueError, match=r"Row 102: Expected 3 columns, got 1: # end"):
        evp.get_task("data", data=str(file), y=["a", "b"])
