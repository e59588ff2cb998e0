# ruff: noqa: RUF001
"""Tables of what stands behind verdicts: gates, other budgets and networks, and what was tuned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..study.gates import at_gates
from ..study.ladders import climbed
from ..study.sensitivity import called
from ..study.verdicts import Verdict
from .inputs import Inputs
from .intervals import weakest_cell
from .style import in_words, place, plain, quantity, span, with_interval
from .words import bound_text

if TYPE_CHECKING:
    import pandas as pd

#: Of each table its title, and what is said above it.
TITLES = {
    "gates": (
        "Gates",
        "What each arm must reach to count as trained, and what it reached, over seeds. One that misses a gate decides "
        "nothing; of one that lacks the metric the gate says nothing.",
    ),
    "ladders": (
        "Budget ladders",
        "The effect of a criterion in one cell at the budget of this scale and at fractions of it. Stable is one whose "
        "intervals at the last two overlap, or that moves by less than the tolerance that the study states; of any "
        "other the verdict is one at this budget.",
    ),
    "sensitivity": (
        "Sensitivity",
        "Criteria that were asked again at another network or another size of data, in cells of their own, with the "
        "options that were tuned at the scale's. A comparison that comes out on the other side there is qualified, and "
        "so is the claim that it decides; one that is undecided or was not run changes nothing. Of several settings "
        "the numbers are those of the weakest.",
    ),
    "tuning": (
        "Tuning",
        "Every value that was tried for an arm, at seeds of its own, with the score by which one was chosen: the mean "
        "of the arm's validation objective over seeds, tasks and settings, geometric where it spans decades.",
    ),
}


def training_tables(inputs: Inputs, verdicts: Sequence[Verdict]) -> dict[str, pd.DataFrame]:
    """Those of the tables that have a row, by name."""
    made = {
        "gates": gates_table(inputs),
        "ladders": ladders_table(inputs),
        "sensitivity": sensitivity_table(inputs, verdicts),
        "tuning": tuning_table(inputs),
    }
    return {name: frame for name, frame in made.items() if len(frame)}


def _labels(inputs: Inputs) -> dict[str, str]:
    return {arm.name: arm.label or arm.name for arm in inputs.study.arms}


def gates_table(inputs: Inputs) -> pd.DataFrame:
    """Every arm at every gate: what was asked, its value, and whether it passed."""
    import pandas as pd

    labels = _labels(inputs)
    rows = [
        {
            "gate": in_words(gated.metric),
            "task": gated.task,
            "arm": labels.get(gated.arm, gated.arm),
            "at": place(gated.axis, gated.setting, " "),
            "asked": gated.asked.replace("-", "−"),
            "value": plain(gated.value),
            "seeds": f"{gated.seeds} of {inputs.num_seeds}",
            "outcome": gated.outcome,
            "why": gated.reason or "–",
        }
        for gated in at_gates(inputs.study, inputs.primary, inputs.study.scales[inputs.scale].all_seeds)
    ]
    return pd.DataFrame(rows)


def ladders_table(inputs: Inputs) -> pd.DataFrame:
    """Every rung of every ladder, the smallest budget first."""
    import pandas as pd

    labels, rows = _labels(inputs), []
    for climb in climbed(inputs.study, inputs.results, inputs.study.scales[inputs.scale].all_seeds):
        for rung in climb.rungs:
            rows.append(
                {
                    "criterion": climb.criterion,
                    "quantity": quantity(climb.kind, climb.metric, climb.axis),
                    "task": climb.task,
                    "at": span(climb.axis, rung.cell.at) or "–",
                    "arm": labels.get(climb.arm, climb.arm),
                    "against": labels.get(climb.against, climb.against) or "–",
                    "steps": str(rung.steps) if rung.steps else "–",
                    "estimate [95 %]": with_interval(rung.cell.estimate, rung.cell.low, rung.cell.high),
                    "seeds": f"{rung.cell.seeds} of {inputs.num_seeds}",
                    "stable": "" if rung is not climb.rungs[-1] else "yes" if climb.stable else f"no: {climb.reason}",
                }
            )
    return pd.DataFrame(rows)


def sensitivity_table(inputs: Inputs, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Every comparison at every other network or budget at which it was asked, beside its verdict."""
    import pandas as pd

    labels = _labels(inputs)
    entries = {entry.name: entry for entry in inputs.study.sensitivity}
    stands = {verdict.compared: verdict.verdict for verdict in verdicts if verdict.scope == "comparison"}
    rows = []
    for verdict in (each for each in verdicts if each.scope == "variant"):
        cell = weakest_cell(verdict)
        rows.append(
            {
                "criterion": verdict.criterion,
                "with": called(verdict.variant),
                "arm": labels.get(verdict.arm, verdict.arm),
                "estimate [95 %]": with_interval(verdict.estimate, verdict.low, verdict.high),
                "asked": bound_text(verdict),
                "verdict there": verdict.verdict,
                "verdict": stands.get(verdict.compared, "–"),
                "against": labels.get(verdict.against, verdict.against) or "–",
                "task": verdict.task,
                "quantity": quantity(verdict.kind, verdict.metric, verdict.axis),
                "at": (span(verdict.axis, cell.at) if cell else "") or "–",
                "differs by": _differs(entries[verdict.variant]),
                "seeds": f"{verdict.seeds} of {inputs.num_seeds}",
                "why": verdict.reason,
            }
        )
    return pd.DataFrame(rows)


def _differs(entry: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in {**entry.network, **entry.budget}.items())


def tuning_table(inputs: Inputs) -> pd.DataFrame:
    """Every value that was tried for every arm, with its score."""
    import pandas as pd

    labels = _labels(inputs)
    rows = [
        {
            "arm": labels.get(choice.arm, choice.arm),
            "option": choice.option.replace("_", " "),
            "value": f"{value:g}",
            "objective": in_words(choice.metric),
            "better": choice.better,
            "score": "–" if score is None else plain(score, 4),
            "chosen": "yes" if value == choice.chosen else "",
        }
        for choice in inputs.tuning
        for value, score in zip(choice.values, choice.scores, strict=True)
    ]
    return pd.DataFrame(rows)
