"""The modules that a study brings of its own: looked for beside its file, imported, and named where they fail."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import invalid
from ..core.interrupts import is_users
from ..core.streams import printed_aside
from ..core.text import printable
from .failures import places
from .own_energies import know_energy
from .provenance import PACKAGE, is_own_source, module_beside, sources_beside


def import_plugins(names: Iterable[str], where: str, folder: str | Path | None = None) -> None:
    """Import the modules that register a study's further tasks and methods: installed ones, or those in `folder`.

    A name `module:name` is an energy of the user's own, which `own_energies.energy_of` then knows. `folder` is searched
    last and only during the import, so a plugin imports its helpers at its top. What they print
    then goes to stderr.

    Raises:
        ValueError: a module that is not there or that fails, with its file and line; or one in `folder`, or a helper of
            it there, whose name is taken by another module, with both files. An energy that cannot be called.
        UnknownName: an energy that its module does not have.
    """
    for given in names:
        name, is_energy, attribute = given.partition(":")
        field, place = f"{where}: {'network' if is_energy else 'plugins'}", module_beside(name, folder)
        _refuse_another_studys(field, name, place)
        with printed_aside(), _searched_last(folder):
            try:
                importlib.import_module(name)
            except BaseException as error:
                if is_users(error):
                    raise
                raise invalid(field, name, f"a module that can be imported here ({_reason(error)})") from error
        if place is not None:
            _refuse_hidden(field, name, place)
        if is_energy:
            know_energy(name, attribute, field)


@contextmanager
def _searched_last(folder: str | Path | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    entry = str(folder)
    sys.path.append(entry)
    importlib.invalidate_caches()  # a file that was written within the clock tick of the last look is seen
    try:
        yield
    finally:
        place = len(sys.path) - 1 - sys.path[::-1].index(entry) if entry in sys.path else None
        if place is not None:
            del sys.path[place]


def _imported(module: str) -> Path | None:
    """The file of a module that is imported, if it has one: a module may say anything of itself."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return Path(file) if isinstance(file, str) and file and Path(file).resolve().exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _refuse_another_studys(field: str, name: str, place: Path | None) -> None:
    """Raise where a plugin, or what it imports from its folder, would be one that another study brought before.

    Python has one module of a name in a process, so the second study would silently get the first one's.
    """
    if place is None:
        top = name.partition(".")[0]
        found = _imported(top)
        if found is not None and not any(finder.find_spec(top, None) for finder in sys.meta_path):
            raise invalid(
                field, name, f"a module that can be imported here (only another study's {found} has the name)"
            )
        return
    for source in sources_beside(place):
        first, *inside = source.relative_to(place.parent).parts
        top = first.removesuffix(".py")
        found = _imported(top)
        if found is None or place.parent.resolve() in found.resolve().parents:
            continue
        if _is_users_code(str(found)) and not _is_copy(source, found.parent.joinpath(*inside) if inside else found):
            valid = f"another name than that of {found}, which another study in this process uses: {source} is hidden"
            raise invalid(field, top, valid)


def _refuse_hidden(field: str, name: str, place: Path) -> None:
    """Raise where the plugin that was imported is not the one that lies beside the study."""
    file = place if place.is_file() else place / "__init__.py"
    found = _imported(name.partition(".")[0])
    if found is None or not (found.is_file() and _is_copy(file, found)):
        raise invalid(field, name, f"another name: {file} is hidden by {found or 'a module of Python'}")


def _is_copy(file: Path, other: Path) -> bool:
    """Whether two modules are one, or copies, as on a machine where a plugin is installed that sees the study too."""
    return file.is_file() and other.is_file() and (file.samefile(other) or file.read_bytes() == other.read_bytes())


def _reason(error: BaseException) -> str:
    """What an import failed with, and in which line of which file."""
    if isinstance(error, SyntaxError):
        place = f" in {printable(error.filename)}, line {error.lineno}" if error.filename else ""
        return printable(f"{type(error).__name__}: {printable(error.msg)}{place}")
    own = [(file, line) for file, line, _ in places(error) if _is_users_code(file)]
    place = f" in {own[-1][0]}, line {own[-1][1]}" if own else ""
    kind = "" if isinstance(error, ModuleNotFoundError) else f"{type(error).__name__}: "
    return printable(f"{kind}{printable(error)}{place}")


def _is_users_code(file: str) -> bool:
    return is_own_source(file) and PACKAGE not in Path(file).resolve().parents
