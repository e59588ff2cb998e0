"""The figure of a task: energies that arms learned on its plane, what they answered, a cross-section of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..study.task_grids import THICKNESS
from .densities import FACTORS, GridDensity, grid_density, pixels
from .inputs import Arrays, Inputs
from .pictures import COLOURS, SIDE, arms_with, depth, landscape_image, plane, readings
from .rendering import Datasets
from .style import FAMILY_COLOURS, Look, plain, symbol

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Points that are drawn of each kind, at most.
POINTS = {"data": 90, "samples": 90, "answers": 48}
#: Arms times settings that are all pictured, at most; of more there are fewer settings between the ends, for so many.
_MOST_PICTURES, _PICTURES = 60, 48
#: Arms that are shown at first.
_MOST_ARMS = 4
#: An energy so many times shallower than another looks flat on one scale.
_FLAT = 20.0
#: Nats between two nodes that no picture shows.
_UNRESOLVED = 1000.0
#: Columns of the cross-sections, the last three of them along it, the three before of each multiple of beta.
_SECTION = ("arm", "at", "deep", "beta", "log_partition", "log_peak", "along", "raw", "rank")


@dataclass(frozen=True)
class Hero:
    """What a figure of landscapes is made of.

    Args:
        looks: arms that have landscapes or points, grouped by family.
        shown: labels of those shown at first.
        settings: what the slider runs over. places: the same in words.
        start: the place among them where it stands at first.
        reading: in which energies are read at first.
        datasets: images, cross-sections and points, by name.
        scales: ends of the scale of each reading.
        section: what the cross-section runs along.
    """

    task: str
    symbol: str
    looks: tuple[Look, ...]
    shown: tuple[str, ...]
    settings: tuple[float, ...]
    places: tuple[str, ...]
    start: int
    reading: str
    datasets: Datasets
    scales: Mapping[str, tuple[float, float]]
    section: str
    box: tuple[float, float, float, float]
    energies: bool


def hero(inputs: Inputs, task: str) -> Hero | None:
    """What the figure of a task shows; None where no arm has a landscape or points in a plane."""
    here = {(arm, at): arrays for (where, arm, at), arrays in inputs.arrays.items() if where == task}
    drawn = {arm for (arm, _), arrays in here.items() if "energy" in arrays or plane(arrays, "answers") is not None}
    looks = [look for look in arms_with(inputs, task, "data_y") if look.name in drawn]
    box = _box(here)
    if not looks or box is None:
        return None
    pictured = any("energy" in arrays for arrays in here.values())
    settings = [
        at
        for at in inputs.settings(task)
        if any((look.name, at) in here and ("energy" in here[look.name, at] or not pictured) for look in looks)
    ]
    if len(looks) * len(settings) > _MOST_PICTURES:
        settings = _spread(settings, max(2, _PICTURES // len(looks)))
    label_of = {look.name: look.label for look in looks}
    drawn_here = {
        (arm, settings.index(at)): _cropped(arrays, box)
        for (arm, at), arrays in here.items()
        if arm in label_of and at in settings
    }
    depths = {key: depth(arrays)[1] for key, arrays in drawn_here.items() if "energy" in arrays}
    # One scale of nats for all settings: what learned energies reach at the first of them, which is the mildest.
    mild = [deep for (_, place), deep in depths.items() if place == 0]
    steeper = 3.0 if len(settings) > 1 else 1.5
    tops = {"raw": steeper * float(np.median(mild)) if mild else 1.0, "free": 1.5, "rank": 1.0}
    images, sections, points = [], [], []
    # Of many arms and settings the pictures are smaller, those of densities first, of which there are many each.
    side, fine = (SIDE if len(here) <= most else SIDE * 2 // 3 for most in (60, 30))
    unconditional = not any(np.asarray(a.get("data_x", np.zeros((1, 0)))).shape[-1] for a in here.values())
    values = {key: readings(arrays) for key, arrays in drawn_here.items() if key in depths}
    scales = {name: _scale(name, top, [read[name] for read in values.values()]) for name, top in tops.items()}
    for (arm, place), arrays in drawn_here.items():
        who = label_of[arm]
        if (arm, place) in values:
            read, density = values[arm, place], grid_density(arrays)
            for name, (low, high) in scales.items():
                images.append([who, place, name, None, landscape_image(read[name], low, high, side), None])
            images += [[who, place, "density", *row] for row in _density_images(density, fine)]
            sections.append([who, place, depths[arm, place], *_section(arrays, read, density, unconditional)])
        for what, most in POINTS.items():
            found = plane(arrays, what)
            if found is not None:
                x, y = (np.round(np.asarray(c[:most], dtype=np.float64), 3).tolist() for c in found)
                points.append([who, place, what, x, y])
    datasets: dict[str, dict[str, list[Any]]] = {
        f"images-{task}": {"columns": ["arm", "at", "reading", "step", "url", "said"], "rows": images},
        f"sections-{task}": {"columns": list(_SECTION), "rows": sections},
        f"points-{task}": {"columns": ["arm", "at", "what", "x", "y"], "rows": points},
    }
    decided = [at for c in inputs.study.primary_criteria.values() if task in c.tasks for at in c.at]
    start, first = _start(settings, inputs.axis(task), here, decided), _first_arms(inputs, task, looks)
    return Hero(
        task=task,
        symbol=symbol(inputs.axis(task)),
        looks=tuple(looks),
        shown=tuple(label_of[name] for name in first),
        settings=tuple(settings),
        places=tuple(inputs.place(task, at) for at in settings),
        start=start,
        reading=_first_reading([deep for (arm, place), deep in depths.items() if place == start and arm in first]),
        datasets=datasets,
        scales=scales,
        section="along the ray from the centre to the right" if unconditional else "across y at the middle of x",
        box=box,
        energies=bool(images),
    )


def _spread(settings: Sequence[float], most: int) -> list[float]:
    """So many of them at most, the first and the last and what lies evenly between them."""
    places = np.unique(np.round(np.linspace(0, len(settings) - 1, min(most, len(settings)))).astype(int))
    return [settings[place] for place in places]


def _start(
    settings: Sequence[float], axis: str, here: Mapping[tuple[str, float], Arrays], decided: Sequence[float] = ()
) -> int:
    """The slider stands at the hardest setting that has a width and whose truth the picture still resolves.

    Along anything but thickness it is the last setting, or the last of those at which a claim is decided. Half a node
    from the answers the energy of the truth is ½ (half a node over the thickness)²; where that is most of what can be
    seen, a picture shows which nodes happen to lie in a crease.
    """
    if axis != THICKNESS:
        asked = [i for i, at in enumerate(settings) if any(math.isclose(at, other) for other in decided)]
        return asked[-1] if asked else len(settings) - 1
    half = max((float(a["axis_1"][1] - a["axis_1"][0]) / 2 for a in here.values() if "energy" in a), default=0.0)
    return max((i for i, at in enumerate(settings) if at > 0 and 0.5 * (half / at) ** 2 < _UNRESOLVED), default=0)


def _scale(name: str, top: float, values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Ends of the scale of a reading: what lies below the data is seen to the depth of what lies above them."""
    if name == "rank":
        return 0.0, top
    least = min((float(np.nanquantile(each, 0.01)) for each in values), default=0.0)
    return max(min(least, -0.05 * top), -top), top


