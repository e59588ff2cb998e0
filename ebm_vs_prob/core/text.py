"""Text of any origin (a user's file, an exception's message) made fit for a terminal, a record and a report."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .interrupts import is_users

#: Characters of a reason or an error that are kept: a screen and more.
LIMIT = 2000

#: What holds Persian words and families of emoji together, the only format characters that text itself needs.
_JOINERS = "\u200c\u200d"


def is_hidden(character: str) -> bool:
    """True of what is not seen and changes what is: controls, bidi marks, lone surrogates, noncharacters.

    XML has no place for most of them, and a terminal or an editor obeys the others.
    """
    if character.isprintable() or character in _JOINERS:
        return False
    noncharacter = 0xFDD0 <= ord(character) <= 0xFDEF or ord(character) & 0xFFFE == 0xFFFE
    return noncharacter or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def character_name(character: str) -> str:
    """Its code point and, where it has one, its name: `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def printable(text: object, limit: int = LIMIT, lines: bool = False) -> str:
    r"""`str(text)` on one line of at most `limit` characters, hidden ones escaped as `\x1b`; it never raises.

    Of a longer text, the head and the tail are kept, and between them stands how many characters were left out. Runs of
    white space become one space. What it gives, it leaves as it is.

    Args:
        text: anything; where `str` fails on it, the result says so.
        limit: at least 100.
        lines: keep line breaks and indentation, as a traceback needs.
    """
    given = _text_of(text)
    if lines:
        given = "\n".join(re.sub(r"[^\S ]", " ", line.expandtabs(4)).rstrip() for line in given.splitlines())
    else:
        given = " ".join(given.split())
    if len(given) <= limit and given.isascii() and given.isprintable():
        return given
    whole = _within(given, limit)
    if len(whole) == len(given):
        return "".join(whole)
    room = limit - len(_left_out(len(given)))
    head = _within(given, room * 2 // 3)
    tail = _within(reversed(given), room - room * 2 // 3)[::-1]
    return "".join([*head, _left_out(len(given) - len(head) - len(tail)), *tail])


def shown(value: object, limit: int = 300) -> str:
    """`repr(value)` as `printable` text: how an error shows what was given."""
    try:
        return printable(repr(value), limit)
    except ValueError:  # an integer of more digits than Python writes
        return f"<{type(value).__name__} that cannot be written>"


def hidden_character(text: str) -> str | None:
    """The first hidden character that is not plain white space, by name, or None."""
    return next((character_name(c) for c in text if c not in "\n\t" and is_hidden(c)), None)


def _left_out(count: int) -> str:
    return f"[... {count} characters left out ...]"


def _text_of(value: object) -> str:
    try:
        return "".join([str(value)])  # a plain string, whatever class `__str__` gives
    except BaseException as error:
        if is_users(error):
            raise
        return f"<{type(value).__name__} whose text cannot be had: {type(error).__name__}>"


def _within(characters: Iterable[str], room: int) -> list[str]:
    """The first characters, escaped where hidden, that fit into `room`."""
    kept = []
    for character in characters:
        seen = character if character == "\n" or not is_hidden(character) else ascii(character)[1:-1]
        room -= len(seen)
        if room < 0:
            break
        kept.append(seen)
    return kept
