"""Folders for what can be made again, kept between runs: constants of this machine, answers that take a heavy import,
and what torch's compiler made."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from .atomic_files import write_atomically

#: Bytes of compiled programs that are kept; a program takes some 300 kB, the compiler's headers 300 MB.
MOST_BYTES = 2**30
ANSWER_BYTES = 2**24
#: Seconds without use after which a file may be removed: another process may be about to read a younger one.
UNUSED = 3600.0
#: Of torch, which sets it itself, to a folder in TMPDIR, when its compiler is imported.
COMPILER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"

#: Where the compiler works is the whole process's.
_ONE_AT_A_TIME = threading.RLock()


def cache_folder() -> Path:
    """The environment's `EBM_VS_PROB_CACHE`, or the package's folder among the user's caches; it need not exist."""
    given = os.environ.get("EBM_VS_PROB_CACHE")
    if given:
        return Path(given).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("ebm_vs_prob")


def remembered(question: Any, answer: Callable[[], Any]) -> Any:
    """What `answer` gave when it was asked this question before, or gives now; both are JSON-ready.

    The question holds all that the answer follows from. A kept answer that is not what was written is asked for anew.
    """
    name = hashlib.sha256(_json(question)).hexdigest()
    path = cache_folder() / "answers" / f"{name}.json"
    with suppress(OSError, ValueError, TypeError, LookupError, RecursionError):
        if not path.is_file() or path.stat().st_size > ANSWER_BYTES:
            raise ValueError
        kept = json.loads(path.read_bytes())
        if kept["checksum"] == hashlib.sha256(_json(kept["answer"])).hexdigest():
            return kept["answer"]
    found = answer()
    with suppress(OSError):
        make_private(path.parent)
        write_atomically(path, _json({"checksum": hashlib.sha256(_json(found)).hexdigest(), "answer": found}))
        trim(path.parent, ANSWER_BYTES)
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@contextmanager
def compiler_cache() -> Iterator[None]:
    """Within the block torch's compiler keeps what it makes in the cache folder, and compiles in this process.

    A folder that the user has set, `TORCHINDUCTOR_CACHE_DIR`, stands and is left to the user; so is torch's own where
    the cache folder cannot be written.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    before = os.environ.get(COMPILER_VARIABLE)
    own = compiler_folder()
    if own is None or before not in (None, "", default_cache_dir(), str(own)):
        yield
        return
    trim_once(own)
    with _ONE_AT_A_TIME, _compiling_in(own):
        yield


@contextmanager
def empty_compiler_cache() -> Iterator[None]:
    """Within the block torch's compiler finds nothing that it has made before, and keeps nothing."""
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    with TemporaryDirectory() as folder, temporary_cache_dir(folder):
        yield


@contextmanager
def _compiling_in(own: Path) -> Iterator[None]:
    from torch._inductor import codecache, config

    before = os.environ.get(COMPILER_VARIABLE)
    os.environ[COMPILER_VARIABLE] = str(own)
    # The headers' folder follows no setting: it lies in TMPDIR, which others may share and which is often small.
    headers = patch.object(codecache, "_HEADER_DIR", str(own / "precompiled_headers"), create=True)
    try:
        with headers, config.patch(compile_threads=1):
            yield
    finally:
        if before is None:
            del os.environ[COMPILER_VARIABLE]
        else:
            os.environ[COMPILER_VARIABLE] = before


def compiler_folder() -> Path | None:
    """Where compiled programs are kept, made if need be; None where it cannot be, or where others could put theirs."""
    folder = cache_folder() / "compiler"
    try:
        make_private(folder)
        state = folder.stat()
    except OSError:
        return None
    foreign = hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022)
    return None if foreign or not os.access(folder, os.W_OK) else folder


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, for this user alone."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_private(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


@lru_cache
def trim_once(folder: Path) -> None:
    """`trim`, once in the life of a process."""
    trim(folder, MOST_BYTES)


def trim(folder: Path, most: int) -> None:
    """Remove files, those first that were not used for longest, until the others take at most `most` bytes.

    Files that were used within the last hour stay, and what cannot be removed. Use is what the file system notes of it,
    which on many is up to a day late.
    """
    found = []
    for place, _, names in os.walk(folder):  # which passes over what others remove meanwhile
        for path in (Path(place, name) for name in names):
            with suppress(OSError):
                state = path.lstat()
                found.append((max(state.st_atime, state.st_mtime), state.st_size, path))
    excess, now = sum(size for _, size, _ in found) - most, time.time()
    for used, size, path in sorted(found):
        if excess <= 0 or now - used < UNUSED:
            return
        with suppress(OSError):
            path.unlink()
            excess -= size
