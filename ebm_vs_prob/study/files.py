"""Study files on disk: finding and reading them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from ..core.errors import invalid, no_file, unknown
from ..core.options import from_table
from ..core.text import printable
from .consistency import check_references
from .schema import Study
from .task_grids import gathered
from .values import check_table

#: Bytes of the largest study file: twenty times the headline study's, and little enough to be read at once.
MOST_BYTES = 1 << 18

#: Names that a message lists where one is not known, at most.
MOST_LISTED = 15

#: Seventeen keys with dots between them: reading one of thousands takes Python's parser hours.
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){16}""")


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
        UnknownName: neither a file nor a name, with the file that lacks only `.toml`, or the nearest name.
        ValueError: a path of something that is no file.
    """
    path = Path(path_or_name)
    if _is_file(path):
        return path
    if len(path.parts) == 1:
        for folder in study_folders():
            candidate = folder / f"{path.name.removesuffix('.toml')}.toml"
            if _is_file(candidate):
                return candidate
    if _exists(path):
        raise invalid("study", str(path), "a TOML file: this is a folder, a pipe or a device")
    beside = file_beside(path)
    if is_path(path_or_name) and beside is None:
        raise no_file("study", str(path_or_name))
    raise unknown("study", str(path_or_name), list_studies(), MOST_LISTED, beside)


def is_path(path_or_name: str | Path) -> bool:
    """Whether a file is meant and no name in `studies/`: it has a slash, or the end of a study's or a plugin's file."""
    path = Path(path_or_name)
    return len(path.parts) > 1 or "/" in str(path_or_name) or path.suffix in (".toml", ".py")


def file_beside(path_or_name: str | Path) -> str | None:
    """The study file that is there where `.toml` is added to what was given, or None."""
    path = f"{path_or_name}.toml"
    return path if _is_file(Path(path)) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def load_study(path_or_name: str | Path | Study) -> Study:
    """A study file, validated in itself; options of tasks and methods are checked when it is planned.

    A study that is loaded already is returned as it is.

    Raises:
        UnknownName: no such study, or a key or a reference that does not exist.
        ValueError: a file that cannot be read or is not TOML, or a bad value.
    """
    if isinstance(path_or_name, Study):
        return path_or_name
    if not str(path_or_name).strip():
        raise invalid("study", path_or_name, "a name in studies/ or the path of a TOML file")
    path = find_study(path_or_name)
    where = printable(path)
    study = from_table(Study, gathered(_read_toml(path, where), where), where).read_from(path, path_or_name)
    check_references(study)
    return study


def _read_toml(path: Path, where: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise invalid("study", where, f"a file that can be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{where} has more than {MOST_BYTES} bytes, which no study file has")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not a TOML file: byte {error.start + 1} is not UTF-8") from None
    deep = _DEEP_KEY.search(text)
    if deep:
        line = text.count("\n", 0, deep.start()) + 1
        raise ValueError(f"{where} is not a study file: line {line} has a key of more than 16 parts")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = str(error).replace("Cannot overwrite a value", "a key is given twice")
        raise ValueError(f"{where} is not a TOML file: {printable(why)}") from None
    except RecursionError:
        raise ValueError(f"{where} is not a study file: its values are nested too deep") from None
    except ValueError:  # Python reads no decimal integer of more than 4300 digits
        raise ValueError(f"{where} is not a TOML file: an integer has more than 64 bits") from None
    check_table(table, where)
    return table


def scheduler_address(file: str | Path) -> str:
    """The address in a scheduler file of dask.

    Raises:
        ValueError: a file that cannot be read or is not what a scheduler writes.
    """
    valid = "a file that a dask scheduler wrote with --scheduler-file"
    try:
        with Path(file).open("rb") as opened:
            found = json.loads(opened.read(MOST_BYTES))
    except OSError as error:
        raise invalid("scheduler", str(file), f"{valid}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise invalid("scheduler", str(file), f"{valid}: this one is not JSON") from None
    address = found.get("address") if isinstance(found, dict) else None
    if not isinstance(address, str) or not address:
        raise invalid("scheduler", str(file), f"{valid}: this one has no address")
    return address
