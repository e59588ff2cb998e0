"""What the command line does with signals: the first one ends it in order, once, and further ones change nothing."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

GRACE = 10.0  # seconds for an end in order
ADVICE = "the same command continues where it stopped"
STOPPED = f"interrupted; {ADVICE}"
WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


class Signals:
    """Raises `KeyboardInterrupt` at the first signal of `WORDS`; `received` is its number then.

    What a shell had this process ignore, as `nohup` does, stays ignored.

    Args:
        last: nothing follows in this process, so that its end is guarded too.
    """

    def __init__(self, last: bool) -> None:
        self.received: int | None = None
        self._last = last
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in WORDS:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._answer)
        return self

    def __exit__(self, *error: object) -> None:
        if self._last:
            for number in self._before:  # Python gives up its handlers before it ends, but not what is ignored
                signal.signal(number, signal.SIG_IGN)
            return
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """That of a process which the signal ended: 128 and its number."""
        return 128 + (self.received or 0)

    @property
    def message(self) -> str:
        """What is said of it, one line."""
        return f"{WORDS[signal.Signals(self.received or 0).name]}; {ADVICE}"

    def _answer(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = number
        self._timer = threading.Timer(GRACE, self._give_up)
        self._timer.daemon = True
        self._timer.start()
        raise KeyboardInterrupt

    def _give_up(self) -> None:
        os.write(2, f"ebm-vs-prob: error: {self.message}\n".encode())
        os._exit(self.exit_code)
