"""Real handwritten digits: is y, an 8 by 8 picture, a good high-resolution version of x, its coarse sketch?

The UCI optical digits that scikit-learn ships (Alpaydin and Kaynak, 1998): 1797 pictures of grey levels 0 .. 16. A
sketch is the 4 by 4 block means at two levels, coarse enough for held-out pictures to share one: the several answers to
one x.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from ..core.approximate import Approximate
from ..core.errors import NoExactReference, invalid
from ..core.registry import TASKS
from ..core.seeding import numpy_generator, random_module_restored
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .reference import Reference

if TYPE_CHECKING:
    import torch

#: Largest grey level of the pictures: pixels are level / 16.
MAX_LEVEL = 16
#: Held-out pictures, and those of validation; the rest, 1097, train.
NUM_TEST, NUM_VALIDATION = 400, 300


def _only_zero(value: float) -> float:
    if value != 0.0:
        raise ValueError("0: handwriting has no noise of known thickness (`dequantisation` is another thing)")
    return value


class DigitsOptions(TaskOptions):
    """Options of `digits`. The thickness is 0: pictures come as they were scanned, and no noise is added to them."""

    thickness: Annotated[float, AfterValidator(_only_zero), Field(description="always 0: nothing is added")] = 0.0
    dequantisation: Annotated[
        float, Field(ge=0.0, le=1.0 / MAX_LEVEL, description="width of the uniform noise, in pixel units")
    ] = 1.0 / MAX_LEVEL


@dataclass(frozen=True)
class _Part:
    """One part of the data: clean pictures (n, 64) in [0, 1], sketches (n, 16) of 0 and 1, rows of each sketch."""

    pictures: np.ndarray
    sketches: np.ndarray
    rows: dict[bytes, np.ndarray]


@functools.cache
def _parts() -> dict[Split, _Part]:
    """The split, in the order of the SHA-256 of the pixels: fixed, whatever the library versions."""
    with random_module_restored():
        from sklearn.datasets import load_digits

    levels = load_digits().data.astype(np.uint8)
    order = sorted(range(len(levels)), key=lambda row: hashlib.sha256(levels[row].tobytes()).digest())
    pictures = levels[order].astype(np.float64) / MAX_LEVEL
    held_out = NUM_TEST + NUM_VALIDATION
    return {
        "test": _part(pictures[:NUM_TEST]),
        "validation": _part(pictures[NUM_TEST:held_out]),
        "train": _part(pictures[held_out:]),
    }


def _part(pictures: np.ndarray) -> _Part:
    sketches = _sketch(pictures)
    rows: dict[bytes, list[int]] = {}
    for row, sketch in enumerate(sketches):
        rows.setdefault(_key(sketch), []).append(row)
    return _Part(pictures, sketches, {key: np.array(members) for key, members in rows.items()})


def _sketch(pictures: np.ndarray) -> np.ndarray:
    """Sketches (n, 16) of pictures (n, 64): 1 where a 2 by 2 block, in whole grey levels, has mean >= 1/2."""
    levels = np.clip(np.floor(pictures * MAX_LEVEL + 0.5), 0, MAX_LEVEL)
    totals = levels.reshape(-1, 4, 2, 4, 2).sum(axis=(2, 4)).reshape(-1, 16)
    return (totals >= 2 * MAX_LEVEL).astype(np.float64)


def _key(sketch: np.ndarray) -> bytes:
    return sketch.astype(np.uint8).tobytes()


class DigitsReference(Reference):
    """What is exactly known of the digits: which held-out pictures share a sketch. There is no density."""

    def __init__(self, task: Digits) -> None:
        self.task = task

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Always raises `NoExactReference`."""
        raise NoExactReference(
            "digits: real data, whose density nobody knows, so there is no exact log_prob: "
            "use reference.answers and reference.distance, or compare samples (energy score, precision, recall)"
        )

    log_density = log_prob

    def entropy(self) -> Approximate:
        """Always raises `NoExactReference`."""
        raise NoExactReference("digits: real data, whose density nobody knows, so there is no exact entropy")

    def held_out(self, x: torch.Tensor) -> torch.Tensor:
        """As `answers`, which they are."""
        return self.answers(x)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """The held-out pictures whose sketch is x: (n, m, 64) float64, clean, rows left over NaN.

        m is the size of the largest set, at least 1; an x that no held-out picture has gets NaN only.

        Raises:
            ValueError: x is not (n, 16) of zeros and ones.
        """
        import torch

        held_out = _parts()["test"]
        members = self._members(x)
        answers = np.full(
            (len(members), max([1, *(len(rows) for rows in members)]), held_out.pictures.shape[1]), np.nan
        )
        for index, rows in enumerate(members):
            answers[index, : len(rows)] = held_out.pictures[rows]
        return torch.from_numpy(answers).to(x.device)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 64) to the nearest of `answers(x)`, (n,) float64; infinite where there is none."""
        import torch

        x, y = check_pairs(self.task, x, y)
        pictures = torch.from_numpy(_parts()["test"].pictures).to(y.device)
        members = self._members(x)
        distance = [
            (pictures[rows] - point).norm(dim=-1).amin() if len(rows) else y.new_tensor(torch.inf)
            for rows, point in zip(members, y, strict=True)
        ]
        return torch.stack(distance) if distance else y.new_zeros(0)

    def sample(self, x: torch.Tensor, num_samples: int, seed: int = 0) -> torch.Tensor:
        """Held-out pictures of sketch x, drawn evenly with replacement, dequantised anew: (n, num_samples, 64) float64.

        The empirical law of the held-out data: what the best model could give, seen through 400 pictures.

        Raises:
            ValueError: an x that no held-out picture has.
        """
        import torch

        check_inputs(self.task, x, num_samples)
        members = self._members(x)
        if any(len(rows) == 0 for rows in members):
            raise invalid("x", "a sketch of no held-out digit", "sketches of the test split")
        pictures = _parts()["test"].pictures
        drawn = np.empty((len(x), num_samples, pictures.shape[1]))
        for row, rows in enumerate(members):
            rng = numpy_generator(seed, "reference", "digits", row)
            drawn[row] = self.task.dequantise(pictures[rng.choice(rows, size=num_samples)], rng)
        return torch.from_numpy(drawn).to(x.device)

    def reduce(self, y: torch.Tensor) -> torch.Tensor:
        """The sketch of y: (..., 64) -> (..., 16) float64 of zeros and ones. Undoes dequantisation first."""
        import torch

        self.task.y_space.check("y", y)
        sketches = _sketch(y.detach().double().cpu().reshape(-1, 64).numpy())
        return torch.from_numpy(sketches).reshape(*y.shape[:-1], 16).to(y.device)

    def _members(self, x: torch.Tensor) -> list[np.ndarray]:
        """For each x, the rows of the held-out pictures with that sketch."""
        check_inputs(self.task, x)
        if not bool(((x == 0) | (x == 1)).all()):
            raise invalid("x", "entries other than 0 and 1", "sketches of zeros and ones")
        rows = _parts()["test"].rows
        nobody = np.empty(0, dtype=np.int64)
        return [rows.get(_key(sketch), nobody) for sketch in x.detach().cpu().numpy()]


@TASKS.register
class Digits(Task):
    """y: a handwritten digit, 64 pixels in [0, 1]; x: its sketch, 4 by 4 cells of 0 or 1.

    Grey levels are made continuous by uniform noise of `dequantisation` width, centred, so that pixels that are
    constant over the data do not make every likelihood infinite. `sample` goes through a part without replacement, in
    an order that the seed decides, and begins another round, with fresh noise, when n exceeds the part.
    """

    name = "digits"
    summary = "UCI handwritten digits given their 4 by 4 sketch of two levels; real data"
    truth = "no density; held-out digits that share a sketch"
    noise_known = False
    references = ("alpaydin1998optical", "pedregosa2011scikit")
    Options = DigitsOptions
    options: DigitsOptions
    x_space: Box
    y_space: Box
    reference: DigitsReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.x_space = Box((0.0, 1.0), 16)
        self.y_space = Box((-0.5, 1.5), 64)  # room for methods that smooth: 4 deviations of noise of .1 beyond a pixel
        self.z_space = None
        self.manifold_dim = None
        self.reference = DigitsReference(self)

    def dequantise(self, pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Pictures plus centred uniform noise; the noise never reaches the next grey level."""
        noise = self.options.dequantisation * (rng.random(pictures.shape) - 0.5)
        result: np.ndarray = pictures + noise
        return result

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        part = _parts()[split]
        size = len(part.pictures)
        rows = np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n]
        return part.sketches[rows], self.dequantise(part.pictures[rows], rng), np.empty((n, 0))
