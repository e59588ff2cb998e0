"""The folder of a store: what is the store's own in it, what is not, and what lies where its own should be."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.atomic_files import host, open_file, write_atomically
from ..core.errors import invalid
from .documents import DamagedRecord, OtherVersion

#: Names that the store gives to files that are being written: name, host, process, random mark.
LEFTOVER = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<pid>[0-9]{1,10})\.[0-9a-f]{16}\.tmp", re.DOTALL)

#: What the system answers of that which is no file, or not ours to read, where a file should be.
_NO_FILE = {
    errno.EINVAL,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
    errno.EACCES,
    errno.EPERM,
}

_EARLIER_SHARD = re.compile(r"[0-9a-f]{2}")
_EARLIER_RECORD = re.compile(r"[0-9a-f]{64}\.json")


class StoreFolder:
    """Files under one root, which is made when something is first written.

    Raises:
        ValueError: the root is no folder, or holds records as an earlier version laid them out.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise invalid("store", str(root), "a folder, or a path where one can be made")
        if self._is_earlier():
            raise ValueError(
                f"the store {str(root)!r} has the layout of an earlier version, a file a trial in 'trials/': give "
                "another with --store, or read it with the version that wrote it"
            )

    def _is_earlier(self) -> bool:
        trials = self.root / "trials"
        if not trials.is_dir():
            return False
        shards = (entry for entry in os.scandir(trials) if _EARLIER_SHARD.fullmatch(entry.name) and entry.is_dir())
        return any(_EARLIER_RECORD.fullmatch(name) for shard in shards for name in os.listdir(shard))

    def read(self, path: Path, what: str) -> bytes | None:
        """The content of a file; None where nothing is.

        Raises:
            DamagedRecord: something that is no file, or cannot be read, is there.
        """
        try:
            with open_file(path) as file:
                return file.read()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            if gone and not os.path.lexists(path) and not self.strangers(path.parent):
                return None
            if not gone and error.errno not in _NO_FILE:
                raise
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
        """Names in one of the store's own folders, sorted; none where it is not there or no folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
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
        """Make a folder of the store, setting aside what is no folder on the way to it."""
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
        """Whether the lock of that file is held inside; the system frees it when the process dies."""
        from filelock import FileLock, Timeout

        self.make(path.parent)
        if os.path.lexists(path) and not path.is_file():
            self.set_aside(path)
        lock = FileLock(path, timeout=-1 if blocking else 0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def leftovers(self, folder: str) -> Iterator[Path]:
        """Temporary files below a folder, of processes of this machine that are gone."""
        for path in (self.root / folder).rglob(".*.tmp"):
            made = LEFTOVER.fullmatch(path.name)
            if made and made["host"] == host() and path.is_file() and not _alive(int(made["pid"])):
                yield path


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
