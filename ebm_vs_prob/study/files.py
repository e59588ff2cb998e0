"""Study files on disk: finding them, reading them, and loading the plugins they name."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import invalid, unknown
from .consistency import check_references
from .schema import Study, from_table


@contextmanager
def _searched_last(folder: str | Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    entry = str(folder)
    sys.path.append(entry)
    try:
        yield
    finally:
        place = len(sys.path) - 1 - sys.path[::-1].index(entry) if entry in sys.path else None
        if place is not None:
            del sys.path[place]


def import_plugins(names: Iterable[str], where: str, folder: str | Path | None = None) -> None:
    """Import the modules that register a study's further tasks and methods: installed ones, or those in `folder`.

    `folder` is searched last and only during the import, so a plugin imports its helpers at its top.

    Raises:
        ValueError: a module that is not there, or one in `folder` whose name is taken by another module.
    """
    for name in names:
        top = name.partition(".")[0]
        beside = () if folder is None else (Path(folder) / top / "__init__.py", Path(folder) / f"{top}.py")
        with _searched_last(folder):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                raise invalid(f"{where}: plugins", name, f"a module that can be imported here ({error})") from None
        found = getattr(sys.modules[top], "__file__", None)
        for file in beside:
            if file.is_file() and (found is None or not file.samefile(found)):
                valid = f"another name: {file} is hidden by {found or 'a module of Python'}"
                raise invalid(f"{where}: plugins", name, valid)


def study_folders() -> list[Path]:
    """Where studies are looked up by name: the installed package's own, or the checkout's `studies/`."""
    package = Path(__file__).resolve().parent.parent
    return [folder for folder in (package / "studies", package.parent / "studies") if folder.is_dir()]


def list_studies() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted({path.stem for folder in study_folders() for path in folder.glob("*.toml")})


def find_study(path_or_name: str | Path) -> Path:
    """The file of a study: a path, or a name in `studies/`.

    Raises:
        UnknownName: neither a file nor a name, with the nearest name.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    if len(path.parts) == 1:
        for folder in study_folders():
            candidate = folder / f"{path.name.removesuffix('.toml')}.toml"
            if candidate.is_file():
                return candidate
    raise unknown("study", str(path_or_name), list_studies())


def load_study(path_or_name: str | Path) -> Study:
    """A study file, validated in itself; options of tasks and methods are checked when it is planned.

    Raises:
        UnknownName: no such study, or a key or a reference that does not exist.
        ValueError: a file that is not TOML, or a bad value.
    """
    path = find_study(path_or_name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {' '.join(str(error).split())}") from None
    study = from_table(Study, table, str(path)).read_from(path)
    check_references(study)
    return study
