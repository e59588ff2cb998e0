# ruff: noqa: RUF001
"""A page of two stores held against each other: verdicts that flipped, effects that moved, where the two come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.atomic_files import write_atomically
from ..core.errors import invalid
from ..core.text import printable
from ..study.claims import CLAIMS
from ..study.comparing import Compared, Flip, Shift
from ..study.scales import caveat
from ..study.store import Store
from ..study.table import planned_trials
from .inputs import origin
from .intervals import INTERVALS, domain, told_apart
from .rendering import Picture, part, specification, to_svg, wrapped
from .style import SIGNS, digits, interval, p_value, plain, quantity

#: Effects of one criterion that are drawn; of more, those that moved most surely.
_MOST_ROWS = 12
#: Pixels of intervals without their numbers, and characters that fit beside them.
_PLOT, _BESIDE = 172, 28
#: Characters of a line above an interval, pixels of that line, of an interval, and between two effects.
_LINE, _ABOVE, _ROW, _GAP = 52, 15, 20, 10
#: Hollow and filled, so that no colour has to be seen; this one is dark enough on white and light enough on black.
_FIRST, _SECOND = "currentColor", "#d55e00"
_CAPTION = "Hollow: A; filled: B; means over seeds with 95 % intervals. Dashed: what the criterion asks for."
#: In the order of the sentence: what is said of one effect and of several by whether they moved.
_MOVED = {
    "yes": ("moved", "moved"),
    "no": ("did not move", "did not move"),
    "identical": ("is identical", "are identical"),
    "unknown": ("has too few seeds to say", "have too few seeds to say"),
}


def write_compared(found: Sequence[Compared], first: Store, second: Store, path: Path) -> Path:
    """Write the page of two stores, which needs no other file and no network; returns its path.

    Args:
        found: of `compare_stores` of the two.
        path: of the page; one that is there is replaced.

    Raises:
        ValueError: a path that ends otherwise than in `.html`, or where a folder lies.
        OSError: it cannot be written.
    """
    from .page import html

    check_path(path)
    text = (
        html()
        .get_template("compared.html.j2")
        .render(
            stores=[printable(store.root) for store in (first, second)],
            studies=[_section(each, first, second) for each in found],
            symbols={**SIGNS, "none": "–"},
            words={"none": "no such comparison"},
        )
    )
    write_atomically(path, f"{text.rstrip()}\n".encode())
    return path


def check_path(path: Path) -> None:
    """Check, before anything is read, that a page can lie there.

    Raises:
        ValueError: it cannot.
    """
    if path.suffix != ".html" or path.is_dir():
        raise invalid("--out", str(path), "the path of a page, such as compared.html")


def _section(found: Compared, first: Store, second: Store) -> dict[str, Any]:
    moved = [shift for shift in found.shifts if shift.moved == "yes"]
    claims = dict.fromkeys([shift.claim for shift in moved])
    return {
        "name": found.study,
        "title": found.title,
        "scale": found.scale,
        "caveat": caveat(found.scale),
        "sentence": sentence(found),
        "flips": [_flip(flip, found) for flip in found.flips],
        "claims": [_claim(claim, [s for s in moved if s.claim == claim], found) for claim in claims],
        "rows": [_row(shift, found) for shift in found.shifts],
        "origins": _origins(found, first, second),
    }


def sentence(found: Compared) -> str:
    """What is to be said first: how many effects moved and which claims have another verdict."""
    counts = Counter(shift.moved for shift in found.shifts)
    told = [f"{counts[key]} {words[counts[key] > 1]}" for key, words in _MOVED.items() if counts[key]]
    told = told if counts["yes"] or not told else ["none moved", *told]
    effects = f"Of {_counted(len(found.shifts), 'effect')}, {_listed(told)}" if told else "No effect was compared"
    flipped = Counter(flip.scope for flip in found.flips)
    claims = [f"{f.claim} from {_outcome(f.first)} to {_outcome(f.second)}" for f in found.flips if f.scope == "claim"]
    parts = flipped["comparison"]
    if claims:
        also = f" and {_counted(parts, 'comparison')}" if parts else ""
        verdicts = f"{_counted(len(claims), 'claim')}{also} flipped: {_listed(claims)}"
    elif parts:
        verdicts = f"no claim's verdict flipped, but {_counted(parts, 'comparison')} did"
    else:
        verdicts = "no verdict flipped"
    return f"{effects}; {verdicts}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _outcome(verdict: str) -> str:
    return "nothing" if verdict == "none" else verdict


def _flip(flip: Flip, found: Compared) -> dict[str, Any]:
    if flip.scope == "claim":
        what, detail = flip.claim, CLAIMS.get(flip.claim, "")
    else:
        against = f" against {_label(flip.against, found)}" if flip.against else ""
        what = flip.criterion
        detail = f"{_label(flip.arm, found)}{against} on {flip.task}: {found.statements.get(flip.criterion, '')}"
    return {"what": what, "detail": detail.rstrip(": "), "first": flip.first, "second": flip.second}


def _label(arm: str, found: Compared) -> str:
    return found.labels.get(arm, arm)


def _claim(claim: str, moved: Sequence[Shift], found: Compared) -> dict[str, Any]:
    """A claim with a forest of effects for each of its criteria, because these are of different quantities."""
    return {
        "id": claim,
        "text": CLAIMS.get(claim, ""),
        "figures": [
            _forest(criterion, [shift for shift in moved if shift.criterion == criterion], found)
            for criterion in dict.fromkeys(shift.criterion for shift in moved)
        ],
    }


def _forest(criterion: str, moved: Sequence[Shift], found: Compared) -> Picture:
    drawn = sorted(moved, key=lambda shift: shift.adjusted_p)[:_MOST_ROWS]
    drawn = [shift for shift in moved if shift in drawn]
    names = [
        (_label(s.arm, found), f"against {_label(s.against, found)}" if s.against else "", s.task, s.at) for s in drawn
    ]
    labels, shared = told_apart(names)
    described = ". ".join(
        f"{', '.join(filter(None, name))}: {_change(shift)}, from {_effect(shift, 'first')} to "
        f"{_effect(shift, 'second')}"
        for name, shift in zip(names, drawn, strict=True)
    )
    title = found.statements.get(criterion) or criterion
    figure = f"{found.study}-{found.scale}-{criterion}"
    spec = forest(drawn, labels)
    left = f" The {len(drawn)} that moved most surely, of {len(moved)}." if len(drawn) < len(moved) else ""
    told = f"All: {shared}. " if shared and len(drawn) > 1 else f"{shared}. " if shared else ""
    return Picture(
        name=figure,
        title=title,
        description=f"{described}.",
        caption=f"{told[:1].upper()}{told[1:]}{_CAPTION}{left}",
        svg=to_svg(spec, {}, figure, title, f"{described}."),
    )


def forest(shifts: Sequence[Shift], labels: Sequence[str]) -> dict[str, Any]:
    """Effects of one criterion as rows of two intervals each, against what it asks for; as wide as a telephone has it.

    Geometric means stand on a logarithmic axis.
    """
    import altair as alt

    marks, texts, height = _places(shifts, labels)
    first = shifts[0]
    shown = [row[end] for row in marks for end in ("estimate", "low", "high") if row[end] is not None]
    asked = [bound for bound in (first.above, first.below) if bound is not None and (bound > 0 or not first.ratio)]
    low, high = domain([*shown, *asked], first.ratio)
    x = alt.X(
        "estimate:Q",
        scale=alt.Scale(type="log" if first.ratio else "linear", domain=[low, high], range=[0, _PLOT], nice=False),
        title=wrapped(quantity(first.kind, first.metric, first.axis), 32),
        axis=alt.Axis(grid=False, tickCount=5, format=".6~g", labelOverlap="greedy", labelSeparation=4),
    )
    y = alt.Y("place:Q", scale=alt.Scale(domain=[0, height], range=[0, height]), axis=None)
    layers = [
        part(
            alt.Chart().mark_rule(strokeDash=[4, 2], color="currentColor", opacity=0.8).encode(x=x),
            [{"estimate": bound} for bound in asked],
        )
    ]
    for which, colour in (("A", _FIRST), ("B", _SECOND)):
        own = [row for row in marks if row["which"] == which]
        bars = alt.Chart().mark_rule(strokeWidth=1.4 if which == "A" else 2.4, color=colour)
        layers.append(part(bars.encode(x=alt.X("low:Q"), x2="high:Q", y=y), [r for r in own if r["high"] is not None]))
        points = alt.Chart().mark_point(filled=which == "B", size=55, opacity=1, color=colour)
        layers.append(part(points.encode(x=x, y=y), own))
    beside = alt.Chart().mark_text(align="right", dy=4, fontSize=11, color="currentColor")
    layers.append(part(beside.encode(x=alt.value(INTERVALS), y=y, text="text:N"), marks))
    above = alt.Chart().mark_text(align="left", fontSize=11, fontWeight="bold", color="currentColor", limit=INTERVALS)
    layers.append(part(above.encode(x=alt.value(0), y=y, text="text:N"), texts))
    return specification({"width": INTERVALS, "height": height, "layer": layers})


def _places(shifts: Sequence[Shift], labels: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Where intervals and the lines above them stand, in pixels from the top, and how high all are."""
    marks: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    top = 0.0
    for shift, label in zip(shifts, labels, strict=True):
        for line in wrapped(label, _LINE):
            texts.append({"text": line, "place": top + _ABOVE / 2})
            top += _ABOVE
        for which, name in (("A", "first"), ("B", "second")):
            value, low, high = (getattr(shift, f"{name}{end}") for end in ("", "_low", "_high"))
            whole = _effect(shift, name)
            text = f"{which} {whole if len(whole) + 2 <= _BESIDE else plain(value)}"
            place = {"which": which, "place": top + _ROW / 2, "text": text}
            marks.append({**place, "estimate": digits(value), "low": digits(low), "high": digits(high)})
            top += _ROW
        top += _GAP
    return marks, texts, top


