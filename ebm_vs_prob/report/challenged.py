# ruff: noqa: RUF001
"""A page of a challenge: where a method wins, ties and fails beside the best of each family, with every interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

import numpy as np

from ..study.challenge import OUTCOMES, TIED_NATS, TIED_RATIO, TIED_SHARE, Round, rounds, summary, tally
from ..study.criteria import Criterion
from ..study.effects import effect_test
from ..study.scales import caveat
from ..study.standard_panels import CHALLENGER, FILE, kept_rules
from ..study.verdicts import Verdict
from .inputs import Inputs
from .intervals import INTERVALS, domain
from .rendering import Picture, part, specification, to_svg, wrapped
from .style import OUTCOME_COLOURS, SIGNS, Look, digits, interval, p_value, place, plain, quantity, span, unit_of

PAGE, PLAIN = "challenge.html", "challenge.md"
#: How each outcome is marked: a sign in text, one of Vega's symbols in figures, and the verdict whose colour it has.
OUTCOME_SIGNS = {"wins": "✓", "ties": "=", "fails": "✗", "undecided": "?", "no value": "–", "too few seeds": "…"}
_SHAPES = {
    "wins": "circle",
    "ties": "square",
    "fails": "cross",
    "undecided": "triangle-down",
    "no value": "diamond",
    "too few seeds": "triangle-up",
}
_KINDS = {
    "wins": "supported",
    "ties": "qualified",
    "fails": "refuted",
    "undecided": "undecided",
    "no value": "untrained",
    "too few seeds": "untrained",
}
#: Pixels of intervals without their numbers, of a line above an interval, of an interval, and between two of them.
_PLOT, _ABOVE, _ROW, _GAP = 172, 15, 18, 9
#: Characters of a line above an interval, beside which the outcome stands, and of the numbers beside an interval.
_LINE, _BESIDE = 42, 28


def challenge_pages(inputs: Inputs, verdicts: Sequence[Verdict], environment: Any) -> dict[str, str]:
    """The page of a challenge and the same in Markdown, by the names of their files; they need no other file.

    Args:
        environment: of templates, which escapes for HTML.
    """
    study, looks = inputs.study, inputs.looks()
    found = rounds(study, inputs.results, inputs.scale)
    method = study.arm(CHALLENGER).title
    counts = Counter(each.outcome for each in found)
    page = environment.get_template("challenged.html.j2").render(
        method=method,
        study=study,
        scale=inputs.scale,
        seeds=inputs.num_seeds,
        caveat=caveat(inputs.scale),
        identifier=inputs.identifier,
        sentence=tally(method, found),
        counts=[(outcome, counts[outcome]) for outcome in OUTCOMES if counts[outcome]],
        sections=[_section(criterion, found, inputs, looks) for criterion in study.criteria],
        rows=[_row(each, looks) for each in found],
        corrected=[_corrected(v, looks) for v in verdicts if v.scope == "comparison"],
        facts=_facts(inputs, looks),
        rules=rules_in_words(inputs),
        commands=_commands(inputs),
        file=FILE if study.path else "",
        kinds=_KINDS,
        signs=OUTCOME_SIGNS,
        symbols=SIGNS,
        margin=f"a factor of {TIED_RATIO:g} of no difference, {TIED_SHARE:g} of a share or {TIED_NATS:g} nats",
    )
    return {PAGE: page, PLAIN: summary(method, found, verdicts, inputs.identifier)}


def rules_in_words(inputs: Inputs) -> str:
    """Whether the challenger keeps the rules of a method, and with which code that was found."""
    kept, method = kept_rules(inputs.study), inputs.study.arm(CHALLENGER).method
    again = f"ebm-vs-prob check {quote(method)}"
    if kept.get("method") != method:
        return f"Nothing here says whether it keeps the rules of a method: {again}"
    own = inputs.results.loc[inputs.results["arm"] == CHALLENGER, "trial"].unique()
    records = [inputs.records[key] for key in own if key in inputs.records]
    same = all((r["code_digest"], r["plugins"]) == (kept.get("code_digest"), kept.get("plugins")) for r in records)
    code = "with the code that trained it here" if same else "with other code than that which trained it here"
    return f"It kept the rules of a method ({again}), {code}"


def _section(criterion: Criterion, found: Sequence[Round], inputs: Inputs, looks: Mapping[str, Look]) -> dict[str, Any]:
    """What one criterion asks, with a forest of its rounds for each task."""
    own = [each for each in found if each.criterion == criterion.id]
    unit = unit_of(criterion.metric, _units(own))
    asked = quantity(criterion.kind, criterion.metric)
    bound, side = _bound(criterion), "below" if criterion.above is None else "above"
    over = "its own over the rival's" if criterion.kind == "ratio" else "its own less the rival's"
    test = effect_test(criterion.kind, criterion.metric, criterion.statistic).name
    return {
        "id": criterion.id,
        "statement": criterion.statement,
        "asked": f"{asked[:1].upper()}{asked[1:]}{f' ({unit})' if unit else ''}, {over}: it wins {side} {bound:g}. "
        f"Over seeds: {test}.",
        "counts": [(o, n) for o in OUTCOMES if (n := sum(each.outcome == o for each in own))],
        "figures": [
            _forest(criterion, task, here, inputs, looks)
            for task in criterion.tasks
            if (here := [each for each in own if each.task == task])
        ],
    }


def _units(found: Sequence[Round]) -> Any:
    import pandas as pd

    return pd.Series([each.unit for each in found], dtype=object)


def _bound(criterion: Criterion) -> float:
    return float((criterion.above if criterion.below is None else criterion.below) or 0.0)


def _named(each: Round, looks: Mapping[str, Look]) -> str:
    failed = f", {each.failed}\u00a0failed" if each.failed else ""
    return f"{place(each.axis, each.setting)}, {each.family}: {looks[each.rival].label}{failed}"


def _effect(each: Round) -> str:
    if not math.isfinite(each.effect):
        return "–"
    has_interval = math.isfinite(each.low) and math.isfinite(each.high)
    if each.kind == "ratio":  # whose lower end is far below its width
        return f"×{plain(each.effect)}{f' [{plain(each.low)}, {plain(each.high)}]' if has_interval else ''}"
    return f"{plain(each.effect)}{f' {interval(each.low, each.high)}' if has_interval else ''}"


def _forest(
    criterion: Criterion, task: str, found: Sequence[Round], inputs: Inputs, looks: Mapping[str, Look]
) -> Picture:
    name = f"{inputs.study.name}-{criterion.id}-{task}"
    title = f"{criterion.statement} on {task}"
    described = ". ".join(f"{_named(each, looks)}: {_effect(each)}, {each.outcome}" for each in found)
    spec = forest(found, [_named(each, looks) for each in found], _bound(criterion))
    svg = to_svg(spec, {}, name, title, f"{described}.")
    return Picture(name=name, title=task, description=f"{described}.", svg=svg)


def forest(found: Sequence[Round], labels: Sequence[str], bound: float) -> dict[str, Any]:
    """Rounds of one metric as rows of intervals, against no difference; as wide as a telephone has it.

    Ratios stand on a logarithmic axis.
    """
    import altair as alt

    marks, texts, height = _places(found, labels)
    ratio = found[0].kind == "ratio"
    shown = [row[end] for row in marks for end in ("estimate", "low", "high") if row[end] is not None]
    low, high = domain([*shown, bound], ratio)
    x = alt.X(
        "estimate:Q",
        scale=alt.Scale(type="log" if ratio else "linear", domain=[low, high], range=[0, _PLOT], nice=False),
        title=wrapped(_title(found[0]), 32),
        axis=alt.Axis(grid=False, tickCount=5, format=".6~g", labelOverlap="greedy", labelSeparation=4),
    )
    vertical = alt.Scale(domain=[0, height], range=[0, height])
    y = alt.Y("place:Q", scale=vertical, axis=None)
    colours = {outcome: OUTCOME_COLOURS[kind] for outcome, kind in _KINDS.items()}
    colour = alt.Color("outcome:N", legend=None, scale=alt.Scale(domain=list(colours), range=list(colours.values())))
    shape = alt.Shape("outcome:N", legend=None, scale=alt.Scale(domain=list(_SHAPES), range=list(_SHAPES.values())))
    # The line of no difference stands beside the intervals alone, not across the text above each.
    known = [row for row in marks if row["estimate"] is not None]
    lines = [{"estimate": bound, "top": row["place"] - 9, "bottom": row["place"] + 9} for row in known]
    spans = [row for row in known if row["low"] is not None and row["high"] is not None]
    dashed = alt.Chart().mark_rule(strokeDash=[4, 2], color="currentColor", opacity=0.8)
    bars = alt.Chart().mark_rule(strokeWidth=2.4).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
    points = alt.Chart().mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    right = alt.Chart().mark_text(align="right", dy=1, fontSize=11, color="currentColor")
    above = alt.Chart().mark_text(align="left", fontSize=11, color="currentColor", limit=INTERVALS)
    said = alt.Chart().mark_text(align="right", fontSize=11, fontWeight="bold", color="currentColor")
    drawn = [
        part(dashed.encode(x=x, y=alt.Y("top:Q", scale=vertical, axis=None), y2="bottom:Q"), lines),
        part(bars, spans),
        part(points, known),
        part(right.encode(x=alt.value(INTERVALS), y=y, text="text:N"), known),
    ]
    layers = [
        *(drawn if known else ()),
        part(above.encode(x=alt.value(0), y=y, text="text:N"), texts),
        part(said.encode(x=alt.value(INTERVALS), y=y, text="said:N"), [row for row in texts if row["said"]]),
    ]
    return specification({"width": INTERVALS, "height": height, "layer": layers})


def _title(first: Round) -> str:
    unit = unit_of(first.metric, _units([first])) if first.kind == "difference" else ""
    return f"{quantity(first.kind, first.metric)}{f' ({unit})' if unit else ''}"


def _places(found: Sequence[Round], labels: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Where intervals and the lines above them stand, in pixels from the top, and how high all are."""
    marks: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    top = 0.0
    for each, label in zip(found, labels, strict=True):
        for number, line in enumerate(wrapped(label, _LINE)):
            said = "" if number else f"{OUTCOME_SIGNS[each.outcome]} {each.outcome}"
            texts.append({"text": line, "said": said, "place": top + _ABOVE / 2})
            top += _ABOVE
        whole = _effect(each)
        text = whole if len(whole) <= _BESIDE else plain(each.effect)
        ends = {"estimate": digits(each.effect), "low": digits(each.low), "high": digits(each.high)}
        marks.append({"outcome": each.outcome, "place": top + _ROW / 2, "text": text, **ends})
        top += (_ROW if math.isfinite(each.effect) else 0) + _GAP
    return marks, texts, top


