"""Pictures of a report: energy landscapes, answers and samples on the data, and digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .escaping import drawn_text
from .inputs import Arrays, Inputs
from .rendering import house_style, new_figure
from .style import FAMILY_COLOURS, INK, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_DATA = "#ff7a00"
_COLUMNS_OF_SCATTER = 4
_SIDE = 8


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


def _arms(inputs: Inputs, task: str, key: str) -> list[Look]:
    """Arms with such an array on the task, grouped by family."""
    present = {arm for (where, arm, _), arrays in inputs.arrays.items() if where == task and key in arrays}
    order = list(FAMILY_COLOURS)
    return sorted(
        (look for look in inputs.looks().values() if look.name in present), key=lambda v: order.index(v.family)
    )


def _plane(arrays: Arrays, what: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Two coordinates of points: (x, y) where there is an x, else the first two of y."""
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
    return (y[:, 0], y[:, 1]) if y.shape[-1] > 1 else None


def _panels(arms: list[Look], titles: list[str], size: float) -> tuple[Figure, Any]:
    # Fixed margins: a constrained layout of so many panels takes longer than drawing them.
    width, height, left, right, top = size * len(titles) + 2.05, size * len(arms) + 0.35, 1.25, 0.8, 0.3
    figure = new_figure(width, height, constrained=False)
    grid = {
        "wspace": 0.07,
        "hspace": 0.07,
        "left": left / width,
        "right": 1 - right / width,
        "top": 1 - top / height,
        "bottom": 0.05 / height,
    }
    panels = figure.subplots(len(arms), len(titles), squeeze=False, gridspec_kw=grid)
    for panel in panels.flat:
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_visible(True)
            spine.set_linewidth(0.4)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(drawn_text(title), fontsize=9)
    for panel, look in zip(panels[:, 0], arms, strict=True):
        words = _wrapped(look.label, 18)
        panel.set_ylabel(
            f"{words}\n({look.family})", rotation=0, ha="right", va="center", fontsize=8, color=look.colour
        )
    return figure, panels


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return drawn_text("\n".join(textwrap.wrap(text, width)))


def landscape_figure(inputs: Inputs, task: str) -> Figure | None:
    """Energies of every arm at every thickness on one grid, by rank, the data on top; None without landscapes."""
    arms, eps = _arms(inputs, task, "energy"), inputs.settings(task)
    if not arms:
        return None
    with house_style():
        figure, panels = _panels(arms, [f"{inputs.symbol(task)} = {e:g}" for e in eps], 1.28)
        image = None
        for row, look in zip(panels, arms, strict=True):
            for panel, e in zip(row, eps, strict=True):
                arrays = inputs.arrays.get((task, look.name, e))
                if arrays is None or "energy" not in arrays:
                    panel.text(0.5, 0.5, "none", transform=panel.transAxes, ha="center", va="center", fontsize=8)
                    continue
                image = _landscape(panel, arrays)
        if image is not None:
            last = panels[0, -1].get_position()
            axes = figure.add_axes((last.x1 + 0.012, max(0.05, last.y1 - 0.35), 0.014, min(0.35, last.y1 - 0.05)))
            bar = figure.colorbar(image, cax=axes)
            bar.set_label("energy, by rank", fontsize=8)
            bar.ax.tick_params(labelsize=7)
            bar.outline.set_linewidth(0.4)
    return figure


def _landscape(panel: Axes, arrays: Arrays) -> Any:
    first, second = np.asarray(arrays["axis_0"]), np.asarray(arrays["axis_1"])
    extent = (float(first[0]), float(first[-1]), float(second[0]), float(second[-1]))
    # axis_0 runs along the rows of the array and is drawn horizontally.
    ranks = energy_ranks(np.asarray(arrays["energy"])).T
    image = panel.imshow(
        ranks, origin="lower", extent=extent, cmap="YlGnBu_r", vmin=0, vmax=1, aspect="auto", interpolation="bilinear"
    )
    data = _plane(arrays, "data")
    if data is not None:
        panel.plot(*(c[:96] for c in data), ".", color=_DATA, markersize=2.2, markeredgewidth=0, alpha=0.9)
    panel.set_xlim(extent[0], extent[1])
    panel.set_ylim(extent[2], extent[3])
    return image


def answers_figure(inputs: Inputs, task: str) -> Figure | None:
    """Answers found by descent and samples drawn, over the data; None without them."""
    arms = [look for look in _arms(inputs, task, "data_y") if _plane_of(inputs, task, look)]
    every = inputs.settings(task)
    if not arms:
        return None
    chosen = np.unique(np.linspace(0, len(every) - 1, min(_COLUMNS_OF_SCATTER, len(every))).round().astype(int))
    eps = [every[i] for i in chosen]
    with house_style():
        figure, panels = _panels(arms, [f"{inputs.symbol(task)} = {e:g}" for e in eps], 1.45)
        limits = _limits(inputs, task)
        for row, look in zip(panels, arms, strict=True):
            for panel, e in zip(row, eps, strict=True):
                arrays = inputs.arrays.get((task, look.name, e), {})
                for what, style in (
                    ("data", {"color": "#c3c8ce", "markersize": 2.2}),
                    ("samples", {"color": look.colour, "markersize": 1.9, "alpha": 0.65}),
                    ("answers", {"color": INK, "markersize": 3.0, "marker": "x", "markeredgewidth": 0.7, "alpha": 0.9}),
                ):
                    points = _plane(arrays, what)
                    if points is not None:
                        defaults = {"marker": ".", "linestyle": "none", "markeredgewidth": 0}
                        panel.plot(*points, **(defaults | style))
                if limits is not None:
                    panel.set_xlim(*limits[0])
                    panel.set_ylim(*limits[1])
    return figure


