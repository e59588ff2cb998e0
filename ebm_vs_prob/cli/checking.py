"""Whether something keeps the rules, and how a method does beside the strongest: `check` and `challenge`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options


def check(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A task, method or study, or a file with them.")],
    as_json: options.JsonOption = False,
) -> None:
    """Check."""


def challenge(
    method: Annotated[str, typer.Argument(metavar="METHOD|FILE", help="A method, or a file that registers one.")],
    store: options.StoreOption = options.DEFAULT_STORE,
) -> None:
    """Challenge."""
