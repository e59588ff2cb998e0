"""Files that are whole or not there, and reading what may be no file."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import invalid

#: What the system answers where the path is right and the disk is not.
_FAILED_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE}

#: No tree of files is as deep, and Python's own making of folders ends at a thousand.
MOST_FOLDERS = 200


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it is whole or not there, also after a loss of power.

    Raises:
        OSError: it cannot be written; the error names the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # that of a full disk
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_folder(field: str, path: Path) -> None:
    """Check that a folder is there, or could be made, with room for names of 255 bytes two folders below it.

    Raises:
        ValueError: it is not, cannot be looked for, or its path is too long; `field` is what a user calls it.
    """
    deepest = Path(os.path.abspath(path)) / ("x" * 255) / ("x" * 255)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(deepest)
        if len(deepest.parts) > MOST_FOLDERS:
            raise OSError(errno.ENAMETOOLONG, f"it is more than {MOST_FOLDERS} folders deep")
        if os.path.lexists(path) and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is not one")
    except OSError as error:
        raise _no_folder(field, path, error) from None
    except ValueError as error:  # a path with a zero byte
        raise _no_folder(field, path, OSError(errno.EINVAL, str(error))) from None


def make_folder(field: str, path: Path) -> None:
    """Make a folder and those that lead to it, where they are not there.

    Raises:
        ValueError: none can be made there; `field` is what a user calls it.
        OSError: the disk is full or fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _FAILED_DISK:
            raise
        raise _no_folder(field, path, error) from None


def _no_folder(field: str, path: Path, error: OSError) -> ValueError:
    return invalid(field, str(path), f"a folder, or a path where one can be made: {error.strerror}")


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading; whatever else lies there is an error at once, also a pipe that nobody writes to.

    Raises:
        FileNotFoundError: nothing is there, or a link to nothing.
        OSError: it is no file, or may not be read; the error names the path.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        code = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        raise OSError(code, "it is not a file", str(path))
    return os.fdopen(descriptor, "rb")


def temporary_path(path: Path) -> Path:
    """A name beside `path` for what this process is writing, by which it can be told when the process is gone."""
    return path.parent / f".{path.name}.{host()}.{os.getpid()}.{secrets.token_hex(8)}.tmp"


def host() -> str:
    """This machine's name as names of files have it."""
    return socket.gethostname().replace(".", "-")
