"""Images of a report, small enough to be kept in it: energies in three readings, and digits."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import Arrays, Inputs
from .style import FAMILY_COLOURS, Look

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pixels along a side of a landscape.
SIDE = 100
#: The task whose answers are pictures, and the side of one as it is shown.
_DIGITS = "digits"
_SHOWN = 32
#: Dark is low. Nine colours of cividis, which stay in order without hue: Nuñez, Anderton and Renslow 2018.
COLOURS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838")


def energy_ranks(energy: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the plotted box with a lower energy: energies have no common scale, their order does.

    Ties share their mean rank; values that are not finite are left out (NaN).
    """
    from scipy import stats

    flat = np.asarray(energy, dtype=np.float64).ravel()
    ranks = np.full(flat.shape, np.nan)
    finite = np.isfinite(flat)
    if finite.any():
        ranks[finite] = (stats.rankdata(flat[finite]) - 0.5) / finite.sum()
    return ranks.reshape(energy.shape)


def depth(arrays: Arrays) -> tuple[float, float]:
    """Where the data lie and how deep: median energy at the data, and that of the box above it; both at least finite.

    The data's energy is that of the nearest node. Without data in a plane, the lowest tenth of the grid stands for it.
    """
    energy = np.asarray(arrays["energy"], dtype=np.float64)
    points = plane(arrays, "data")
    if points is None:
        level = float(np.nanquantile(energy, 0.1))
    else:
        level = float(np.nanmedian(energy[nearest_nodes(arrays, points)]))
    above = float(np.nanmedian(energy)) - level
    return level, above if math.isfinite(above) and above > 0 else 1.0


def nearest_nodes(arrays: Arrays, points: tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[np.int64], ...]:
    """Along each axis of a picture the node that is nearest to each point."""
    axes = (np.asarray(arrays["axis_0"]), np.asarray(arrays["axis_1"]))
    return tuple(
        np.clip(np.round((p - a[0]) / (a[-1] - a[0]) * (len(a) - 1)), 0, len(a) - 1).astype(np.int64)
        for p, a in zip(points, axes, strict=True)
    )


def readings(arrays: Arrays) -> dict[str, NDArray[np.float64]]:
    """The energy on its grid in each reading: nats above the median of the data, over the depth, ranks."""
    energy = np.asarray(arrays["energy"], dtype=np.float64)
    level, deep = depth(arrays)
    return {"raw": energy - level, "free": (energy - level) / deep, "rank": energy_ranks(energy)}


def plane(arrays: Arrays, what: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Two coordinates of points: (x, y) where there is an x, else the first two of y; of symbols None."""
    y = arrays.get(f"{what}_y")
    if y is None:
        return None
    y = np.asarray(y)
    if not y.size:
        return None
    x = arrays.get(f"{what}_x")
    width = 0 if x is None else np.asarray(x).shape[-1]
    if width:
        return (np.asarray(x)[:, 0], y[:, 0]) if width == y.shape[-1] == 1 else None
    # Whole numbers of which no energy is drawn are symbols of a string.
    symbols = "energy" not in arrays and np.array_equal(y, np.round(y))
    return (y[:, 0], y[:, 1]) if y.shape[-1] > 1 and not symbols else None


def arms_with(inputs: Inputs, task: str, key: str) -> list[Look]:
    """Arms with such an array on the task, grouped by family."""
    present = {arm for (where, arm, _), arrays in inputs.arrays.items() if where == task and key in arrays}
    order = list(FAMILY_COLOURS)
    return sorted(
        (look for look in inputs.looks().values() if look.name in present), key=lambda v: order.index(v.family)
    )


def landscape_image(values: NDArray[np.float64], low: float, high: float, side: int = SIDE, quality: int = 72) -> str:
    """Values on a grid as a data URI, first axis to the right, second up; beyond the ends in the end's colour."""
    step = -(-len(values) // side)
    unit = np.clip((values[::step, ::step].T[::-1] - low) / max(high - low, 1e-12), 0.0, 1.0)
    table = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS], dtype=np.float64)
    place = np.nan_to_num(unit, nan=1.0) * (len(table) - 1)
    rgb = np.stack([np.interp(place, np.arange(len(table)), table[:, k]) for k in range(3)], axis=-1)
    return data_uri(rgb.round().astype(np.uint8), quality=quality)


def data_uri(pixels: NDArray[np.uint8], lossless: bool = False, quality: int = 72) -> str:
    """An image as it stands in a page."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="WEBP", quality=quality, method=2, lossless=lossless)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def digit_strips(inputs: Inputs, task: str, examples: int = 10) -> list[dict[str, Any]]:
    """x, a held-out digit that has it, and what each arm answers and draws: a strip of images each, in one order.

    Nothing unless the task is `digits`, under whatever name. Each strip has `label`, `colour` ("" of the data) and
    `pixels`.
    """
    if inputs.study.grid(task).kind != _DIGITS:  # a chain of 64 symbols has as many numbers as a digit, and is none
        return []
    sets = {arm: arrays for (where, arm, _), arrays in inputs.arrays.items() if where == task}
    arms = arms_with(inputs, task, "data_y")
    if not arms:
        return []
    first = sets[arms[0].name]
    data_x, data_y = np.asarray(first["data_x"]), np.asarray(first["data_y"])
    made_for = [arrays["answers_x"] for arrays in sets.values() if "answers_x" in arrays]
    answered = np.concatenate([np.asarray(x) for x in made_for]) if made_for else data_x
    rows = [i for i in _distinct(data_x) if (np.abs(answered - data_x[i]).max(axis=-1) < 1e-5).any()][:examples]
    if not rows:
        return []
    found = [
        ("x, a sketch", "", [data_x[i] for i in rows], data_x),
        ("held-out y", "", [data_y[i] for i in rows], data_y),
    ]
    for look in arms:
        for what, word in (("answers", "answer"), ("samples", "sample")):
            if f"{what}_y" in sets[look.name]:
                made = [_with_same_x(sets[look.name], what, data_x[i]) for i in rows]
                found.append((f"{look.label}: {word}", look.colour, made, data_y))
    return [{"label": label, "colour": colour, "pixels": _strip(made, scale)} for label, colour, made, scale in found]


def _strip(made: list[Any], scale: NDArray[Any]) -> NDArray[np.uint8]:
    """Images beside each other on white, dark where they are large."""
    pitch = _SHOWN + 4
    strip = np.zeros((_SHOWN, pitch * len(made) - 4))
    for i, values in enumerate(made):
        if values is not None:
            strip[:, i * pitch : i * pitch + _SHOWN] = _image(values, scale)
    return (255 * (1 - strip)).round().astype(np.uint8)


def _distinct(x: NDArray[Any]) -> list[int]:
    """The first row of each distinct x, in order."""
    return sorted(np.unique(np.round(x, 6), axis=0, return_index=True)[1].tolist())


def _with_same_x(arrays: Arrays, what: str, x: NDArray[Any]) -> NDArray[Any] | None:
    """The first point made for this x."""
    made_for, made = np.asarray(arrays[f"{what}_x"]), np.asarray(arrays[f"{what}_y"])
    hits = np.flatnonzero(np.abs(made_for - x).max(axis=-1) < 1e-5)
    return made[hits[0]] if hits.size else None


def _image(values: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
    """A square image blown up to its side, 0 and 1 the extremes of the data, what lies beyond clipped."""
    low, high = float(np.min(scale)), float(np.max(scale))
    side = math.isqrt(values.size)
    unit = np.clip((np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12), 0.0, 1.0)
    return np.kron(unit.reshape(side, side), np.ones((_SHOWN // side, _SHOWN // side)))
