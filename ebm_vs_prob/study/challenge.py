"""A new method beside the strongest arm of each family, on a standard panel that is itself a study.

For every metric, task and setting the rival is, of each family, the arm that does best there by its mean over seeds. It
is chosen by the same results, which favours the rivals by as much as chance lets the best of two look better.
"""

from __future__ import annotations

import json
import pkgutil
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import invalid
from ..core.registry import METHODS, TASKS
from ..metrics.catalogue import METRICS
from .comparisons import series
from .consistency import PRIMARY_BUDGET, check_references
from .criteria import Criterion
from .effects import EFFECTS, effect_test
from .files import load_study
from .schema import Study
from .statistics import ALPHA, sign_p_value
from .tuning import settled
from .values import from_table
from .verdicts import Verdict

if TYPE_CHECKING:
    import pandas as pd

CHALLENGER = "challenger"
SCALE = "panel"
PANELS = ("real", "discrete")


@dataclass(frozen=True)
class Round:
    """The challenger beside the best arm of one family, at one setting.

    `effect` is a ratio or a difference, as `kind` says. The challenger wins, ties or fails as the interval of level .95
    lies on its side of no difference, on both or on the other. Where it has no value for some seeds that the rival has
    one for, it wins only if the sign test that counts these against it says so too; where all of its trainings failed
    it fails, and where it has no such number, as a regression has no density, the outcome is "no value".
    """

    metric: str
    task: str
    setting: float
    family: str
    rival: str
    kind: str
    effect: float
    low: float
    high: float
    seeds: int
    outcome: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: NaN is None."""
        found = asdict(self)
        return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in found.items()}


def panel(method: str, plugins: tuple[str, ...] = (), folder: Path | None = None) -> tuple[Study, str]:
    """The standard panel with a registered method as its challenger, and the TOML that it is read from.

    Args:
        plugins: modules that register it. folder: where they lie.

    Raises:
        ValueError: the method applies to no task of any panel, with its reasons.
    """
    kind = METHODS.get(method)
    reasons = []
    for name in PANELS:
        text = panel_text(name)
        table = tomllib.loads(text)
        applies = []
        for grid in table["tasks"]:
            reason = kind.why_not(TASKS.get(grid["name"])())
            applies += [] if reason else [grid["name"]]
            reasons += [f"{grid['name']}: {reason}"] if reason else []
        if applies:
            whole = _with_challenger(text, method, plugins, None if len(applies) == len(table["tasks"]) else applies)
            where = f"panel {name} with {method}"
            study = from_table(Study, tomllib.loads(whole), where)
            if folder is not None:
                study = study.read_from(folder / f"{study.name}.toml", study.name)
            check_references(study)
            return study, whole
    raise invalid("method", method, f"one that applies to a task of a panel ({'; '.join(reasons)})")


def panel_text(name: str) -> str:
    """The TOML of a panel without a challenger; what it takes of a study, its table `as_in`, is written out."""
    data = pkgutil.get_data(__package__ or "", f"panels/{name}.toml")
    assert data is not None
    text = data.decode("utf-8")
    found = re.search(r"^\[as_in\]\n(?:.+\n)+", text, re.MULTILINE)
    if found is None:
        return text
    asked = tomllib.loads(found[0])["as_in"]
    return text.replace(found[0], _as_in(load_study(asked["study"]), asked["scale"], asked["arms"]))


def _as_in(study: Study, name: str, arms: Sequence[str]) -> str:
    """The scale of a panel and its rivals, as a study has them at one of its scales, in TOML."""
    study, scale = settled(study, name), study.at(name)
    shared = {
        "seeds": scale.seeds,
        "network": scale.network,
        "budget": scale.budget,
        "evaluation": {**study.evaluation, **scale.evaluation},
    }
    tables = [f"[scales.{SCALE}]", *(f"{key} = {_toml(value)}" for key, value in shared.items())]
    for arm in map(study.arm, arms):
        own = {"name": arm.name, "label": arm.title, "method": arm.method, "options": arm.options}
        own |= {"network": arm.network} if arm.network else {}
        tables += ["", "[[arms]]", *(f"{key} = {_toml(value)}" for key, value in own.items())]
    return "\n".join(tables) + "\n"


def _toml(value: Any) -> str:
    """A value on one line; JSON strings, numbers and booleans are TOML's too."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, (list, tuple)) else json.dumps(value)


def _with_challenger(text: str, method: str, plugins: tuple[str, ...], tasks: list[str] | None) -> str:
    """The panel's TOML, named after the method, with its arm at the end; JSON strings and lists are TOML's too."""
    name = f"challenge_{method.lower()}"[:64]
    own = f'name = "{name}"' + (f"\nplugins = {json.dumps(list(plugins))}" if plugins else "")
    arm = f'\n[[arms]]\nname = "{CHALLENGER}"\nlabel = {json.dumps(method)}\nmethod = {json.dumps(method)}\n'
    return text.replace('name = "challenge"', own, 1) + arm + (f"tasks = {json.dumps(tasks)}\n" if tasks else "")


