"""How a number of segments can tile a strip: which cells each can begin at, and how many ways there are."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .errors import invalid


@dataclass(frozen=True)
class Tiling:
    """Tilings of `cells` cells by `length` segments in a row, each of `shortest` .. `shortest + widths - 1` cells.

    Raises:
        ValueError: numbers below 1, or a strip that no such segments tile.
    """

    cells: int
    length: int
    shortest: int
    widths: int

    def __post_init__(self) -> None:
        for field in ("cells", "length", "shortest", "widths"):
            if getattr(self, field) < 1:
                raise invalid(field, getattr(self, field), "an integer >= 1")
        low, high = self.length * self.shortest, self.length * (self.shortest + self.widths - 1)
        if not low <= self.cells <= high:
            raise invalid("cells", self.cells, f"{low} .. {high}, what {self.length} such segments tile")

    def starts(self, place: int) -> range:
        """The cells at which segment number `place` can begin, all of a range; of number `length`, the strip's end."""
        longest, rest = self.shortest + self.widths - 1, self.length - place
        low = max(place * self.shortest, self.cells - rest * longest)
        return range(low, min(place * longest, self.cells - rest * self.shortest) + 1)

    @property
    def log_number(self) -> float:
        """ln of the number of tilings."""
        return float(_log_ways(self)[0][0])

    def following(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each start of a place and each width: which start of the next place it leads to, (starts, widths) int64,
        and ln of the number of ways on from there, -inf where that is no start."""
        widths = self.shortest + np.arange(self.widths)
        return _looked_up(
            self.starts(place + 1), np.array(self.starts(place))[:, None] + widths, _log_ways(self)[place + 1]
        )

    def leading(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each start of a place and each width of the segment before: at which start of the place before it began,
        and ln of the number of ways to there, -inf where that is no start."""
        widths = self.shortest + np.arange(self.widths)
        return _looked_up(
            self.starts(place - 1), np.array(self.starts(place))[:, None] - widths, self.log_ways_to(place - 1)
        )

    def log_ways_to(self, place: int) -> np.ndarray:
        """ln of the number of ways from the strip's beginning to each start of a place."""
        return _log_ways(self)[self.length - place][::-1]  # a tiling read backwards is one


def _looked_up(starts: range, cell: np.ndarray, log_ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = np.clip(cell - starts.start, 0, len(starts) - 1)
    return index, np.where((cell >= starts.start) & (cell < starts.stop), log_ways[index], -np.inf)


@functools.lru_cache(maxsize=64)
def _log_ways(tiling: Tiling) -> list[np.ndarray]:
    """ln of the number of ways on from each start of each place."""
    ways = [np.zeros(1)]
    for place in range(tiling.length - 1, -1, -1):
        ends = np.array(tiling.starts(place))[:, None] + tiling.shortest + np.arange(tiling.widths)
        _, on = _looked_up(tiling.starts(place + 1), ends, ways[-1])
        ways.append(np.logaddexp.reduce(on, axis=1))
    return ways[::-1]
