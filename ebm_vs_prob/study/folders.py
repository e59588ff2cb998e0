"""The folder of a store: what is the store's own in it, what is not, and what lies where its own should be."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.atomic_files import check_folder, host, make_folder, open_file, write_atomically
from ..core.text import shown
from .documents import DamagedRecord, OtherVersion

#: Names that the store gives to files that are being written: name, host, process, random mark.
LEFTOVER = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<pid>[0-9]{1,10})\.[0-9a-f]{16}\.tmp", re.DOTALL)

#: What the system answers of that which is no file, where a file should be. A file that this user may not read is one.
_NO_FILE = {errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV}

#: Seconds for which a lock is waited for, and after which this is said.
LOCK_LIMIT, LOCK_QUIET = 60.0, 1.0

_EARLIER_SHARD = re.compile(r"[0-9a-f]{2}")
_EARLIER_RECORD = re.compile(r"[0-9a-f]{64}\.json")

log = logging.getLogger("ebm_vs_prob.study")


class StoreFolder:
    """Files under one root, which is made when something is first written.

    Raises:
        ValueError: the root is no folder and none can be made there, or holds records as an earlier version laid them
            out.
        PermissionError: this user may not look into it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        check_folder("store", self.root)
        if self._is_earlier():
            raise ValueError(
                f"the store {str(root)!r} has the layout of an earlier version, a file a trial in 'trials/': give "
                "another with --store, or read it with the version that wrote it"
            )

    def _is_earlier(self) -> bool:
        shards = filter(_EARLIER_SHARD.fullmatch, self.names("trials"))
        return any(_EARLIER_RECORD.fullmatch(name) for shard in shards for name in self.names(f"trials/{shard}"))

    def read(self, path: Path, what: str) -> bytes | None:
        """The content of a file; None where nothing is.

        Raises:
            DamagedRecord: something that is no file is there.
            PermissionError: this user may not read it, so that nobody knows whether it is damaged.
            OSError: the disk fails; the error names the path.
        """
        try:
            with open_file(path) as file:
                return file.read()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            if gone and not os.path.lexists(path) and not self.strangers(path.parent):
                return None
            if isinstance(error, PermissionError):
                raise _forbidden(path) from None
            if not gone and error.errno not in _NO_FILE:
                raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
            raise DamagedRecord(f"{what} cannot be read: {error.strerror}") from None

    @contextmanager
    def telling(self, path: Path) -> Iterator[None]:
        """Have an `OtherVersion` raised inside say in which file of which store it is, and how to go on.

        Raises:
            OtherVersion: as inside.
        """
        try:
            yield
        except OtherVersion as error:
            raise OtherVersion(
                f"{path.relative_to(self.root)} in the store {str(self.root)!r} cannot be used: {error}, give another "
                "store with --store, or move that file away, and `run` makes anew what it held"
            ) from None

    def names(self, folder: str) -> list[str]:
        """Names in one of the store's own folders, sorted; none where it is not there or no folder.

        Raises:
            PermissionError: this user may not list it.
        """
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError:
            raise _forbidden(self.root / folder) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return []
            raise

    def write(self, path: Path, content: bytes) -> None:
        """Write a file atomically; whatever else lies in its place, or in that of its folders, is set aside."""
        self.make(path.parent)
        if os.path.lexists(path) and not path.is_file():
            self.set_aside(path)
        write_atomically(path, content)

    def make(self, folder: Path) -> None:
        """Make a folder of the store, setting aside what is no folder on the way to it.

        Raises:
            ValueError: the store's own folder cannot be made where it was asked for.
        """
        make_folder("store", self.root)
        for stranger in self.strangers(folder):
            self.set_aside(stranger)
        folder.mkdir(parents=True, exist_ok=True)

    def strangers(self, folder: Path) -> list[Path]:
        """What lies where a folder of the store, or one that leads to it, should be."""
        ways = [path for path in (*reversed(folder.parents), folder) if self.root in path.parents]
        return [path for path in ways if os.path.lexists(path) and not path.is_dir()][:1]

    def set_aside(self, path: Path, into: str = "damaged") -> None:
        """Move a file, or whatever is in its place, out of the way; another process may have done so already."""
        mark = secrets.token_hex(4)
        folder = self.root / into
        if path != folder:
            self.make(folder)
        target = folder / f"{path.name}.{mark}" if path != folder else self.root / f"{into}.{mark}"
        try:
            os.replace(path, target)
        except FileNotFoundError:
            return

    @contextmanager
    def lock(self, path: Path, blocking: bool) -> Iterator[bool]:
        """Whether the lock of that file is held inside; the system frees it when the process dies.

        Raises:
            TimeoutError: with `blocking`, where another process holds it for `LOCK_LIMIT` seconds.
        """
        from filelock import FileLock, Timeout

        self.make(path.parent)
        if os.path.lexists(path) and not path.is_file():
            self.set_aside(path)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=LOCK_QUIET if blocking else 0)
        except Timeout:
            if not blocking:
                yield False
                return
            log.warning("waiting for %s, which another process holds", path)
            try:
                lock.acquire(timeout=LOCK_LIMIT - LOCK_QUIET)
            except Timeout:
                raise TimeoutError(
                    f"{shown(str(path))} was held by another process for {LOCK_LIMIT:g} s: it packs or mends this "
                    "store, or was stopped; let it end, and run again"
                ) from None
        try:
            yield True
        finally:
            lock.release()

    def leftovers(self, folder: str) -> Iterator[Path]:
        """Temporary files below a folder, of processes of this machine that are gone."""
        for path in (self.root / folder).rglob(".*.tmp"):
            made = LEFTOVER.fullmatch(path.name)
            if made and made["host"] == host() and path.is_file() and not is_alive(int(made["pid"])):
                yield path


def _forbidden(path: Path) -> PermissionError:
    return PermissionError(f"{shown(str(path))} may not be read by this user: ask its owner")


def is_alive(pid: int) -> bool:
    """Whether a process of this machine, whoever's, is there."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
