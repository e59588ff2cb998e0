"""`task_from_arrays`: a task of arrays, tensors or frames that a program holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.errors import invalid
from ...core.text import shown
from ..data import Data, Manifold
from .sources import source_of_arrays

_VALID = "numbers: (n, d) or (n,)"
#: What `float` may read as a number, and is none.
_NO_NUMBERS = (str, bytes, bytearray, bool, np.bool_, np.ndarray)
#: What NumPy, pandas and torch raise of what is no array of numbers: text, rows of several lengths, sparse tensors.
_UNREADABLE = (TypeError, ValueError, ArithmeticError, RuntimeError)


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
        y: (n, dy) numbers, or (n,) of floating point, which is (n, 1); (n,) integers, booleans or text are labels,
            whether or not some are missing.
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
        ValueError: arrays of other shapes or kinds, labels without an x, missing or infinite values, constant columns,
            too few rows.
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
    if labelled and x is None:
        valid = "numbers of floating point where there is no x: integers, booleans and text are labels, which need one"
        raise invalid("y", f"{len(own['y'])} labels", valid)
    given = {"y": ("y",), "x": ("x",) if "x" in own else (), "answers": "labels" if labelled else "real", **options}
    called = _called(y, x)
    held = None
    if test is not None:
        if x is None:
            test_x, test_y = None, test
        elif isinstance(test, (tuple, list)) and len(test) == 2:
            test_x, test_y = test
        else:
            raise invalid("test", type(test).__name__, "(x, y), where there is an x")
        for field, values, others in (("x", x, test_x), ("y", y, test_y)):
            _refuse_other_order(field, values, others)
        own_names = _called(test_y, test_x)
        # A lone column is what it is under any name; several that are named otherwise stand in another order perhaps.
        names = {key: own_names.get(key, each) if len(each) > 1 else each for key, each in called.items()}
        held = source_of_arrays(f"{name}, test", _arrays(test_y, test_x, "test "), names)
        if (held.arrays or {})["y"].dtype != own["y"].dtype:
            raise invalid("test y", "labels or numbers", "what y is")
        given["test_sha256"] = held.digest
    source = source_of_arrays(name, own, called)
    task = Data(sha256=source.digest, **given)
    if manifold is not None and task.y_scaling is None:
        raise invalid("manifold", manifold, "None where y is labels")
    task.manifold = manifold
    return task


def _arrays(y: Any, x: Any, which: str) -> dict[str, np.ndarray]:
    """y and, if given, x as columns: (n, d) float64, or (n,) of strings (objects) for labels."""
    found = {"y": _answers(f"{which}y", y)}
    if x is not None:
        found["x"] = _numbers(f"{which}x", x)
        if len(found["x"]) != len(found["y"]):
            lengths = (len(found["x"]), len(found["y"]))
            raise invalid(f"{which}lengths of x, y", lengths, "one number of rows")
    return found


def _called(y: Any, x: Any) -> dict[str, tuple[str, ...]]:
    """Names of the columns of y and of x, of those that have text for names."""
    names = {"y": _column_names(y), "x": _column_names(x)}
    return {key: each for key, each in names.items() if each}


def _column_names(values: Any) -> tuple[str, ...]:
    """Those of a frame, or the one of a series; none where they are not text, as the numbers that pandas gives."""
    if not hasattr(values, "to_numpy"):
        return ()
    names = tuple(values.columns) if getattr(values, "ndim", None) == 2 else (getattr(values, "name", None),)
    return names if all(isinstance(each, str) for each in names) else ()


def _refuse_other_order(field: str, values: Any, others: Any) -> None:
    """Raise where two frames with numbers for names have other ones, or these in another order."""
    mine, theirs = (list(each.columns) if getattr(each, "ndim", None) == 2 and hasattr(each, "columns") else []
                    for each in (values, others))  # fmt: skip
    named = _column_names(values) and _column_names(others)
    if len(mine) > 1 and theirs and mine != theirs and not named:
        raise invalid(f"test {field}: columns", theirs, f"those of {field}: {mine}")


def _plain(values: Any) -> np.ndarray:
    """As an array of NumPy; of tensors detached and on the CPU, of masked arrays with NaN where they are masked."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        whole = values.astype(np.float64 if values.dtype.kind in "iuf" else object)
        values = np.ma.filled(whole, np.nan)
    return np.asarray(values)


