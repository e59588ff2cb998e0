"""Tidy result tables with planted effects, in the columns of `load_results`, for the tests of verdicts and reports."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

THICKNESS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.0)
COLUMNS = [
    "trial",
    "batch",
    "study",
    "scale",
    "task",
    "arm",
    "method",
    "family",
    "principle",
    "normalised",
    "smoothing",
    "thickness",
    "seed",
    "status",
    "reason",
    "budget",
    "steps",
    "metric",
    "value",
    "error",
    "unit",
    "n",
]


def row(
    task: str, arm: str, thickness: float, seed: int, metric: str | None, value: float, **other: Any
) -> dict[str, Any]:
    """One row of the results table; anything not planted has a plausible value."""
    base = {
        "trial": f"{task}-{arm}-{thickness:g}-{seed}", "batch": f"{task}-{arm}", "study": "planted", "scale": "quick",
        "task": task, "arm": arm, "method": arm, "family": "ebm", "principle": "score", "normalised": False,
        "smoothing": 0.1, "thickness": thickness, "seed": seed, "status": "done", "reason": "", "budget": "quick",
        "steps": 1500, "metric": metric, "value": value, "error": np.nan, "unit": "1", "n": 256,
    }  # fmt: skip
    return base | other


def table(
    plant: Callable[[str, float, int], float | None],
    metric: str,
    arms: tuple[str, ...],
    seeds: int = 10,
    thickness: tuple[float, ...] = THICKNESS,
    task: str = "circle",
) -> pd.DataFrame:
    """Results of one metric: `plant(arm, thickness, seed)` is its value, None a failed trial."""
    rows = []
    for arm in arms:
        for eps in thickness:
            for seed in range(seeds):
                value = plant(arm, eps, seed)
                if value is None:
                    rows.append(
                        row(task, arm, eps, seed, None, np.nan, status="failed", reason="training: step 7: NaN")
                    )
                else:
                    rows.append(row(task, arm, eps, seed, metric, value))
    return pd.DataFrame(rows, columns=COLUMNS)


def criterion(**given: Any) -> SimpleNamespace:
    """A criterion with every attribute that verdicts read."""
    defaults: dict[str, Any] = {
        "id": "K1", "claim": "C11", "statement": "planted", "kind": "slope", "metric": "m", "arms": ["a"],
        "against": [], "tasks": ["circle"], "range": [0.003, 0.3], "thickness": None, "above": None, "below": None,
        "law": None, "choose_step_at": None,
    }  # fmt: skip
    return SimpleNamespace(**(defaults | given))


def study(*criteria: SimpleNamespace, claims: tuple[str, ...] = ("C11",)) -> SimpleNamespace:
    return SimpleNamespace(name="planted", claims=list(claims), criteria=list(criteria))


def noise(*key: float | str) -> float:
    """A standard normal number that depends on the key alone."""
    return float(np.random.default_rng([abs(hash_of(k)) for k in key]).standard_normal())


def hash_of(part: float | str) -> int:
    return int.from_bytes(str(part).encode(), "little") % (2**61)