def _row(each: Round, looks: Mapping[str, Look]) -> dict[str, str]:
    metric = quantity(each.kind, each.metric)
    unit = unit_of(each.metric, _units([each])) if each.kind == "difference" else ""
    return {
        "quantity": f"{metric}{f' ({unit})' if unit else ''}",
        "task": each.task,
        "at": place(each.axis, each.setting),
        "best of its family": f"{looks[each.rival].label} ({each.family})",
        "effect [95 %]": _effect(each),
        "seeds": f"{each.seeds}{f', {each.failed} failed' if each.failed else ''}",
        "outcome": each.outcome,
    }


def _corrected(verdict: Verdict, looks: Mapping[str, Look]) -> dict[str, str]:
    against = looks[verdict.against].label if verdict.against in looks else verdict.against
    return {
        "statement": verdict.statement,
        "task": verdict.task,
        "against": against,
        "adjusted p": p_value(verdict.adjusted_p),
        "verdict": verdict.verdict,
        "reason": verdict.reason,
    }


def _facts(inputs: Inputs, looks: Mapping[str, Look]) -> list[tuple[str, str]]:
    """What was asked: of whom, where and with how much."""
    study, scale = inputs.study, inputs.study.at(inputs.scale)
    challenger = study.arm(CHALLENGER)
    rivals: dict[str, list[str]] = {}
    for arm in dict.fromkeys(arm for criterion in study.criteria for arm in criterion.against if arm in looks):
        rivals.setdefault(looks[arm].family, []).append(looks[arm].label)
    options = {**challenger.options, **({"network": challenger.network} if challenger.network else {})}
    found = [
        ("result", inputs.identifier),
        ("method", f"{challenger.method}{f', {_listed(options)}' if options else ''}"),
        ("rivals", "; ".join(f"{family}: {', '.join(labels)}" for family, labels in rivals.items())),
        ("tasks", "; ".join(f"{grid.name} {span(grid.axis, grid.settings)}".strip() for grid in study.tasks)),
        ("seeds", f"{scale.first_seed} to {scale.first_seed + scale.seeds - 1}"),
        ("training", _listed(scale.budget)),
        ("network", scale.network if isinstance(scale.network, str) else _listed(scale.network)),
    ]
    return [(name, text) for name, text in found if text]


def _listed(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {np.asarray(value).tolist()}" for name, value in sorted(table.items()))


def _commands(inputs: Inputs) -> list[str]:
    given = quote(inputs.study.given)
    commands = [f"ebm-vs-prob {what} {given} --scale {inputs.scale}" for what in ("run", "report")]
    return [*commands, *([f"ebm-vs-prob verify {inputs.identifier} --rerun 4"] if inputs.identifier else [])]
