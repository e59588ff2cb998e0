"""A user's own data: rows of a file or of arrays, of whose law nothing is known.

Rows are divided by content and scaled column by column, by what the training part says of its columns. Every default
of the methods (noise, widths, the first weights) is for data of about unit size, which a user's columns are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..core.errors import invalid
from ..core.options import validated
from ..core.registry import TASKS
from ..core.spaces import Box, Labels
from .base import Split, Task, TaskOptions
from .rows.parts import Part, Parts, Scaling, ScalingName, divide
from .rows.reference import DataReference
from .rows.sources import Source, known_source, source_of_file
from .rows.table import Table, make_table

#: Options that say where data lie and not which they are.
PLACES = ("data", "test")
#: A map from y (n, dy), or x (n, dx) and y, in the user's units, to distances (n,) or projections (n, dy).
Manifold = Callable[..., Any]


def _only_zero(value: float) -> float:
    if value != 0.0:
        raise ValueError("0: no noise is added to a user's data, and what noise is in them is not known")
    return value


def _one_separator(value: str) -> str:
    if len(value) != 1 or not "\0" < value <= "\x7f" or value in '"\r\n':
        raise ValueError("one ASCII character that is no quotation mark and no end of a line")
    return value


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _as_text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Columns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...], BeforeValidator(_as_tuple), Field(max_length=4096)
]
File = Annotated[str, BeforeValidator(_as_text), Field(max_length=4096)]
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class DataOptions(TaskOptions):
    """Options of `data`. A trial's key has all of them but `data` and `test`, in whose place the digests stand."""

    thickness: Annotated[float, AfterValidator(_only_zero), Field(description="always 0: nothing is added")] = 0.0
    data: Annotated[File, Field(description="a .csv, .npz or .parquet file")] = ""
    test: Annotated[File, Field(description="a file of test rows; a share of `data` if empty")] = ""
    sha256: Annotated[Digest, Field(description="SHA-256 that `data` must have; filled in")] = ""
    test_sha256: Annotated[Digest, Field(description="SHA-256 that `test` must have; filled in")] = ""
    y: Annotated[Columns, Field(description="names of the columns of y")] = ()
    x: Annotated[Columns, Field(description="names of the columns of x; none for an unconditional task")] = ()
    answers: Annotated[
        Literal["real", "labels"], Field(description="whether y is numbers, or one column of classes")
    ] = "real"
    scaling: Annotated[
        ScalingName,
        Field(description="units of the task: median and quartiles, mean and deviation, or the user's own"),
    ] = "median"
    missing: Annotated[Literal["refuse", "drop"], Field(description="what becomes of rows with a missing value")] = (
        "refuse"
    )
    separator: Annotated[
        str, AfterValidator(_one_separator), Field(description="between the columns of a CSV file")
    ] = ","
    validation_share: Annotated[float, Field(gt=0.0, lt=1.0, description="share of the rows that validate")] = 0.2
    test_share: Annotated[float, Field(gt=0.0, lt=1.0, description="share of the rows that test")] = 0.2
    split_seed: Annotated[int, Field(ge=0, lt=2**63, description="decides which rows are in which part")] = 0

    @model_validator(mode="after")
    def _parts_leave_training(self) -> Self:
        if not (self.test or self.test_sha256) and self.validation_share + self.test_share >= 1.0:
            raise ValueError("validation_share + test_share below 1: the rest of the rows train")
        if self.answers == "labels" and len(self.y) > 1:
            raise ValueError("one column of y where answers = 'labels'")
        repeated = [name for name in self.y if name in self.x or self.y.count(name) > 1]
        repeated += [name for name in self.x if self.x.count(name) > 1]
        if repeated:
            raise ValueError(f"each column once in x and y: {repeated[0]!r} is named twice")
        return self


