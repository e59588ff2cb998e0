"""What made a record: versions, commit, hardware, threads, and a digest of the code that decides its numbers."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import host
from ..core.caches import remembered
from ..core.registry import METHODS, TASKS

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = ("ebm-vs-prob", "torch", "pyro-ppl", "numpy", "scipy", "pandas", "arviz", "dask", "scikit-learn")

#: Code that plans, tabulates, judges and shows, and cannot change a trial's numbers.
NOT_IN_DIGEST = (
    "report/",
    "studies/",
    "study/",
    "cli/",
    "core/bibliography.py",
    "core/caches.py",
    "core/interrupts.py",
    "core/lazy_names.py",
    "core/streams.py",
    "core/text.py",
    "metrics/catalogue.py",
)
IN_DIGEST = ("study/measurement.py",)

_INSTALLED = ("purelib", "platlib")
#: Bases of tasks and methods that come from distributions whose versions are recorded.
_NEEDED = ("torch", "pyro", "pydantic", "numpy", "abc")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over the package's sources that decide a trial's numbers."""
    return _digest_of_package(lambda name: name in IN_DIGEST or not name.startswith(NOT_IN_DIGEST))


@lru_cache(maxsize=1)
def package_digest() -> str:
    """SHA-256 over all of the package's sources, and the papers that they cite."""
    return _digest_of_package(lambda name: True, ("*.py", "*.bib"))


def remembered_of_package(question: Any, answer: Callable[[], Any]) -> Any:
    """`caches.remembered` of what follows from the package's own code alone: not with tasks or methods of others, whose
    code may change between two calls."""
    if METHODS.is_extended() or TASKS.is_extended():
        return answer()
    return remembered([package_digest(), question], answer)


def _digest_of_package(counts: Callable[[str], bool], patterns: tuple[str, ...] = ("*.py",)) -> str:
    total = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in PACKAGE.rglob(pattern)):
        name = path.relative_to(PACKAGE).as_posix()
        if counts(name):
            total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def plugin_digests(*classes: type, modules: Iterable[str] = ()) -> dict[str, str]:
    """SHA-256 of each module outside the package that classes come from, and of `modules`, by top-level name.

    Bases count as their subclasses do. Of a package all sources count, imported or not; of a lone module itself, and
    the modules and packages of its folder that it or they import. Other installed distributions do not count: their
    versions stand in the provenance where they are this package's own needs.
    """
    digests: dict[str, str] = {}
    package = __name__.partition(".")[0]
    for name in sorted({*modules, *(base.__module__ for kind in classes for base in kind.__mro__)}):
        top = name.partition(".")[0]
        place = _place(sys.modules.get(top))
        if top == package or place is None or _recorded_by_version(place):
            continue
        label = place.stem if top.startswith("__") else top
        digests[label] = _digest_of_sources(place)
    return digests


def module_digest(name: str) -> str:
    """SHA-256 of an imported module outside the package as `plugin_digests` takes it; "" of one without sources.

    Of an energy, `module:name`, it is that of its module.
    """
    place = _place(sys.modules[name.partition(":")[0].partition(".")[0]])
    return "" if place is None else _digest_of_sources(place)


def module_beside(name: str, folder: str | Path | None) -> Path | None:
    """The file or package folder of a top-level module in `folder`, if it is there."""
    if folder is None:
        return None
    package = Path(folder) / name.partition(".")[0]
    module = package.with_name(f"{package.name}.py")
    return package if (package / "__init__.py").is_file() else module if module.is_file() else None


def digest_at_hand(name: str, folder: str | Path | None = None) -> str:
    """The digest that a record made now would have of a plugin's module, which is not imported; "" where none is found.

    Args:
        name: top-level, as `plugin_digests` has it.
        folder: of the study's file, where the module is looked for first.
    """
    if not name.isidentifier():  # a record may hold any text, and a path is no module
        return ""
    place = module_beside(name, folder)
    if place is None:
        try:
            place = _place(sys.modules[name]) if name in sys.modules else _place_of_spec(name)
        except (ImportError, ValueError):
            return ""
    return "" if place is None else _digest_of_sources(place.resolve())


def other_code(record: Mapping[str, Any], folder: str | Path | None = None) -> list[str]:
    """Of a trial's record whose code is another at hand than made it: "the package", and plugins by their modules.

    Args:
        folder: of the study's file, where plugins lie. One that is found neither there nor by Python is not compared.
    """
    package = [] if record["code_digest"] == code_digest() else ["the package"]
    plugins: dict[str, str] = record["plugins"]
    return [*package, *(name for name, made in plugins.items() if digest_at_hand(name, folder) not in ("", made))]


