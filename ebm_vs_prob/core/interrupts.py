"""Whose a `KeyboardInterrupt` is: the user's Ctrl-C, or that of code which raises one."""

from __future__ import annotations

import dis
import signal

_RAISE = dis.opmap["RAISE_VARARGS"]


def is_users(error: BaseException) -> bool:
    """Whether an error is a `KeyboardInterrupt` that a signal brought, and no `raise` of the code that was running.

    A signal strikes between any two instructions, or in a call that was waiting; what a handler raises is the signal's.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_code in handlers:
            return True
        if place.tb_next is None:
            return place.tb_frame.f_code.co_code[place.tb_lasti] != _RAISE
        place = place.tb_next
    return True


def _code(handler: object) -> object:
    return getattr(getattr(handler, "__func__", handler), "__code__", None)
