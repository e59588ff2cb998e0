"""Unsegmented handwriting: a strip of real digits without spaces, of unknown widths, whose neighbours overlap.

Which string is it? Every segmentation of the strip speaks for strings of its own (LeCun, Bottou, Bengio and Haffner
1998), and what a digit is depends on where its neighbours end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ..core.approximate import Approximate
from ..core.errors import NoExactReference
from ..core.memory import once
from ..core.options import PER_REPLICATE
from ..core.registry import TASKS
from ..core.spaces import Box, Sequences
from ..core.strips import StripShape
from .base import Split, Task, check_inputs
from .discrete import DiscreteOptions, DiscreteReference
from .images.digit_strips import CLASSES, SIDE, drawn_widths, laid, templates

if TYPE_CHECKING:
    import torch

    from ..core.lattices import SegmentLattice


class SegmentationOptions(DiscreteOptions):
    """Options of `segmentation`."""

    thickness: Annotated[
        float, PER_REPLICATE, Field(gt=0.0, le=1e6, description="standard deviation of the noise of pixels in [0, 1]")
    ] = 0.4
    length: Annotated[int, Field(ge=1, le=64, description="digits T of a strip")] = 4
    narrowest: Annotated[int, Field(ge=1, le=16, description="columns of the narrowest digits")] = 4
    widest: Annotated[int, Field(ge=1, le=16, description="columns of the widest digits")] = 8
    overlap: Annotated[int, Field(ge=0, le=2, description="columns that neighbours share, their pixels added")] = 1
    exemplars: Annotated[int, Field(ge=1, le=8, description="scans of each class that strips are drawn with")] = 2
    exemplar_seed: Annotated[int, Field(ge=0, description="which scans they are")] = 0

    @model_validator(mode="after")
    def _widths_are_sound(self) -> Self:
        if self.widest < self.narrowest:
            raise ValueError(f"widest >= narrowest = {self.narrowest}, not {self.widest}")
        least = max(self.overlap + 1, 2 * self.overlap)
        if self.narrowest < least:
            raise ValueError(f"narrowest >= {least}, so that only neighbours overlap, not {self.narrowest}")
        return self


class SegmentationReference(DiscreteReference):
    """Exact truth of the strips: recursions over digits, scans, widths and starts (`core.lattices`)."""

    task: Segmentation

    def graph(self, x: torch.Tensor) -> SegmentLattice:
        """-ln p(x | y) up to a function of x, for x (..., columns · 8): a free energy over widths and scans.

        Σ_i |a_i|² - 2 x·a_i and 2 a_i·a_{i+1} where neighbours overlap, over 2ε², is |x - Σ_i a_i|² - |x|² over 2ε².
        """
        import torch
        from torch.nn.functional import pad

        from ..core.lattices import SegmentLattice

        strip, variance = self.task.strip, self.task.thickness**2
        pictures = torch.from_numpy(self.task.pictures.copy()).to(x)
        columns = pad(x.unflatten(-1, (strip.columns, strip.rows)), (0, 0, 0, strip.widest))
        windows = columns.unfold(-2, strip.widest, 1)[..., : strip.cells, :, :].transpose(-1, -2).flatten(-2)
        products = (windows @ pictures.flatten(-2).flatten(0, -2).T).unflatten(-1, pictures.shape[:3])
        scores = (0.5 * pictures.square().sum((-1, -2)) - products) / variance
        return SegmentLattice(scores, strip.length, strip.shortest, 1.0, coupling=self._coupling(pictures))

    def _coupling(self, pictures: torch.Tensor) -> torch.Tensor | None:
        """Products of the last columns of each picture with the first ones of each, over ε², where they overlap."""
        import torch

        strip = self.task.strip
        if not strip.overlap:
            return None
        shared = torch.arange(strip.overlap, dtype=torch.int64, device=pictures.device)
        width = torch.arange(strip.narrowest, strip.widest + 1, dtype=torch.int64, device=pictures.device)
        at = (width - strip.overlap)[:, None] + shared
        index = at[None, :, None, :, None].expand(*pictures.shape[:3], strip.overlap, strip.rows)
        last = pictures.gather(-2, index).flatten(-2).flatten(0, -2)
        first = pictures[..., : strip.overlap, :].flatten(-2).flatten(0, -2)
        return last @ first.T / self.task.thickness**2

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        import torch

        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        rows = x.double().expand(*shape, -1).reshape(shape.numel(), x.shape[-1])
        distinct, which = torch.unique(rows, dim=0, return_inverse=True)  # the sum over all strings is the dear part
        found = -self.graph(rows).energy(y.expand(*shape, -1).reshape(shape.numel(), y.shape[-1]))
        log_partition = once(self.task, "log partition", distinct, compute=lambda: self._log_partition(distinct))
        return (found - log_partition[which]).reshape(shape)

    def _log_partition(self, x: torch.Tensor) -> torch.Tensor:
        every = self.graph(x)
        return every.log_answers - every.free_energy(1.0)

    def bayes(self, x: torch.Tensor) -> torch.Tensor:
        y, _, proven = self.graph(x).most_probable()
        if not bool(proven.all()):
            raise NoExactReference(
                "segmentation: at this thickness too many strings are about as probable as the best one for a search "
                "to prove which it is: use a smaller thickness or shorter strips"
            )
        return y

    def boundaries(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """P(a digit begins at column s | x), or given y (n, T) too, for x (n, dx): (n, cells) float64, exact.

        Raises:
            ValueError: an x or y that does not fit the task's spaces.
        """
        check_inputs(self.task, x)
        if y is not None:
            self._check(x, y)
        return self.graph(x.double()).marginals(y).sum((-1, -2, -3))

    def entropy(self) -> Approximate:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            "segmentation: H(Y | X) is an integral over all strips that nobody has in closed form: "
            "use reference.sampled_entropy(), a mean over data whose terms are exact"
        )


@TASKS.register
class Segmentation(Task):
    """y a string of T digits; x the strip that they are drawn in, column after column; z their widths.

    All strings are equally likely, and so are the scans of a digit and all widths that fill the strip: T times the mean
    of the narrowest and the widest, rounded down, less the overlaps. Empty columns make the strip T equal parts.
    """

    name = "segmentation"
    summary = "strings of real digits of varying width, overlapping, in a strip without spaces"
    truth = "posterior, draws and boundaries by sums over segmentations, Bayes answer by search; no entropy"
    references = ("alpaydin1998optical", "pedregosa2011scikit", "lecun1998gradient", "sarawagi2004semi")
    Options = SegmentationOptions
    options: SegmentationOptions
    x_space: Box
    y_space: Sequences
    z_space: Sequences
    strip: StripShape
    reference: SegmentationReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        given = self.options
        length, overlap = given.length, given.overlap
        cells = length * ((given.narrowest + given.widest) // 2 - overlap)
        columns = length * -(-(cells + overlap) // length)
        self.strip = StripShape(length, SIDE, columns, cells, given.narrowest, given.widest, overlap)
        self.pictures = templates(given.exemplars, given.exemplar_seed, given.narrowest, given.widest)
        room = max(1.0, 6.0 * self.thickness)
        self.x_space = Box((-room, 2.0 + room), columns * SIDE)
        self.y_space = Sequences(CLASSES, length)
        self.z_space = Sequences(self.strip.num_widths, length)
        self.manifold_dim = None
        self.reference = SegmentationReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = (n, self.options.length)
        y, scan = rng.integers(CLASSES, size=shape), rng.integers(self.options.exemplars, size=shape)
        width = drawn_widths(self.strip, rng.random(shape))
        starts = (width + self.strip.shortest).cumsum(1) - width - self.strip.shortest
        clean = laid(self.pictures[y, width, scan], starts, self.strip).reshape(n, -1)
        return clean + self.thickness * rng.standard_normal(clean.shape), y, width
