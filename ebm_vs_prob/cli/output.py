"""What the command line prints: tables for people, one line a row for pipes, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from ..core.streams import is_terminal
from ..core.text import printable

if TYPE_CHECKING:
    import pandas as pd

#: What is left at least of a column that is cut.
LEAST_CUT = 20


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: NaN is null, because strict parsers refuse it."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def print_json(value: Any) -> None:
    """JSON on stdout; NaN and infinity are refused."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[dict[str, Any]], title: str, cut: bool = False) -> None:
    """A table on stdout, its columns those of the first row.

    A pipe gets one line a row, with tabs between its cells. A terminal gets aligned columns, and where they are wider
    than it a paragraph a row, or with `cut` as much of the last column as fits.
    """
    header = [str(column) for column in rows[0]] if rows else []
    cells = [[_cell(value) for value in row.values()] for row in rows]
    typer.echo(title)
    if not is_terminal(sys.stdout):
        lines = ["\t".join(row) for row in [header, *cells]]
    else:
        widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
        room = shutil.get_terminal_size().columns
        over = sum(widths) + 2 * (len(widths) - 1) - room
        fits = over <= 0
        if cut and 0 < over <= widths[-1] - LEAST_CUT:
            widths[-1] -= over
            header, cells = _cut(header, widths[-1]), [_cut(row, widths[-1]) for row in cells]
            fits = True
        lines = _aligned([header, *cells], widths) if fits else _paragraphs(header, cells, room)
    for line in lines if rows else ():
        typer.echo(line)


def _cut(row: Sequence[str], width: int) -> list[str]:
    """The row with its last cell no wider than that."""
    *first, last = row
    return [*first, last if len(last) <= width else f"{last[: width - 1].rstrip()}…"]


def _aligned(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _paragraphs(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[str]:
    """The first cell of a row on a line of its own, and under it the others with their columns' names."""
    lines: list[str] = []
    for row in rows:
        lines.append(row[0])
        for name, cell in list(zip(header, row, strict=True))[1:]:
            lines += textwrap.wrap(f"{name}: {cell}", room, initial_indent="  ", subsequent_indent="    ")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return printable(", ".join(f"{key}={item}" for key, item in value.items()))
    if isinstance(value, list):
        return printable(", ".join(map(str, value)))
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def in_bytes(count: int) -> str:
    """A size as people say it: `22 MB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def said_aside(line: str) -> None:
    """Say something on stderr that is worth no error where nobody can read it: a full disk, a closed pipe."""
    with suppress(OSError, ValueError):
        typer.echo(printable(line), err=True)
