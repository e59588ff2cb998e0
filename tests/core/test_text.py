"""Text of any origin becomes one bounded line that every format can hold."""

from __future__ import annotations

import signal
from xml.dom import minidom
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ebm_vs_prob.core.text import character_name, is_hidden, printable

#: Any code points, surrogates too, with the troublesome ones made frequent.
anything = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("\x00\x1b\n\r\t\u2028\u202e\ud800\ufeff\uffff ")),
    max_size=400,
)


@given(anything, st.integers(100, 300), st.booleans())
@example("\x00" * 400, 100, False)
@example("a b" * 100, 100, False)
@example("a  b" * 100, 101, True)
def test_printable_text_is_bounded_hides_nothing_and_stays_as_it_is(text: str, limit: int, lines: bool) -> None:
    shown = printable(text, limit, lines)
    assert len(shown) <= limit
    assert not any(map(is_hidden, shown.replace("\n", "") if lines else shown))
    assert len(shown.splitlines()) <= 1 or lines
    assert printable(shown, limit, lines) == shown
    shown.encode()
    minidom.parseString(f"<a>{escape(shown)}</a>".encode())


@given(st.text("abc é日—€", min_size=1, max_size=90))
def test_plain_text_is_left_alone_but_for_white_space(text: str) -> None:
    assert printable(text) == " ".join(text.split())


def test_head_tail_and_the_count_between_are_exact() -> None:
    text = "".join(map(str, range(5000)))
    shown = printable(text, 100)
    head, _, rest = shown.partition("[... ")
    count, _, tail = rest.partition(" characters left out ...]")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) > 20
    assert len(tail) > 10
    assert int(count) == len(text) - len(head) - len(tail)


def test_hidden_characters_are_escaped_and_joiners_kept() -> None:
    assert printable("a\x1b[31mb\u202ec\ud800") == r"a\x1b[31mb\u202ec\ud800"
    assert printable("نمی\u200cشود 👩\u200d🔬") == "نمی\u200cشود 👩\u200d🔬"
    assert character_name("\u202e") == "U+202E RIGHT-TO-LEFT OVERRIDE"
    assert character_name("\x1b") == "U+001B"


def test_lines_of_a_traceback_keep_their_indentation() -> None:
    assert printable("a\r\n\tb  \u2028 c\x00", lines=True) == "a\n    b\n c\\x00"


@pytest.mark.parametrize("raised", [ValueError, RecursionError, SystemExit, GeneratorExit])
def test_an_object_without_text_does_not_raise(raised: type[BaseException]) -> None:
    class Mute:
        def __str__(self) -> str:
            raise raised

    assert printable(Mute()) == f"<Mute whose text cannot be had: {raised.__name__}>"


def test_an_object_whose_text_interrupts_is_told_from_a_user_who_does() -> None:
    class Own:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    class Slow:
        def __str__(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return "slow"

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    assert printable(Own()) == "<Own whose text cannot be had: KeyboardInterrupt>"
    for answer in (signal.default_int_handler, handler):
        before = signal.signal(signal.SIGINT, answer)
        try:
            with pytest.raises(KeyboardInterrupt):
                printable(Slow())
        finally:
            signal.signal(signal.SIGINT, before)


def test_a_long_text_is_cut_in_no_time() -> None:
    assert len(printable("\x00" * 20_000_000)) <= 2000
