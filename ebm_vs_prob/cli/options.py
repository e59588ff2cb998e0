"""Arguments and options that commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import invalid


class Kind(StrEnum):
    tasks = "tasks"
    methods = "methods"
    studies = "studies"


class Engine(StrEnum):
    local = "local"
    serial = "serial"
    dask = "dask"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A name in studies/ or the path of a TOML file.")]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        metavar="quick|standard|full",
        help="A scale of the study's file, or a shrunk run's; by default quick, or the only one of the file.",
    ),
]
ReadScaleOption = Annotated[
    str | None,
    typer.Option(metavar="quick|standard|full", help="By default quick where the store has it, else the report's."),
]
ReportsOption = Annotated[Path, typer.Option(metavar="DIR", help="Where reports lie.")]
StoreOption = Annotated[Path, typer.Option(metavar="DIR", help="Where results are kept.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU that is there.")]
EngineOption = Annotated[Engine, typer.Option(help="Workers here, this process, or a dask cluster elsewhere.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Local workers; one a core if left out.")]
SchedulerOption = Annotated[str | None, typer.Option(metavar="ADDRESS|FILE", help="A dask scheduler or its file.")]
RetryOption = Annotated[bool, typer.Option("--retry-failed", help="Run again what failed by itself before.")]
RetryOutdatedOption = Annotated[
    bool, typer.Option("--retry-outdated", help="Run again what other code of the package or a plugin made.")
]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Gets a folder of the study's name with the report.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]

SeedsOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N seeds.")]
StepsOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="So many training steps.")]
ArmsOption = Annotated[str | None, typer.Option(metavar="A,B", help="Only these arms.")]
TasksOption = Annotated[str | None, typer.Option(metavar="A,B", help="Only these tasks.")]
#: Two names of one option, as click names them in an error.
_AT = ("--at", "--thickness")
AtOption = Annotated[
    str | None, typer.Option(*_AT, metavar="V,W", help="Only these settings of what tasks vary along.")
]

DEFAULT_STORE = Path("results")
DEFAULT_OUT = Path("reports")


def names(option: str, given: str | None) -> list[str]:
    """The names of a list with commas between them; none where the option is not given.

    Raises:
        ValueError: the option is given and names nothing, as a variable does that is not set: it would run everything.
    """
    return _listed(option, given, "names with commas between them")


def numbers(given: str | None) -> list[float]:
    """The numbers of `AtOption`, likewise.

    Raises:
        ValueError: the option is given and lists nothing, or what is no number.
    """
    option, valid = " / ".join(_AT), "numbers with commas between them, as in 0.3,0.1"
    found = _listed(option, given, valid)
    try:
        return [float(number) for number in found]
    except ValueError:
        raise invalid(option, given, valid) from None


def _listed(option: str, given: str | None, valid: str) -> list[str]:
    if given is None:
        return []
    found = [part.strip() for part in given.split(",") if part.strip()]
    if not found:
        raise invalid(option, given, f"{valid}, or no such option")
    return found
