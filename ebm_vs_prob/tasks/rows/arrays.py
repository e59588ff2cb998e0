"""`task_from_arrays`: a task of arrays, tensors or frames that a program holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import invalid
from ..data import Data, Manifold
from .sources import source_of_arrays


def task_from_arrays(
    y: Any,
    x: Any = None,
    *,
    test: Any = None,
    name: str = "data",
    manifold: Manifold | None = None,
    **options: Any,
) -> Data:
    """A task of your own rows: NumPy arrays, torch tensors or pandas frames and series.

    Args:
        y: (n, dy) numbers, or (n,) of floating point, which is (n, 1); (n,) integers or text are labels.
        x: (n, dx) or (n,) numbers; None for an unconditional task.
        test: rows to test on, (x, y), or y where there is no x; by default a share of the rows given.
        name: what messages call the data.
        manifold: from y (n, dy), or x (n, dx) and y where there is an x, float64 arrays in your units, to distances
            (n,) from the manifold or projections (n, dy) onto it. Metrics of distance are measured with it. It is not
            kept with a model that is saved, and is in no study.
        options: those of the task `data`: scaling, missing, validation_share, test_share, split_seed.

    Returns:
        The task. It is found again by its digest, by `load_model` for example, as long as it lives.

    Raises:
        ValueError: arrays of other shapes or kinds, missing or infinite values, constant columns, too few rows.
        LookupError: an unknown option.
    """
    if not isinstance(name, str) or not name or len(name) > 200 or not name.isprintable():
        raise invalid("name", name, "one line of text")
    if manifold is not None and not callable(manifold):
        raise invalid("manifold", manifold, "a callable of y (n, dy), or of x (n, dx) and y")
    settled = {"data", "test", "sha256", "test_sha256", "x", "y", "answers", "separator"} & options.keys()
    if settled:
        raise invalid(f"task_from_arrays: {min(settled)}", options[min(settled)], "nothing: it is an option of files")
    own = _arrays(y, x, "")
    labelled = own["y"].dtype == object
    given = {"y": ("y",), "x": ("x",) if "x" in own else (), "answers": "labels" if labelled else "real", **options}
    source = source_of_arrays(name, own)
    held = None
    if test is not None:
        if x is None:
            test_x, test_y = None, test
        elif isinstance(test, (tuple, list)) and len(test) == 2:
            test_x, test_y = test
        else:
            raise invalid("test", type(test).__name__, "(x, y), where there is an x")
        held = source_of_arrays(f"{name}, test", _arrays(test_y, test_x, "test "))
        if (held.arrays or {})["y"].dtype != own["y"].dtype:
            raise invalid("test y", "labels or numbers", "what y is")
        given["test_sha256"] = held.digest
    task = Data(sha256=source.digest, **given)
    if manifold is not None and task.y_scaling is None:
        raise invalid("manifold", manifold, "None where y is labels")
    task.manifold = manifold
    return task


def _arrays(y: Any, x: Any, which: str) -> dict[str, np.ndarray]:
    """y and, if given, x as columns: (n, d) float64, or (n,) of strings (objects) for labels."""
    found = {"y": _labels(y) if _is_labels(y) else _numbers(f"{which}y", y)}
    if x is not None:
        found["x"] = _numbers(f"{which}x", x)
        if len(found["x"]) != len(found["y"]):
            lengths = (len(found["x"]), len(found["y"]))
            raise invalid(f"{which}lengths of x, y", lengths, "one number of rows")
    return found


def _plain(values: Any) -> np.ndarray:
    """As an array of NumPy; of tensors detached and on the CPU, of masked arrays with NaN where they are masked."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)


def _is_labels(y: Any) -> bool:
    array = _plain(y)
    if array.ndim != 1 or array.size == 0:
        return False
    return array.dtype.kind in "iuUb" or (array.dtype == object and any(isinstance(each, str) for each in array))


def _is_gap(each: Any) -> bool:
    """Whether an entry is None, NaN, or pandas' NA, which is neither equal to itself nor not."""
    try:
        return each is None or bool(each != each)
    except TypeError:
        return True


def _labels(y: Any) -> np.ndarray:
    array = _plain(y)
    gaps = np.array([_is_gap(each) for each in array.tolist()], dtype=bool)
    labels = np.array([str(each) for each in array.tolist()], dtype=object)
    labels[gaps] = None
    return labels


def _numbers(field: str, values: Any) -> np.ndarray:
    try:
        array = _plain(values)
        if array.dtype == object:  # columns of several kinds, and pandas' own missing values
            missing = np.array([_is_gap(each) for each in array.ravel().tolist()], dtype=bool)
            array = np.where(missing.reshape(array.shape), np.nan, array).astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise invalid(field, type(values).__name__, "numbers: (n, d) or (n,)") from None
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise invalid(field, f"{array.dtype} {array.shape}", "numbers: (n, d) or (n,)")
    if array.ndim == 2 and array.shape[1] == 0:
        raise invalid(field, f"{array.dtype} {array.shape}", "one column or more; no x is None")
    with np.errstate(over="ignore"):
        numbers: np.ndarray = array.astype(np.float64)
    return numbers.reshape(len(numbers), -1) if numbers.size else np.empty((0, 1))
