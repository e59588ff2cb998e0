# ruff: noqa: RUF001
"""Tables of how a study's arms came to be what is judged: their gates, budget ladders, and what was tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..study.gates import at_gates
from ..study.ladders import climbed
from .inputs import Inputs
from .style import in_words, place, plain, quantity, span, with_interval

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
    "tuning": (
        "Tuning",
        "Every value that was tried for an arm, at seeds of its own, with the score by which one was chosen: the mean "
        "of the arm's validation objective over seeds, tasks and settings, geometric where it spans decades.",
    ),
}


def training_tables(inputs: Inputs) -> dict[str, pd.DataFrame]:
    """Those of the tables that have a row, by name."""
    made = {"gates": gates_table(inputs), "ladders": ladders_table(inputs), "tuning": tuning_table(inputs)}
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