def _plane_of(inputs: Inputs, task: str, look: Look) -> bool:
    found = [arrays for (where, arm, _), arrays in inputs.arrays.items() if (where, arm) == (task, look.name)]
    return any("energy" in arrays or _plane(arrays, "answers") or _plane(arrays, "samples") for arrays in found)


def _limits(inputs: Inputs, task: str) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """One box for all panels: the data of the thickest set with a margin, so that far answers do not shrink it."""
    points = [_plane(arrays, "data") for (where, _, _), arrays in inputs.arrays.items() if where == task]
    found = [p for p in points if p is not None]
    if not found:
        return None
    box = []
    for axis in (0, 1):
        values = np.concatenate([p[axis] for p in found])
        low, high = float(values.min()), float(values.max())
        box.append((low - 0.15 * (high - low), high + 0.15 * (high - low)))
    return box[0], box[1]


def digits_figure(inputs: Inputs, task: str, examples: int = 10) -> Figure | None:
    """x, a held-out digit that has it, and what each arm answers and draws; None unless y is an 8 by 8 image."""
    sets = {arm: arrays for (where, arm, _), arrays in inputs.arrays.items() if where == task}
    arms = _arms(inputs, task, "data_y")
    if not arms or np.asarray(sets[arms[0].name]["data_y"]).shape[-1] != _SIDE**2:
        return None
    first = sets[arms[0].name]
    data_x, data_y = np.asarray(first["data_x"]), np.asarray(first["data_y"])
    made_for = [arrays["answers_x"] for arrays in sets.values() if "answers_x" in arrays]
    answered = np.concatenate([np.asarray(x) for x in made_for]) if made_for else data_x
    rows = [i for i in _distinct(data_x) if (np.abs(answered - data_x[i]).max(axis=-1) < 1e-5).any()][:examples]
    if not rows:
        return None
    columns = [("x", INK, [data_x[i] for i in rows], data_x), ("held-out y", INK, [data_y[i] for i in rows], data_y)]
    for look in arms:
        for what, word in (("answers", "answer"), ("samples", "sample")):
            if f"{what}_y" in sets[look.name]:
                made = [_with_same_x(sets[look.name], what, data_x[i]) for i in rows]
                columns.append((f"{_wrapped(look.label, 22)}, {word}", look.colour, made, data_y))
    pitch = _SIDE + 2
    mosaic = np.full((len(rows) * pitch, len(columns) * pitch), np.nan)
    for j, (_, _, made, scale) in enumerate(columns):
        for i, values in enumerate(made):
            if values is not None:
                mosaic[i * pitch : i * pitch + _SIDE, j * pitch : j * pitch + _SIDE] = _image(values, scale)
    with house_style():
        width, height = 0.62 * len(columns) + 0.9, 0.62 * len(rows) + 1.35
        figure = new_figure(width, height, constrained=False)
        panel = figure.add_axes((0.0, 0.0, 0.62 * len(columns) / width, 0.62 * len(rows) / height))
        panel.imshow(mosaic, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        panel.set_axis_off()
        for j, (title, colour, _, _) in enumerate(columns):
            place: dict[str, Any] = {
                "rotation": 45,
                "rotation_mode": "anchor",
                "ha": "left",
                "va": "bottom",
                "clip_on": False,
            }
            panel.text((j + 0.3) * pitch, -1.5, title, fontsize=7, color=colour, **place)
    return figure


def _distinct(x: NDArray[Any]) -> list[int]:
    """The first row of each distinct x, in order."""
    return sorted(np.unique(np.round(x, 6), axis=0, return_index=True)[1].tolist())


def _with_same_x(arrays: Arrays, what: str, x: NDArray[Any]) -> NDArray[Any] | None:
    """The first point made for this x."""
    made_for, made = np.asarray(arrays[f"{what}_x"]), np.asarray(arrays[f"{what}_y"])
    hits = np.flatnonzero(np.abs(made_for - x).max(axis=-1) < 1e-5)
    return made[hits[0]] if hits.size else None


def _image(values: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
    """A square image blown up to the side of a digit, 0 and 1 the extremes of the data, what lies beyond clipped."""
    low, high = float(np.min(scale)), float(np.max(scale))
    side = math.isqrt(values.size)
    unit = np.clip((np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12), 0.0, 1.0)
    return np.kron(unit.reshape(side, side), np.ones((_SIDE // side, _SIDE // side)))
