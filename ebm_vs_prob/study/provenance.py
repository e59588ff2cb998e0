"""What made a record: versions, commit, hardware, threads, and a digest of the code that decides its numbers."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = ("ebm-vs-prob", "torch", "pyro-ppl", "numpy", "scipy", "pandas", "arviz", "dask", "scikit-learn")

#: Code that plans, tabulates, judges and shows, and cannot change a trial's numbers.
NOT_IN_DIGEST = (
    "report/",
    "studies/",
    "study/",
    "cli/",
    "core/bibliography.py",
    "core/lazy_names.py",
    "metrics/catalogue.py",
)
IN_DIGEST = ("study/worker.py",)


@lru_cache(maxsize=1)
def _package_digest() -> str:
    total = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name in IN_DIGEST or not name.startswith(NOT_IN_DIGEST):
            total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def code_digest(*classes: type) -> str:
    """SHA-256 over the package's sources, and over the modules of tasks and methods that come from elsewhere."""
    total = hashlib.sha256(_package_digest().encode())
    package = __name__.partition(".")[0]
    foreign = {kind.__module__ for kind in classes if kind.__module__.partition(".")[0] != package}
    for name in sorted(foreign):
        source = getattr(sys.modules.get(name), "__file__", None)
        total.update(f"{name}\0".encode())
        total.update(Path(source).read_bytes() if source else b"")
    return total.hexdigest()


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
        "hardware": _hardware(device),
        "threads": torch.get_num_threads(),
    }
