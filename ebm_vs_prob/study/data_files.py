"""The data files that a study names: found beside it, known to workers by their digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..tasks.data import PLACES, Data
from ..tasks.rows.sources import remember_place, source_of_file
from .keys import digest
from .schema import Study
from .task_grids import TaskGrid


def located(study: Study, grid: TaskGrid) -> dict[str, Any]:
    """The options of a task of the study, files where they lie: a path is taken from the folder of the study's file."""
    if grid.kind != Data.name:
        return dict(grid.options)
    return {
        name: str(Path(study.folder or ".") / value) if name in PLACES and isinstance(value, str) and value else value
        for name, value in grid.options.items()
    }


def digests_of(study: Study) -> dict[str, str]:
    """SHA-256 by path as the study writes it; "" of a file that cannot be read."""
    found = {}
    for written, path in _files(study):
        try:
            found[written] = source_of_file(path).digest
        except ValueError:
            found[written] = ""
    return found


def digest_of_runs(study: Study, scale: str) -> str:
    """SHA-256 of all that decides what is run at a scale: of the study's file, and the content of the data it names."""
    files = digests_of(study)
    return digest({**study.runs(scale), **({"files": files} if files else {})})


def know_files(digests: Mapping[str, str], folder: str | Path | None, read: bool = False) -> None:
    """Tell this process where the data of a study lie, from the digests of the paths in it.

    Args:
        folder: of the study's file. read: look whether the files hold these data, now and not when they are needed.

    Raises:
        ValueError: a file that cannot be read or holds other data, where they are read.
    """
    for written, planned in digests.items():
        path = Path(folder or ".") / written
        if read:
            source_of_file(path, planned)
        elif planned:
            remember_place(planned, path)


def _files(study: Study) -> Iterator[tuple[str, str]]:
    for grid in study.tasks:
        if grid.kind == Data.name:
            for name, value in located(study, grid).items():
                if name in PLACES and value:
                    yield grid.options[name], value