@TASKS.register
class Data(Task):
    """Rows (x, y) of the user's. `sample` goes through a part without replacement, in an order that the seed decides,
    and begins another round when n exceeds the part.

    x and y of `sample`, and of every model, are in the task's units; `x_scaling` and `y_scaling` lead to the user's and
    back. Log scores are reported in the user's units, lengths and gradients in the task's, distances to a `manifold` in
    the user's.

    Args:
        options: as `DataOptions`. Without `data` the digest names data that this process knows.
    """

    name = "data"
    summary = "a user's own rows, from a CSV, .npz or Parquet file or from arrays"
    truth = "no density, no entropy; held-out rows, and the distance to a manifold that the user gives"
    version: ClassVar[int] = 3
    has_truth: ClassVar[bool] = False
    noise_known: ClassVar[bool] = False
    Options = DataOptions
    options: DataOptions
    x_space: Box
    y_space: Box | Labels
    reference: DataReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        own = self.options
        source = _source("data", own.data, own.sha256)
        test = _source("test", own.test, own.test_sha256) if own.test or own.test_sha256 else None
        digests = {"sha256": source.digest, "test_sha256": "" if test is None else test.digest}
        self.options = validated(DataOptions, {**own.model_dump(), **digests}, self.name)
        self._sources = (source, test)  # arrays are found by their digest as long as someone holds them
        self.called = source.name
        if not own.y:
            raise invalid(f"{source.name}: y", [], "the names of one column or more")
        if own.answers == "labels" and not own.x:
            raise invalid(f"{source.name}: x", [], "the names of one column or more where answers = 'labels'")
        self._prepared = _prepared(_Question(self.options, source, test))
        self.manifold: Manifold | None = None
        self.x_space = self._prepared.x_box
        self.y_space = self._prepared.y_box or Labels(len(self.classes))
        self.z_space = None
        self.manifold_dim = None
        self.reference = DataReference(self)

    @property
    def parts(self) -> Mapping[Split, Part]:
        """Rows of each part in the task's units, each an array `x` (n, dx) and `y`, (n, dy) or labels (n,)."""
        return self._prepared.parts

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels by their number; none where y is real."""
        return self._prepared.classes

    @property
    def x_scaling(self) -> Scaling:
        """Between the user's units of x and the task's."""
        return self._prepared.x_scaling

    @property
    def y_scaling(self) -> Scaling | None:
        """Between the user's units of y and the task's; None of labels."""
        return self._prepared.y_scaling

    @property
    def left_out(self) -> Mapping[str, int]:
        """Rows that are in no part, by the reason."""
        return self._prepared.left_out

    @property
    def log_unit(self) -> float:
        return 0.0 if self.y_scaling is None else self.y_scaling.log_unit

    @property
    def test_rows(self) -> int:
        return len(self.parts["test"])

    def specification(self) -> dict[str, Any]:
        options = self.options.model_dump(mode="json")
        return {
            "name": self.name,
            "version": self.version,
            "options": {name: value for name, value in options.items() if name not in PLACES},
        }

    def with_thickness(self, thickness: float) -> Data:
        """The same task; a `ValueError` for a thickness other than 0."""
        validated(DataOptions, {**self.options.model_dump(), "thickness": thickness}, self.name)
        return self

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = self.parts[split]
        size = len(part)
        rows = np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n]
        return part.x[rows], part.y[rows], np.empty((n, 0))

    def __repr__(self) -> str:
        """Without the place of the file, which is no part of the task."""
        names = f"{', '.join(self.options.x)} -> " if self.options.x else ""
        sizes = " + ".join(str(len(self.parts[split])) for split in self.splits)
        digest = self.options.sha256[:12]
        return f"data({self.called}: {names}{', '.join(self.options.y)}; {sizes} rows; sha256 {digest})"


def _source(field: str, path: str, digest: str) -> Source:
    if path:
        return source_of_file(path, digest)
    if not digest:
        raise invalid(f"data: {field}", path, "the path of a .csv, .npz or .parquet file (arrays: task_from_arrays)")
    return known_source(digest)


class _Question:
    """Options with their data: equal where the digests and all that decides the parts are."""

    def __init__(self, options: DataOptions, source: Source, test: Source | None) -> None:
        self.options, self.source, self.test = options, source, test
        names = [tuple(each.names.items()) for each in (source, test) if each is not None]
        self._key = (options.model_dump_json(exclude=set(PLACES)), *names)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Question) and self._key == other._key


@lru_cache(maxsize=4)
def _prepared(asked: _Question) -> Parts:
    """The parts; those of the last data sets are kept, because every trial of a study makes its task anew."""
    own = asked.options
    table = _table(own, asked.source, None)
    test = None if asked.test is None else _table(own, asked.test, table)
    shares = (own.validation_share, own.test_share)
    return divide(asked.source.name, table, test, shares, own.split_seed, own.scaling)


def _table(own: DataOptions, source: Source, like: Table | None) -> Table:
    """The rows of a source; `like` is the table whose labels and widths it must have."""
    labelled = own.answers == "labels"
    numbers = own.x if labelled else (*own.x, *own.y)
    columns = source.columns(numbers, own.y if labelled else (), own.separator)
    rows = len(next(iter(columns.values())))
    x_names, y_names = (
        tuple(each for name in names for each in _column_names(source, name, columns[name])) for names in (own.x, own.y)
    )
    x = np.concatenate([columns[name] for name in own.x], axis=1) if own.x else np.empty((rows, 0))
    y = columns[own.y[0]] if labelled else np.concatenate([columns[name] for name in own.y], axis=1)
    if like is not None and (x_names, y_names) != (like.x_names, like.y_names):
        raise invalid(
            f"{source.name}: columns", [*x_names, *y_names], f"those of the data: {like.x_names + like.y_names}"
        )
    classes = like.classes if like is not None and labelled else None

    def row_number(row: int) -> int:
        return source.row_number(row, own.separator)

    return make_table(source.name, x, y, (x_names, y_names), own.missing == "drop", classes, row_number)


def _column_names(source: Source, name: str, values: np.ndarray) -> tuple[str, ...]:
    """What messages call the columns of an array."""
    width = 1 if values.ndim == 1 else values.shape[1]
    names = source.names.get(name, ())
    if len(names) == width:
        return names
    return (name,) if width == 1 else tuple(f"{name}[{k}]" for k in range(width))