def _entries(values: Any) -> np.ndarray:
    """As an array of the kind that the entries have: as objects where a gap would make real numbers or text of all."""
    if isinstance(values, (list, tuple)):
        return np.array([each.item() if getattr(each, "ndim", None) == 0 else each for each in values], dtype=object)
    if isinstance(values, np.ma.MaskedArray):
        whole: np.ndarray = values.data.astype(object)
        whole[np.ma.getmaskarray(values)] = None
        return whole
    dtype = getattr(values, "dtype", None)
    if hasattr(values, "astype") and dtype is not None and not isinstance(dtype, np.dtype):  # a kind of pandas' own
        return np.asarray(values.astype(object))
    return _plain(values)


def _is_labels(entries: np.ndarray) -> bool:
    if entries.ndim != 1 or entries.size == 0:
        return False
    if entries.dtype != object:
        return entries.dtype.kind in "iuUTb"
    kinds = {type(each) for each in entries.tolist() if not _is_gap(each)}
    text = any(issubclass(kind, str) for kind in kinds)
    boolean = [issubclass(kind, (bool, np.bool_)) for kind in kinds]
    if not text and any(boolean) and not all(boolean):  # 1 and True would be two classes
        return False
    whole = (str, int, np.integer, np.bool_, *((float, np.floating) if text else ()))
    return bool(kinds) and all(issubclass(kind, whole) for kind in kinds)


def _is_gap(each: Any) -> bool:
    """Whether an entry is None, NaN, or what neither equals itself nor not: pandas' NA, a signalling NaN."""
    try:
        return each is None or bool(each != each)
    except (TypeError, ArithmeticError):
        return True
    except (ValueError, RuntimeError):  # an array or a tensor, which is equal to itself in some entries
        return False


def _answers(field: str, y: Any) -> np.ndarray:
    """Labels (n,) of strings, None where missing, or numbers (n, d)."""
    try:
        entries = _entries(y)
        if _is_labels(entries):
            labels = [None if _is_gap(each) else str(each) for each in entries.tolist()]
            return np.array(labels, dtype=object)
    except _UNREADABLE:
        raise invalid(field, type(y).__name__, _VALID) from None
    return _numbers(field, y)


def _numbers(field: str, values: Any) -> np.ndarray:
    if isinstance(values, (list, tuple)) and _has_booleans(values):  # of which NumPy makes 0 and 1
        raise invalid(field, "booleans", _VALID)
    array = np.empty(0)
    try:
        array = _plain(values)
        if array.dtype == object:  # columns of several kinds, and pandas' own missing values
            entries = [_number(each) for each in array.ravel().tolist()]
            filled: np.ndarray = np.array(entries, dtype=np.float64).reshape(array.shape)
        else:
            filled = array
    except _UNREADABLE:
        where, value = _first_text(field, array, _column_names(values)) or (field, type(values).__name__)
        raise invalid(where, value, _VALID) from None
    if filled.dtype.kind not in "iuf" or filled.ndim not in (1, 2):
        raise invalid(field, f"{filled.dtype} {filled.shape}", _VALID)
    if filled.ndim == 2 and filled.shape[1] == 0:
        raise invalid(field, f"{filled.dtype} {filled.shape}", "one column or more; no x is None")
    with np.errstate(over="ignore"):
        numbers: np.ndarray = filled.astype(np.float64)
    return numbers[:, None] if numbers.ndim == 1 else numbers


def _has_booleans(values: Sequence[Any]) -> bool:
    rows = (row if isinstance(row, (list, tuple)) else (row,) for row in values)
    return any(isinstance(each, (bool, np.bool_)) for row in rows for each in row)


def _number(each: Any) -> float:
    """An entry of an array of objects, NaN where it is missing.

    Raises:
        TypeError, ValueError, OverflowError: it is no number; text and booleans are none.
    """
    if isinstance(each, _NO_NUMBERS):
        raise TypeError(f"{type(each).__name__} is no number")
    return math.nan if _is_gap(each) else float(each)


def _first_text(field: str, array: np.ndarray, names: tuple[str, ...]) -> tuple[str, Any] | None:
    """Where the first entry stands that is no number, and what it is; None where an array has none in rows."""
    if array.ndim not in (1, 2):
        return None
    for index, each in np.ndenumerate(array):
        try:
            _number(each)
        except (TypeError, ValueError, OverflowError):
            column = f"{field}[{index[1]}]" if array.ndim == 2 else field
            named = f"{field}: column {shown(names[index[-1] if array.ndim == 2 else 0])}" if names else column
            return f"{named}, row {index[0] + 1}", each
    return None
