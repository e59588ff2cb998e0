"""What stopped a trial: the trial itself, which is a result, or what it ran on, which is not."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from ..core.text import printable
from .provenance import is_own_source

#: Characters of a traceback that are kept.
TRACEBACK_LIMIT = 20_000

#: How torch says on a CPU and on a GPU, and its libraries say, that memory is out: a plain `RuntimeError` but for one.
_OUT_OF_MEMORY = re.compile(r"(not enough|can't allocate|cannot allocate|out of) memory|STATUS_ALLOC_FAILED", re.I)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was out, on whatever device."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(printable(error)))
    )


def is_broken_device(error: BaseException) -> bool:
    """Whether the process has lost its GPU: after such an error every further call fails there."""
    return isinstance(error, RuntimeError) and "CUDA error" in printable(error) and not is_out_of_memory(error)


def is_of_environment(error: BaseException) -> bool:
    """Whether an error says nothing about the trial: memory, files, connections, a broken device."""
    return isinstance(error, OSError) or is_out_of_memory(error) or is_broken_device(error)


def reason(error: BaseException) -> str:
    """The kind of an error and its message, one line."""
    return printable(f"{type(error).__name__}: {printable(error)}")


def reason_and_place(error: BaseException) -> str:
    """`reason`, with the line of the package or a plugin at fault, else the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own_source(frame.filename)]
    frame = (own or frames)[-1]
    return f"{reason(error)} ({printable(Path(frame.filename).name)}, line {frame.lineno}, in {frame.name})"


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, of bounded length."""
    return printable("".join(traceback.format_exception(error)), TRACEBACK_LIMIT, lines=True)