def _first_reading(depths: Sequence[float]) -> str:
    """Values, unless one scale shows some of the energies as all but flat: then each over its own depth."""
    return "free" if depths and max(depths) > _FLAT * min(depths) else "raw"


def _density_images(density: GridDensity | None, side: int) -> list[list[Any]]:
    """For each beta its place, the picture, dark where it is dense, and what is said below it."""
    if density is None:
        return []
    empty = 1 - pixels(density, side)
    said = [
        "no β fits: flat" if density.flat else f"β {plain(beta)}: {plain(score)} nats"
        for beta, score in zip(density.betas, density.scores, strict=True)
    ]
    return [
        [step, landscape_image(empty[step], 0.0, 1.0, side, quality=50), said[step]] for step in range(len(FACTORS))
    ]


def _box(here: Mapping[tuple[str, float], Arrays]) -> tuple[float, float, float, float] | None:
    """One box for all panels: that of the data with a margin, no larger than the grids of energies.

    Far answers do not shrink it.
    """
    found = [p for arrays in here.values() if (p := plane(arrays, "data")) is not None]
    edges = next((_edges(arrays) for arrays in here.values() if "energy" in arrays), None)
    if not found:
        return edges
    sides = [np.concatenate([np.asarray(p[axis], dtype=np.float64) for p in found]) for axis in (0, 1)]
    low, high = zip(
        *((float(v.min() - 0.15 * np.ptp(v)), float(v.max() + 0.15 * np.ptp(v))) for v in sides), strict=True
    )
    if edges is None:
        return low[0], high[0], low[1], high[1]
    return max(low[0], edges[0]), min(high[0], edges[1]), max(low[1], edges[2]), min(high[1], edges[3])


def _edges(arrays: Arrays) -> tuple[float, float, float, float]:
    """Of the grid of an energy."""
    first, second = np.asarray(arrays["axis_0"]), np.asarray(arrays["axis_1"])
    return float(first[0]), float(first[-1]), float(second[0]), float(second[-1])


