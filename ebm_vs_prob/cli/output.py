"""What the command line prints: tables for people, one line a row for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

PIPE_WIDTH = 10_000


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: NaN is null, because strict parsers refuse it."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def print_json(value: Any) -> None:
    """JSON on stdout; NaN and infinity are refused."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[dict[str, Any]], title: str) -> None:
    """A table on stdout, its columns those of the first row."""
    from ..core.seeding import random_module_restored

    with random_module_restored():
        from rich.console import Console
        from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(str(column), overflow="fold")
    for row in rows:
        table.add_row(*[_cell(value) for value in row.values()])
    # A row is written to a pipe as one line, for grep and its like.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def one_line(text: object) -> str:
    """The text with every run of white space as one space."""
    return " ".join(str(text).split())