def is_by_code_at_hand(record: Mapping[str, Any], folder: str | Path | None = None) -> bool:
    """Whether the code at hand made a trial's record: all of it is found, and none is another as in `other_code`."""
    return not other_code(record, folder) and all(digest_at_hand(name, folder) for name in record["plugins"])


def outdated(results: pd.DataFrame, folder: str | Path | None = None) -> str:
    """How many of a table's trials other code made than that at hand, and whose, in words; "" where none.

    Args:
        results: columns `trial`, `code_digest` and `plugins` of a results table.
        folder: as in `other_code`.
    """
    finished = results[results["code_digest"].fillna("") != ""].drop_duplicates("trial")
    count, names = 0, dict[str, None]()
    for (code, plugins), trials in finished.groupby(["code_digest", "plugins"], sort=False):
        others = other_code({"code_digest": code, "plugins": json.loads(str(plugins) or "{}")}, folder)
        count += len(trials) if others else 0
        names |= dict.fromkeys(others)
    return f"{count} of {len(finished)} trials were made by other code of {' and '.join(names)}" if count else ""


def torch_version() -> str:
    """The version of torch, without the label of the build: one is for CPUs and one for each CUDA."""
    return metadata.version("torch").partition("+")[0]


def mixture(results: pd.DataFrame) -> str:
    """Which code of a table's records comes in several versions, or "": the package, or one plugin's module."""
    seen: dict[str, set[str]] = {"the package": set(results["code_digest"].dropna().unique()) - {""}}
    for text in results["plugins"].dropna().unique() if "plugins" in results else ():
        for name, digest in json.loads(text or "{}").items():
            seen.setdefault(name, set()).add(digest)
    return ", ".join(f"{len(found)} versions of the code of {name}" for name, found in seen.items() if len(found) > 1)


def is_own_source(file: str) -> bool:
    """Whether a file belongs to the package, or to a plugin that lies outside the installed distributions.

    Code that is made while it runs may give any text for its file, which then is none.
    """
    try:
        path = Path(file).resolve()
        if not path.is_file():
            return False
    except (OSError, ValueError, RuntimeError):  # too long for a name, no name at all, a loop of links
        return False
    paths = sysconfig.get_paths()
    others = [Path(paths[name]).resolve() for name in ("stdlib", *_INSTALLED)]
    return PACKAGE in path.parents or not any(folder in path.parents for folder in others)


def _place(module: Any) -> Path | None:
    """The file of a lone module or the folder of a package; None for one without sources."""
    folders = list(getattr(module, "__path__", ()))
    found = folders[0] if folders else getattr(module, "__file__", None)
    return Path(found).resolve() if isinstance(found, str) and found else None


def _place_of_spec(name: str) -> Path | None:
    """`_place` of a top-level module that is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    found = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location else [])]
    return Path(str(found[0])).resolve() if found else None


def _recorded_by_version(place: Path) -> bool:
    paths = sysconfig.get_paths()
    standard, installed = Path(paths["stdlib"]).resolve(), [Path(paths[name]).resolve() for name in _INSTALLED]
    needed = place.stem in _NEEDED and place.parent in installed
    return needed or (standard in place.parents and not any(folder in place.parents for folder in installed))


@lru_cache(maxsize=64)
def _digest_of_sources(place: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(sources_beside(place)):
        name = path.relative_to(place.parent).as_posix()
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def sources_beside(place: Path) -> set[Path]:
    """The sources of a lone module's file or a package's folder, and of what they import from the folder it lies in."""
    installed = [Path(sysconfig.get_paths()[name]).resolve() for name in _INSTALLED]
    root, waiting, sources = place.parent, [place], set[Path]()
    while waiting:
        each = waiting.pop()
        for path in [each] if each.is_file() else each.rglob("*.py"):
            if path in sources:
                continue
            sources.add(path)
            if root not in installed:
                waiting.extend(_beside(path, root))
    return sources


def _beside(path: Path, root: Path) -> Iterator[Path]:
    """Modules and packages in `root` that a source imports by an absolute name."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a file of a package that nothing imports
        return
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            for found in (root / top, root / f"{top}.py"):
                if found != PACKAGE and (found.is_file() if found.suffix else found.is_dir()):
                    yield found


@lru_cache(maxsize=1)
def _commit() -> str | None:
    """The commit of the checkout that the package runs from, `-dirty` where files differ; None outside one."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=PACKAGE.parent,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache(maxsize=2)
def _hardware(device: str) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "device": device,
    }
    if device == "cuda":
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def provenance(device: str) -> dict[str, Any]:
    """Versions, commit, hardware and threads of this process, JSON-ready."""
    import torch

    return {
        "versions": _versions(),
        "commit": _commit(),
        "host": host(),
        "hardware": _hardware(device),
        "threads": torch.get_num_threads(),
    }
