"""A user's rows as tasks need them: finite numbers or labels, every missing or infinite value answered for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...core.errors import invalid
from ...core.text import shown

#: Absolute values beyond this are refused: their squares, and sums of these, must stay finite.
LARGEST = 1e100
#: Distinct labels that a column may hold: more is a number, or an identifier.
MOST_LABELS = 1000
#: Columns of x, and of y.
MOST_COLUMNS = 4096
#: Texts that stand for a missing label, and in a CSV file for a missing number too: those of Arrow.
MISSING = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null",
))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of (x, y): x (n, dx) float64, y (n, dy) float64 or (n,) int64 labels, whose names are `classes`.

    `left_out` counts the rows that were dropped because a value in them is missing.
    """

    x: np.ndarray
    y: np.ndarray
    x_names: tuple[str, ...]
    y_names: tuple[str, ...]
    classes: tuple[str, ...] = ()
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.y)


def make_table(
    where: str,
    x: np.ndarray,
    y: np.ndarray,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    drop: bool,
    classes: Sequence[str] | None,
    row_number: Callable[[int], int],
) -> Table:
    """The rows, checked.

    Args:
        where: what messages call the data. x: (n, dx) float64, NaN where missing.
        y: (n, dy) float64, or (n,) of strings (objects), None or one of `MISSING` where missing.
        names: of the columns of x and of y.
        drop: leave out rows with a missing value; they are refused otherwise.
        classes: the labels there are; those found, in order, where None.
        row_number: what messages call a row, counted from 0.

    Raises:
        ValueError: no rows, missing or infinite values, numbers too large, too many columns or labels, or a label that
            is not among `classes`.
    """
    for field, count in (("x", x.shape[1]), ("y", 1 if y.dtype == object else y.shape[1])):
        if count > MOST_COLUMNS:
            raise invalid(f"{where}: columns of {field}", count, f"at most {MOST_COLUMNS}")
    missing = np.isnan(x).any(1) | _missing(y)
    if missing.any() and not drop:
        x_name, y_name = (_first_missing(part, own) for part, own in ((x, names[0]), (y, names[1])))
        row = int(missing.argmax())
        column = x_name if np.isnan(x[row]).any() else y_name
        raise ValueError(
            f"{where}: {int(missing.sum())} of {len(missing)} rows miss a value (column {shown(column)}, row "
            f"{row_number(row)} is the first): fill them in, or leave them out with missing = 'drop'"
        )
    for part, own in ((x, names[0]), (y, names[1])):
        if part.dtype != object:
            _check_size(where, part, own, row_number)
    x, y = x[~missing], y[~missing]
    if len(y) == 0:
        raise ValueError(f"{where} has no rows{' without a missing value' if len(missing) else ''}")
    labels: tuple[str, ...] = ()
    if y.dtype == object:
        y, labels = _labelled(where, y, names[1][0], classes)
    # Adding 0 makes -0.0 the same bits as 0.0, so that rows that are equal are equal as bytes.
    return Table(x + 0.0, y if labels else y + 0.0, *names, labels, int(missing.sum()))


def _missing(part: np.ndarray) -> np.ndarray:
    if part.dtype == object:
        return np.array([each is None or each in MISSING for each in part], dtype=bool)
    gaps: np.ndarray = np.isnan(part).any(1)
    return gaps


def _first_missing(part: np.ndarray, names: tuple[str, ...]) -> str:
    if part.dtype == object:
        return names[0]
    gaps = np.isnan(part)
    return names[int(gaps[gaps.any(1).argmax()].argmax())] if gaps.any() else ""


def _check_size(where: str, part: np.ndarray, names: tuple[str, ...], row_number: Callable[[int], int]) -> None:
    too_large = np.abs(part) > LARGEST
    if too_large.any():
        row, column = np.argwhere(too_large)[0]
        raise invalid(
            f"{where}: column {shown(names[column])}, row {row_number(int(row))}",
            float(part[row, column]),
            f"a number between -{LARGEST:g} and {LARGEST:g}",
        )


def _labelled(
    where: str, y: np.ndarray, name: str, classes: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as integers 0 .. K-1, and the name of each: in the order of the numbers where all are integers."""
    found = sorted(set(y.tolist()))
    if classes is None:
        if len(found) > MOST_LABELS:
            valid = f"at most {MOST_LABELS} distinct labels: in a file numbers are answers = 'real', in an array floats"
            raise invalid(f"{where}: column {shown(name)}: labels", len(found), valid)
        if len(found) < 2:
            raise ValueError(f"{where}: column {shown(name)} has the one label {shown(found[0])}: expected two or more")
        classes = sorted(found, key=_order)
    place = {each: number for number, each in enumerate(classes)}
    strange = [each for each in found if each not in place]
    if strange:
        valid = "a label that the data have too"
        raise invalid(f"{where}: column {shown(name)}", strange[0], valid)
    return np.array([place[each] for each in y.tolist()], dtype=np.int64), tuple(classes)


def _order(label: str) -> tuple[int, int, str]:
    try:
        return (0, int(label), label)
    except ValueError:
        return (1, 0, label)
