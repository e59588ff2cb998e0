"""A user's rows in three parts, scaled: which row is in which part, and the units that the training part sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...core.errors import invalid
from ...core.seeding import stream
from ...core.spaces import Box
from ...core.text import shown
from ..base import SPLITS, Split
from .table import Table

if TYPE_CHECKING:
    import torch

ScalingName = Literal["median", "mean", "none"]

#: Rows that each part must have, at least.
FEWEST = 2
#: The farthest that a value may lie from the centre of its column, in units of its scaling: models compute in float32,
#: and squares of such values, and sums of these over columns, must stay finite there.
FARTHEST = 1e15
#: What the box reaches beyond the training part on either side, as a share of its extent.
MARGIN = 0.25
#: The interquartile range of a Gaussian of standard deviation 1.
_QUARTILES = 1.3489795003921634


@dataclass(frozen=True, eq=False)
class Scaling:
    """The affine map between the user's units and the task's, column by column: task = (user - centre) / unit.

    `centre` and `unit` are (d,) float64; of `names` the columns.
    """

    names: tuple[str, ...]
    centre: np.ndarray
    unit: np.ndarray

    @property
    def log_unit(self) -> float:
        """ln of the product of the units: what a log-density in nats loses from the task's units to the user's."""
        return float(np.log(self.unit).sum())

    def apply(self, value: torch.Tensor) -> torch.Tensor:
        """Values (..., d) in the user's units as float64 in the task's."""
        import torch

        centre, unit = (torch.from_numpy(part).to(value.device) for part in (self.centre, self.unit))
        return (value.double() - centre) / unit

    def undo(self, value: torch.Tensor) -> torch.Tensor:
        """Values (..., d) in the task's units as float64 in the user's."""
        import torch

        centre, unit = (torch.from_numpy(part).to(value.device) for part in (self.centre, self.unit))
        return value.double() * unit + centre


@dataclass(frozen=True, eq=False)
class Part:
    """One part in the task's units: x (n, dx) float64, y (n, dy) float64 or (n,) int64."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Parts:
    """The data of a task: its parts, the scaling of x and of real y, the boxes that follow, and what was left out.

    `left_out` says for each reason how many rows.
    """

    parts: dict[Split, Part]
    x_scaling: Scaling
    y_scaling: Scaling | None
    x_box: Box
    y_box: Box | None
    classes: tuple[str, ...]
    left_out: dict[str, int]


