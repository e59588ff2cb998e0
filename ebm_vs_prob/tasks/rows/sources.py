"""Where a user's data are found by their digest: in a file, or in arrays of this process.

What a trial is follows from the digest of its data and not from a path, so a specification has no path in it. Who makes
a task from a specification alone (a worker, `load_model`) has been told before where data of that digest lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np

from ...core.errors import invalid
from ...core.text import printable
from .columns import csv_row, read_bytes, read_columns


@dataclass(eq=False)
class Source:
    """Data as they were given: `name` for messages, `digest` their SHA-256, and where they lie: a file, or arrays.

    `names` are those of the columns of an array that has them, for messages too.
    """

    name: str
    digest: str
    path: Path | None = None
    arrays: Mapping[str, np.ndarray] | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The end of the file's name, which says how it is read; "" of arrays."""
        return "" if self.path is None else self.path.suffix.lower()

    def columns(self, numbers: tuple[str, ...], labels: tuple[str, ...], separator: str) -> Mapping[str, np.ndarray]:
        """As `read_columns`; of arrays, all of them.

        Raises:
            ValueError: the file holds other data than the digest says, too.
        """
        if self.arrays is not None:
            return self.arrays
        return read_columns(self.name, self.kind, self._content(), numbers, labels, separator)

    def row_number(self, row: int, separator: str) -> int:
        """What messages call a row of the columns, counted from 0: in a CSV file what a spreadsheet does, else row + 1.

        Raises:
            ValueError: the file cannot be read any more, or holds other data than the digest says.
        """
        return csv_row(self.name, self._content(), separator, row) if self.kind == ".csv" else row + 1

    def _content(self) -> bytes:
        assert self.path is not None
        content = read_bytes(self.path)
        _check_digest(self.name, hashlib.sha256(content).hexdigest(), self.digest)
        return content


_FILES: dict[str, Path] = {}
_ARRAYS: WeakValueDictionary[str, Source] = WeakValueDictionary()


def source_of_file(path: str | Path, digest: str = "") -> Source:
    """A file with the digest of its content, which is remembered as the place of data of that digest.

    Args:
        digest: that it must have, if any.

    Raises:
        ValueError: a file that cannot be read, or that holds other data than the digest says.
    """
    place = Path(path)
    found = hashlib.sha256(read_bytes(place)).hexdigest()
    _check_digest(place.name, found, digest or found)
    _FILES[found] = place.absolute()  # a link keeps its name, which says what kind of file it is
    return Source(printable(place.name), found, path=_FILES[found])


def remember_place(digest: str, path: str | Path) -> None:
    """Say where a file with data of that digest lies; whether it holds them is checked when it is read."""
    _FILES[digest] = Path(path)


def source_of_arrays(name: str, arrays: Mapping[str, np.ndarray], names: Mapping[str, tuple[str, ...]]) -> Source:
    """Arrays of this process, found by their digest as long as a task of them lives, and called what they were last.

    Args:
        name, names: as of a `Source`.
    """
    total = hashlib.sha256()
    for key, values in arrays.items():
        labelled = values.dtype == object
        total.update(f"{key}\0{'labels' if labelled else 'numbers'}\0{values.shape}\n".encode())
        total.update(b"".join(map(_encoded, values)) if labelled else np.ascontiguousarray(values).view(np.uint8).data)
    source = Source(name, total.hexdigest(), arrays=arrays)
    source = _ARRAYS.setdefault(source.digest, source)
    source.name, source.names = name, names
    return source


def _encoded(label: str | None) -> bytes:
    """A label for a digest: with its length, so that no two columns of labels are one text; "-" where it is missing."""
    if label is None:
        return b"-"
    content = label.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(content), content)


def known_source(digest: str) -> Source:
    """The data of a digest that this process has been told of.

    Raises:
        ValueError: it has not.
    """
    source = _ARRAYS.get(digest)
    if source is not None:
        return source
    if digest in _FILES:
        return Source(printable(_FILES[digest].name), digest, path=_FILES[digest])
    valid = (
        "that of data which this process knows: make the task of them first, with get_task('data', data=FILE, ...) or "
        "task_from_arrays"
    )
    raise invalid("data: sha256", digest, valid)


def _check_digest(name: str, found: str, planned: str) -> None:
    if found != planned:
        raise invalid(f"data: SHA-256 of {name}", found, f"{planned}: the file holds other data than were planned")