def rounds(study: Study, results: pd.DataFrame, scale: str = SCALE) -> list[Round]:
    """Every criterion of a panel, task, setting and family, in this order."""
    rows = results[results["budget"] == PRIMARY_BUDGET]
    seeds = study.at(scale).all_seeds
    return [
        found
        for criterion in study.criteria
        for task in criterion.tasks
        for setting in _settings(rows[rows["task"] == task])
        for found in _rounds(criterion, task, setting, rows[rows["task"] == task], seeds)
    ]


def _settings(rows: pd.DataFrame) -> list[float]:
    return sorted({float(value) for value in rows["setting"].dropna()}, reverse=True)


def _rounds(criterion: Criterion, task: str, setting: float, rows: pd.DataFrame, seeds: range) -> Iterator[Round]:
    here = rows[(rows["arm"] == CHALLENGER) & np.isclose(rows["setting"].astype(float), setting, equal_nan=True)]
    if here.empty:
        return
    own = series(here, criterion.metric, setting, seeds)
    without = "no value" if (here["status"] == "done").any() else "fails"
    families = dict(rows[["arm", "family"]].drop_duplicates().itertuples(index=False, name=None))
    test = effect_test(criterion.kind, criterion.metric, criterion.statistic)
    lower = criterion.below is not None
    for family in dict.fromkeys(families[arm] for arm in criterion.against if arm in families):
        arms = [arm for arm in criterion.against if families.get(arm) == family]
        values = {arm: series(rows[rows["arm"] == arm], criterion.metric, setting, seeds) for arm in arms}
        means = {arm: _mean(criterion.metric, value) for arm, value in values.items()}
        counts = {arm: int(np.isfinite(value).sum()) for arm, value in values.items()}
        known = {arm: mean for arm, mean in means.items() if np.isfinite(mean) and counts[arm] == max(counts.values())}
        if not known:
            continue
        rival = (min if lower else max)(known, key=known.__getitem__)
        failed = int((np.isfinite(values[rival]) & ~np.isfinite(own)).sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            effect = EFFECTS[criterion.kind](own, values[rival])
        effect = effect[np.isfinite(effect) & ((effect > 0) | (not test.positive))]
        estimate = test.estimate(effect)
        bound = float(criterion.below if criterion.below is not None else criterion.above or 0.0)
        inside, outside = (
            (estimate.high < bound, estimate.low > bound) if lower else (estimate.low > bound, estimate.high < bound)
        )
        if failed and inside:
            inside = sign_p_value(effect, failed, bound, "less" if lower else "greater") <= ALPHA / 2
        outcome = "wins" if inside else "fails" if outside else "ties" if np.isfinite(own).any() else without
        yield Round(
            criterion.metric, task, setting, family, rival, criterion.kind,
            estimate.value, estimate.low, estimate.high, len(effect), outcome,
        )  # fmt: skip


def _mean(metric: str, values: np.ndarray) -> float:
    """Mean over seeds, of what spans decades the geometric one."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    if METRICS[metric].scale == "log" and (known > 0).all():
        return float(np.exp(np.log(known).mean()))
    return float(known.mean())


def summary(method: str, found: list[Round], verdicts: list[Verdict]) -> str:
    """One page in Markdown: the sentence, the table, how it is to be read."""
    counts = Counter(each.outcome for each in found)
    without = f", and has no value in {counts['no value']}" if counts["no value"] else ""
    lines = [
        f"# {method} on the standard panel",
        "",
        f"{method} wins {counts['wins']}, ties {counts['ties']} and fails {counts['fails']} of {len(found)} "
        f"comparisons with the best arm of each family{without}.",
        "",
        "| metric | task | setting | family | best of it | effect, 95 % interval | seeds | outcome |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        sign = "x" if each.kind == "ratio" else ""
        effect = f"{sign}{each.effect:.3g} [{each.low:.3g}, {each.high:.3g}]" if np.isfinite(each.effect) else "none"
        cells = (METRICS[each.metric].label, each.task, f"{each.setting:g}", each.family, each.rival, effect)
        lines.append(f"| {' | '.join(cells)} | {each.seeds} | {each.outcome} |")
    lines += [
        "",
        "Effects are the method's over the rival's (x) or less the rival's, paired over seeds. The rival is the arm of",
        "its family that does best there, chosen by the same results. Intervals are not corrected for their number.",
        "",
        "Corrected by Holm, against every rival and at all settings together:",
        "",
    ]
    lines += [f"- {v.label}: {v.criterion}: {v.verdict} ({v.reason})" for v in verdicts if v.scope == "comparison"]
    return "\n".join(lines) + "\n"
