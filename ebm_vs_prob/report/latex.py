# ruff: noqa: RUF001
r"""Tables and text for a paper in LaTeX: plain ASCII, in the width of a page of two columns.

Tables need `\usepackage{array,booktabs}`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Columns that a page of two text columns has room for.
MOST_COLUMNS = 8
#: Of `\footnotesize` in a text width of 6.5 inches: characters of a line, lines of a page that a table may fill.
_LINE, _PAGE = 98, 46
#: Characters at which a cell is broken.
_CELL = 28
#: Of the text width, what `\tabcolsep` of 3 pt takes on both sides of a column's edge.
_SEPARATOR = 0.013

_GREEK = "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
_CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
_MATHS = {
    **dict(zip("αβγδζηθικλμνξπρστφχψω", _GREEK.split(), strict=True)),
    **dict(zip("ΓΔΘΛΞΠΣΦΨΩ", _CAPITALS.split(), strict=True)),
    "ε": "varepsilon", "±": "pm", "×": "times", "∞": "infty", "≤": "le", "≥": "ge", "≈": "approx", "≠": "ne",
    "→": "rightarrow", "√": "surd", "·": "cdot", "∈": "in", "∑": "sum", "∂": "partial", "ℓ": "ell", "‖": "Vert",
    "∝": "propto",
}  # fmt: skip
#: A space where no line is broken; no text has this character.
_TIE = "\ue000"
_TEXT = {
    _TIE: "~",
    "−": "$-$", "⁻": "$^{-}$", **{c: f"$^{{{i}}}$" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}, "½": r"$\frac{1}{2}$",
    # In the encoding that LaTeX begins with, these stand for other characters.
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "–": "--", "—": "---", "…": r"\dots{}", "’": "'", "‘": "`", "“": "``", "”": "''", "°": r"$^{\circ}$",
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    # BibTeX counts braces, also those behind a backslash.
    "{": r"\textbraceleft{}", "}": r"\textbraceright{}",
    **{c: f"\\{c}" for c in "&%$#_"},
    "ß": r"{\ss}", "ø": r"{\o}", "Ø": r"{\O}", "æ": r"{\ae}", "Æ": r"{\AE}", "œ": r"{\oe}", "Œ": r"{\OE}",
    "ł": r"{\l}", "Ł": r"{\L}", "ı": r"{\i}",
}  # fmt: skip
#: Combining characters by the command that sets the accent.
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip
_SPELT = {
    **{symbol: f"$\\{name}$" for symbol, name in _MATHS.items()},
    **{symbol: text for symbol, text in _TEXT.items() if text[0] == "$" or text.startswith(("\\text", "\\dots"))},
}


def to_latex_text(value: Any) -> str:
    """Text with every character that means something to LaTeX or BibTeX escaped, in plain ASCII; "?" for what neither
    has."""
    found = "".join(map(_character, " ".join(str(value).split())))
    # At the head of a row these would be an argument of the line break before it.
    return ("{}" if found[:1] in ("[", "*") else "") + found


def _character(character: str) -> str:
    if character in _TEXT:
        return _TEXT[character]
    if character in _MATHS:
        return f"$\\{_MATHS[character]}$"
    if character.isascii():
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return f"{{\\{ACCENTS[parts[1]]}{{{parts[0]}}}}}"
    return "?"


def symbols_of(text: str) -> str:
    """Text with the symbols that `to_latex_text` spelt as commands; accents and escapes are left as they are."""
    for symbol, command in _SPELT.items():
        text = text.replace(command, symbol)
    return text.replace("``", "“").replace("''", "”")


def label_of(study: str, table: str) -> str:
    """What a paper refers to a table of a study by; neither name has a colon, so that no two have one label."""
    return f"tab:{study}:{table}"


def to_latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A table over both columns of a page, in as many floats as it needs; every cell is escaped and broken to fit.

    Args:
        frame: at most `MOST_COLUMNS` columns are taken.
    """
    frame = frame.iloc[:, :MOST_COLUMNS]
    cells = [[_kept_together(str(cell)) for cell in row] for row in (frame.columns, *frame.to_numpy())]
    widths = _widths(cells)
    head, *rows = cells
    heights = [_height(row, widths) for row in cells]
    floats: list[str] = []
    for part in _pages(heights[1:], _PAGE - heights[0]):
        first = not floats
        said = to_latex_text(caption) if first else f"Table~\\ref{{{label}}}, continued."
        floats.append(_float([head, *rows[part]], widths, f"\\caption{{{said}}}" + f"\\label{{{label}}}" * first))
    return "\n".join(floats)


def _kept_together(cell: str) -> str:
    """The text, its intervals without a place to break."""
    return re.sub(r"\[[^\[\]]{1,24}\]", lambda interval: interval[0].replace(" ", _TIE), cell)


def _widths(cells: Sequence[Sequence[str]]) -> list[float]:
    """Characters of each column: those of its longest word, and as much of what its longest cell has besides as all
    columns of a line leave."""
    least, natural = [], []
    for column in zip(*cells, strict=True):
        least.append(max(2, *(len(word) for cell in column for word in cell.split() or [""])))
        natural.append(max(least[-1], *(min(len(cell), _CELL) for cell in column[1:])))
    spare, wanted = max(0.0, _LINE - sum(least)), sum(natural) - sum(least)
    share = min(1.0, spare / wanted) if wanted else 0.0
    widths = [low + share * (high - low) for low, high in zip(least, natural, strict=True)]
    return [width * min(1.0, _LINE / sum(widths)) for width in widths]


def _height(row: Sequence[str], widths: Sequence[float]) -> int:
    """Lines of a row, about."""
    return max((math.ceil(len(cell) / width) for cell, width in zip(row, widths, strict=True)), default=1) or 1


def _pages(heights: Sequence[int], room: int) -> Iterator[slice]:
    """Consecutive rows that fill a page each."""
    start, filled = 0, 0
    for row, height in enumerate(heights):
        if row > start and filled + height > room:
            yield slice(start, row)
            start, filled = row, 0
        filled += height
    yield slice(start, len(heights))


def _float(cells: Sequence[Sequence[str]], widths: Sequence[float], above: str) -> str:
    share = (1 - _SEPARATOR * len(widths)) / _LINE
    columns = "".join(f">{{\\raggedright\\arraybackslash}}p{{{share * width:.3f}\\textwidth}}" for width in widths)
    head, *rows = (" & ".join(map(to_latex_text, row)) + r" \\" for row in cells)
    return "\n".join(
        [
            r"\begin{table*}[tp]",
            above,
            r"\footnotesize\setlength{\tabcolsep}{3pt}",
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )
