"""What a worker says of itself before it computes, and what the driver says to a worker that is not like it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...core.atomic_files import temporary_path
from ..data_files import know_files
from ..failures import reason
from ..plugins import import_plugins
from ..provenance import code_digest, module_digest, torch_version


@dataclass(frozen=True)
class Job:
    """What all batches of a run have in common, JSON-ready but for its class.

    `plugins` are the study's `imports`. `token` is a file in the store that a worker sees if it sees the store;
    `token_text` is what it holds. `files` are the study's data files, as it writes them, with their digests.
    """

    root: str
    plugins: tuple[str, ...]
    folder: str | None
    device: str
    time_limit: float
    token: str = ""
    token_text: str = ""
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Introduction:
    """A worker: where it is, which code it has, and what it can do.

    `plugins` maps names of modules to digests of their sources; `fault` says why one cannot be imported. `device` is
    the name of its GPU, "" where it has none or the plan wants none.
    """

    host: str
    pid: int
    code: str
    torch: str
    plugins: dict[str, str]
    fault: str
    device: str
    sees_store: bool

    @classmethod
    def impossible(cls, fault: str) -> Introduction:
        """Of a worker that cannot introduce itself."""
        return cls("", 0, "", "", {}, fault, "", False)

    def unlike(self, driver: Introduction) -> str:
        """How it differs from the driver where numbers depend on it; "" where it does not."""
        if self.fault:
            return self.fault
        if self.code != driver.code:
            return f"it has other code of the package: digest {self.code[:12]}, here {driver.code[:12]}"
        if self.torch != driver.torch:
            return f"it has torch {self.torch}, here {driver.torch}"
        other = [name for name in driver.plugins if self.plugins.get(name) != driver.plugins[name]]
        return f"its code of plugin {other[0]} is another" if other else ""


def introduce(job: Job) -> Introduction:
    """The introduction of this process."""
    digests, fault = {}, ""
    try:
        import_plugins(job.plugins, "the worker", job.folder)
        digests = {name: module_digest(name) for name in job.plugins}
        know_files(job.files, job.folder, read=True)
    except BaseException as error:  # a module that ends the process when it is imported ends only itself
        fault = reason(error)
    return Introduction(
        host=socket.gethostname(),
        pid=os.getpid(),
        code=code_digest(),
        torch=torch_version(),
        plugins=digests,
        fault=fault,
        device=_gpu() if job.device == "cuda" else "",
        sees_store=_sees_store(job),
    )


@contextmanager
def token_in(folder: Path) -> Iterator[tuple[str, str]]:
    """A file in the store, and its text, while a run lasts; of a driver that was killed it is a leftover."""
    path, text = temporary_path(folder / "token"), os.urandom(16).hex()
    path.write_text(text, encoding="utf-8")
    try:
        yield str(path), text
    finally:
        path.unlink(missing_ok=True)


def _sees_store(job: Job) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return Path(job.token).read_text(encoding="utf-8") == job.token_text and os.access(job.root, os.W_OK)
    return False


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
