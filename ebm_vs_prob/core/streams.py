"""Standard streams that may be closed, full, or without a reader, as under a daemon or in a pipe that ended.

None of that says anything about what is computed, so it must not end it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

NAMES = ("stdin", "stdout", "stderr")


def open_closed() -> None:
    """Put the null device in the place of the standard streams that are closed, of the process and of Python."""
    hold_numbers()
    for name in NAMES:
        if not _is_open(getattr(sys, name)):
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def hold_numbers() -> None:
    """Put the null device in the place of the standard streams of the process that are closed.

    The system gives the number of a closed one to the next file or pipe that is opened, which would then get what
    libraries and child processes print.
    """
    for number in range(len(NAMES)):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal, which one that is closed is not."""
    return _is_open(stream) and bool(stream.isatty())


def flush() -> None:
    """Write out what was printed, as far as that can be done."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def drop_unwritten() -> None:
    """Send what cannot be written to the null device: Python would complain of it when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, full, without a reader, none at all, or of a user's making
            with suppress(Exception):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


@contextmanager
def printed_aside() -> Iterator[None]:
    """Have what is printed inside go to stderr, and nowhere where that cannot be written; it never raises.

    On stdout is the answer of a command, which another program may read. Streams that are closed or replaced inside are
    those from before afterwards.
    """
    before = sys.stdout, sys.stderr
    aside: Any = _Aside(sys.stderr)
    sys.stdout = sys.stderr = aside
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Aside:
    """A stream of text whose writing never fails; what else is asked of it is that of the stream behind it."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; its length."""
        with suppress(OSError, ValueError, AttributeError):  # no reader, full, closed, no such character, none at all
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write out what was kept back."""
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether what is written here is seen on a terminal."""
        return is_terminal(self._stream)

    def close(self) -> None:
        """Nothing: it is not theirs who print."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_open(stream: Any) -> bool:
    try:
        return stream is not None and not stream.closed
    except Exception:  # of a stream that a user's code put there
        return False