def _cropped(arrays: Arrays, box: tuple[float, float, float, float]) -> Arrays:
    """The same with the energy within a box; where that has fewer than two nodes, all of it."""
    if "energy" not in arrays:
        return arrays
    axes = [np.asarray(arrays[name], dtype=np.float64) for name in ("axis_0", "axis_1")]
    inside = [(axis >= low) & (axis <= high) for axis, low, high in zip(axes, box[::2], box[1::2], strict=True)]
    kept = [part if part.sum() > 1 else np.ones_like(part) for part in inside]
    cut = {"axis_0": axes[0][kept[0]], "axis_1": axes[1][kept[1]], "energy": arrays["energy"][np.ix_(*kept)]}
    return {**arrays, **cut}


def _first_arms(inputs: Inputs, task: str, looks: Sequence[Look]) -> list[str]:
    """Arms that primary criteria speak of, then the first of each family, then the exact one; four at most."""
    primary = [
        c for c in inputs.study.criteria if c in tuple(inputs.study.primary_criteria.values()) and task in c.tasks
    ]
    exact = [arm.name for arm in inputs.study.arms if arm.method == "exact"][:1]
    asked = [name for criterion in primary for name in criterion.arms[:1]]
    families = [next((look.name for look in looks if look.family == family), "") for family in FAMILY_COLOURS]
    others = [name for criterion in primary for name in (*criterion.against, *criterion.arms)]
    wanted = [*asked[:1], *families[:2], *exact, *asked, *others, *(look.name for look in looks)]
    names = list(dict.fromkeys(name for name in wanted if name in {look.name for look in looks}))[:_MOST_ARMS]
    return [look.name for look in looks if look.name in names]


def _section(
    arrays: Arrays, read: Mapping[str, Any], density: GridDensity | None, unconditional: bool
) -> list[list[float]]:
    """A cross-section of the plane: from its centre to the right, or across y at the middle of x.

    Of each beta its value, ln of the partition function there of energies above the median of the data, and ln of the
    largest density; then along it its place, the values and the ranks.
    """
    first, second = (np.asarray(arrays[name], dtype=np.float64) for name in ("axis_0", "axis_1"))
    column = int(np.abs(first - first.mean()).argmin())
    cut: tuple[Any, Any] = (column, slice(None))
    along = second
    if unconditional:
        row, start = int(np.abs(second).argmin()), int(np.abs(first).argmin())
        along, cut = first[start:], (slice(start, None), row)
    told = [_rounded(along, 3), _rounded(read["raw"][cut], 4), _rounded(read["rank"][cut], 3)]
    if density is None:
        return [[], [], [], *told]
    partition = density.log_partition[:, column] + density.betas * depth(arrays)[0]
    peaks = density.log_density.max(axis=(1, 2))
    return [_rounded(density.betas, 4), _rounded(partition, 6), _rounded(peaks, 6), *told]


def _rounded(values: Any, figures: int) -> list[float]:
    return [
        float(f"{v:.{figures}g}")
        for v in np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=1e12, neginf=-1e12)
    ]


def plane_data(one: Hero) -> dict[str, list[Any]]:
    """Images and points in one data set, as panels that layer them take it."""
    images, points = one.datasets[f"images-{one.task}"], one.datasets[f"points-{one.task}"]
    rows = [[*row, None, None, None] for row in images["rows"]]
    rows += [[arm, at, None, None, None, None, what, x, y] for arm, at, what, x, y in points["rows"]]
    return {"columns": ["arm", "at", "reading", "step", "url", "said", "what", "x", "y"], "rows": rows}


def describe(one: Hero) -> str:
    """Depth of each arm's energy at its mildest and its hardest setting, for who cannot see it."""
    sections = one.datasets[f"sections-{one.task}"]["rows"]
    said = []
    for look in one.looks:
        own = {row[1]: row[_SECTION.index("raw")] for row in sections if row[0] == look.label}
        ends = [place for place in (0, one.start) if place in own]
        parts = [
            f"from {plain(min(own[place]))} to {plain(max(own[place]))} at {one.places[place]}"
            for place in dict.fromkeys(ends)
        ]
        if parts:
            said.append(f"{look.label}: {', '.join(parts)}")
    head = f"Energies on the plane of {one.task}; {one.section}, above the median of the data, they run: "
    return head + ("; ".join(said) if said else "no energy is stored") + "."


def legend() -> str:
    """The colours of the landscapes as a gradient of CSS."""
    return f"linear-gradient(90deg,{','.join(COLOURS)})"