def _effect(shift: Shift, name: str) -> str:
    value, low, high = (getattr(shift, f"{name}{end}") for end in ("", "_low", "_high"))
    return f"{plain(value)} {interval(low, high)}"


def _change(shift: Shift) -> str:
    return f"{'×' if shift.ratio else ''}{plain(shift.change)} {interval(shift.low, shift.high)}"


def _row(shift: Shift, found: Compared) -> dict[str, str]:
    against = f" against {_label(shift.against, found)}" if shift.against else ""
    return {
        "criterion": shift.criterion,
        "where": f"{_label(shift.arm, found)}{against} on {shift.task}, {shift.at}",
        "A": _effect(shift, "first"),
        "B": _effect(shift, "second"),
        "change": _change(shift),
        "seeds": f"{shift.seeds}{'' if shift.paired else ' (unpaired)'}",
        "adjusted p": p_value(shift.adjusted_p),
        "moved": "too few seeds" if shift.moved == "unknown" else shift.moved,
    }


def _origins(found: Compared, first: Store, second: Store) -> list[dict[str, str]]:
    """What the records of the two say of their origin where it differs."""
    told = [_origin(store, found) for store in (first, second)]
    names = dict.fromkeys([*told[0], *told[1]])
    return [
        {"what": printable(name), "A": _joined(told[0].get(name, ())), "B": _joined(told[1].get(name, ()))}
        for name in names
        if told[0].get(name) != told[1].get(name)
    ]


def _origin(store: Store, found: Compared) -> Mapping[str, tuple[str, ...]]:
    plan = store.plan(found.study, found.scale)
    return origin(record for _, record, _ in store.records(planned_trials(plan)) if record)


def _joined(values: Iterable[str]) -> str:
    return printable(", ".join(values)) or "–"
