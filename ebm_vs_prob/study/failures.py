"""What stopped a trial: the trial itself, which is a result, or what it ran on, which is not."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from ..core.interrupts import is_users
from ..core.text import LIMIT, printable
from .provenance import is_own_source

#: Characters of a traceback that are kept.
TRACEBACK_LIMIT = 20_000
#: Characters of the name of a file or a function that are kept: both are whatever made the code says.
NAME_LIMIT = 200

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


def reason(error: BaseException, limit: int = LIMIT) -> str:
    """The kind of an error and its message, one line."""
    return printable(f"{type(error).__name__}: {printable(error)}", limit)


def places(error: BaseException) -> list[tuple[str, int, str]]:
    """File, line and function of each call that an error went through, the innermost last.

    Lines are not read: the file of code that was made while it ran may be any text.
    """
    walked = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, line or 0, frame.f_code.co_name) for frame, line in walked]


def reason_and_place(error: BaseException) -> str:
    """`reason`, with the line of the package or a plugin at fault, else the innermost of all; at most `LIMIT` long."""
    all_places = places(error)
    file, line, function = next((place for place in reversed(all_places) if is_own_source(place[0])), all_places[-1])
    where = f"{printable(Path(file).name, NAME_LIMIT)}, line {line}, in {printable(function, NAME_LIMIT)}"
    return f"{reason(error, LIMIT - len(where) - 3)} ({where})"


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, of bounded length; where Python cannot write it, why not."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as other:
        if is_users(other):
            raise
        text = f"<traceback that cannot be had: {reason(other)}>"
    return printable(text, TRACEBACK_LIMIT, lines=True)
