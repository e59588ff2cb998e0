"""The shape of a strip of columns from which a string of symbols is read, one after the other, without spaces."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import invalid
from .tilings import Tiling


@dataclass(frozen=True)
class StripShape:
    """`length` symbols of `narrowest` .. `widest` columns in a strip; neighbours share `overlap` columns.

    A symbol that begins at column s and is w wide is followed by one that begins at s + w - `overlap`, and the last one
    ends at column `cells` + `overlap`; beyond it, up to `columns`, the strip is empty. So the symbols tile `cells`
    cells, each the columns before its neighbour begins.

    Raises:
        ValueError: columns that do not hold the symbols, or symbols that no such widths give room.
    """

    length: int
    rows: int
    columns: int
    cells: int
    narrowest: int
    widest: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.columns < self.cells + self.overlap:
            raise invalid("columns", self.columns, f"{self.cells + self.overlap} at least")
        self.tiling.starts(0)

    @property
    def num_widths(self) -> int:
        """How many widths a symbol can have."""
        return self.widest - self.narrowest + 1

    @property
    def shortest(self) -> int:
        """Cells of the narrowest symbol."""
        return self.narrowest - self.overlap

    @property
    def tiling(self) -> Tiling:
        """The ways in which symbols tile the cells."""
        return Tiling(self.cells, self.length, self.shortest, self.num_widths)
