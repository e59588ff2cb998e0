"""The command `ebm-vs-prob`: its commands in their order, and how they end.

Results go to stdout, progress and errors to stderr; an error is one line and a non-zero exit. Only the command that is
called imports what it needs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated

import typer

from ..core.streams import drop_unwritten
from ..core.text import printable
from . import checking, describing, reporting, running
from .signals import STOPPED, Signals

#: Set to 1 to see where an unexpected error came from.
TRACEBACK_VARIABLE = "EBM_VS_PROB_TRACEBACK"

#: The commands in the order of the help, each with an example.
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (describing.list_, "list methods"),
    "show": (describing.show, "show denoising_score_matching"),
    "plan": (running.plan, "plan thin_manifold --scale full"),
    "run": (running.run, "run thin_manifold --scale quick --workers 2"),
    "status": (running.status, "status thin_manifold --json"),
    "report": (reporting.report, "report thin_manifold --out reports"),
    "verify": (reporting.verify, "verify thin_manifold --rerun 4"),
    "compare": (reporting.compare, "compare results other-results --study thin_manifold"),
    "cite": (reporting.cite, "cite thin_manifold > references.bib"),
    "check": (checking.check, "check circle"),
    "challenge": (checking.challenge, "challenge hinge --store results"),
}

app = typer.Typer(
    name="ebm-vs-prob",
    help="The same tasks twice, energy-based and probabilistic, measured against exact truth.",
    epilog="Example: ebm-vs-prob run thin_manifold --scale quick",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from ..core.version import __version__

        typer.echo(f"ebm-vs-prob {__version__}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback(invoke_without_command=True)
def _root(context: typer.Context, version: VersionOption = False) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _name, (_function, _example) in COMMANDS.items():
    app.command(_name, epilog=f"Example: ebm-vs-prob {_example}")(_function)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for an error, 2 for wrong usage, 128 + a signal's number."""
    with Signals(last=arguments is None) as signals:
        code, message = _run(arguments)
    if signals.received is not None:
        code, message = signals.exit_code, signals.message
    if message is not None:
        with suppress(OSError, ValueError):  # there is no one to tell
            typer.echo(f"ebm-vs-prob: error: {printable(message)}", err=True)
    drop_unwritten()
    return code


def _run(arguments: Sequence[str] | None) -> tuple[int, object | None]:
    """Exit code and what is said on stderr."""
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="ebm-vs-prob", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130, STOPPED
    except BrokenPipeError:  # who read what is printed has left
        return 1, None
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        if hasattr(error, "format_message"):  # what typer and click raise for wrong usage
            return 2, error.format_message().replace("Value error, ", "", 1)  # before each list of choices
        if isinstance(error, (ValueError, LookupError, OSError)) and printable(error):
            return 1, error.args[0] if type(error) is KeyError else error
        return 1, f"{type(error).__name__}: {printable(error)} ({TRACEBACK_VARIABLE}=1 shows where)"
    return (130, STOPPED) if code == 130 else (int(code or 0), None)
