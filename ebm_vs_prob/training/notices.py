"""What is said of trainings once in a process, of however many of them it is true."""

from __future__ import annotations

import logging
import re

from ..core.text import printable

log = logging.getLogger("ebm_vs_prob.training")

_said: set[tuple[str, str]] = set()


def warn_once(words: str, error: object = "") -> None:
    """Log a warning, unless the same words were said before, of an error of the same kind.

    A compiler names files of its own for each program, so errors are of one kind whose first lines differ by paths.

    Args:
        words: of the warning.
        error: what it is about, said after the words; nothing by default.
    """
    first_line = printable(error, lines=True).lstrip().partition("\n")[0]
    kind = re.sub(r"\S*[/\\]\S*", "", first_line)
    if (words, kind) in _said:
        return
    _said.add((words, kind))
    log.warning("%s", f"{words}: {printable(error, 300)}" if first_line else words)