def divide(
    where: str,
    table: Table,
    test: Table | None,
    shares: tuple[float, float],
    seed: int,
    scaling: ScalingName,
) -> Parts:
    """Rows in training, validation and test, each in the task's units.

    Rows are put in the order of a keyed hash of their content. Equal rows have equal hashes, and a part ends where a
    hash ends, so that equal rows are in one part wherever they stand in the file. Rows that are given as `test` are
    left out of the other parts.

    Args:
        where: what messages call the data. table, test: the rows; test is None where it is a share of `table`.
        shares: of rows in validation and in test. seed: of the hash. scaling: how the training part sets the units.

    Raises:
        ValueError: fewer than two rows in a part, a column that is constant in training, or a value in any part that
            is farther from the others than models can compute.
    """
    if len(table) > 1:
        _refuse_constant(where, "", table)
    key = stream(seed, "split")
    hashes = _hashes(table, key)
    left_out = {"missing": table.left_out + (0 if test is None else test.left_out)}
    if test is not None:
        held_out = _hashes(test, key)
        test = _rows(test, np.argsort(held_out, kind="stable"))
        repeated = np.isin(hashes, held_out)
        left_out["also in test"] = int(repeated.sum())
        table = _rows(table, np.flatnonzero(~repeated))
        hashes = hashes[~repeated]
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = 0 if test is not None else _end(ordered, 0, shares[1])
    second = _end(ordered, first, shares[0])
    tables: dict[Split, Table] = {
        "train": _rows(table, order[second:]),
        "validation": _rows(table, order[first:second]),
        "test": _rows(table, order[:first]) if test is None else test,
    }
    few = [split for split in SPLITS if len(tables[split]) < FEWEST]
    if few:
        distinct = len(np.unique(hashes))
        raise ValueError(
            f"{where}: of its rows, {len(hashes)} with {distinct} distinct ones, {few[0]} gets {len(tables[few[0]])}: "
            f"expected enough for {FEWEST} in each of {', '.join(SPLITS)}, where equal rows stay together"
        )
    train = tables["train"]
    _refuse_constant(where, " of training", train)
    x_scaling = _scaling(where, train.x, table.x_names, scaling)
    y_scaling = None if table.classes else _scaling(where, train.y, table.y_names, scaling)
    parts = {split: _scaled(where, each, x_scaling, y_scaling) for split, each in tables.items()}
    return Parts(
        parts=parts,
        x_scaling=x_scaling,
        y_scaling=y_scaling,
        x_box=_box(parts["train"].x),
        y_box=None if y_scaling is None else _box(parts["train"].y),
        classes=table.classes,
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _hashes(table: Table, key: int) -> np.ndarray:
    """A hash of 64 bits of each row, by the finaliser of SplitMix64 (Steele et al. 2014), column after column."""
    columns = [*table.x.T, *(table.y.T if table.y.ndim == 2 else [table.y.astype(np.float64)])]
    found = np.full(len(table), key, dtype=np.uint64)
    for column in columns:
        found ^= np.ascontiguousarray(column).view(np.uint64)
        found += np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return found


def _end(ordered: np.ndarray, start: int, share: float) -> int:
    """Where a part ends that begins at `start` and is to hold a share of all rows: with the last of equal hashes."""
    end = min(start + max(FEWEST, round(share * len(ordered))), len(ordered))
    return int(np.searchsorted(ordered, ordered[end - 1], side="right")) if end > start else start


def _rows(table: Table, rows: np.ndarray) -> Table:
    return replace(table, x=table.x[rows], y=table.y[rows])


def _refuse_constant(where: str, of_part: str, table: Table) -> None:
    parts = [(table.x, table.x_names), *([] if table.classes else [(table.y, table.y_names)])]
    for values, names in parts:
        for name, column in zip(names, values.T, strict=True):
            if (column == column[0]).all():
                rounded = ", rounded to float64" if abs(column[0]) >= 2.0**53 else ""
                raise ValueError(
                    f"{where}: column {shown(name)} is {column[0]:g} in every row{of_part}{rounded}: leave it out, a "
                    "constant has no density and tells nothing of the rest"
                )


def _scaling(where: str, values: np.ndarray, names: tuple[str, ...], scaling: ScalingName) -> Scaling:
    dim = values.shape[1]
    if scaling == "none" or dim == 0:
        return Scaling(names, np.zeros(dim), np.ones(dim))
    if scaling == "mean":
        centre, unit = values.mean(0), values.std(0)
        why = "varies too little to have a standard deviation: take scaling = 'none', or leave it out"
    else:
        low, centre, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        unit = (high - low) / _QUARTILES
        why = "has one value in half of its rows or more, and no interquartile range: take scaling = 'mean' or 'none'"
    flat = ~(unit > 0)
    if flat.any():
        raise ValueError(f"{where}: column {shown(names[int(flat.argmax())])} {why}")
    return Scaling(names, centre, unit)


def _scaled(where: str, table: Table, x_scaling: Scaling, y_scaling: Scaling | None) -> Part:
    x = _in_units(where, table.x, x_scaling)
    return Part(x, table.y if y_scaling is None else _in_units(where, table.y, y_scaling))


def _in_units(where: str, values: np.ndarray, scaling: Scaling) -> np.ndarray:
    with np.errstate(over="ignore"):
        scaled: np.ndarray = (values - scaling.centre) / scaling.unit
    far = np.abs(scaled) > FARTHEST
    if far.any():
        row, column = np.argwhere(far)[0]
        centre, unit = scaling.centre[column], scaling.unit[column]
        raise invalid(
            f"{where}: column {shown(scaling.names[column])}: a value",
            float(values[row, column]),
            f"a number within {FARTHEST:g} units of {centre:g}, where the unit of this column is {unit:g}",
        )
    return scaled


def _box(values: np.ndarray) -> Box:
    """The box of the training part with a margin, one interval for all columns; of no columns that of no x."""
    if values.shape[1] == 0:
        return Box((0.0, 1.0), 0)
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * (high - low)
    return Box((low - margin, high + margin), values.shape[1])
