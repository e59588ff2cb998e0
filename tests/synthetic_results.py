"""Tidy result tables with planted effects, in the columns of `load_results`, for the tests of verdicts and reports."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from ebm_vs_prob.core.registry import METHODS

THICKNESS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.0)
Row = dict[str, Any]
COLUMNS = [
    *("trial", "batch", "study", "scale", "task", "arm", "method", "family", "principle", "normalised", "smoothing"),
    *(
        "axis",
        "setting",
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
        "note",
        "code_digest",
    ),
]


def row(
    task: str, arm: str, thickness: float, seed: int, metric: str | None, value: float, **other: Any
) -> dict[str, Any]:
    """One row of the results table; anything not planted has a plausible value."""
    base = {
        "trial": f"{task}-{arm}-{thickness:g}-{seed}", "batch": f"{task}-{arm}", "study": "planted", "scale": "quick",
        "task": task, "arm": arm, "method": arm, "family": "ebm", "principle": "score", "normalised": False,
        "smoothing": 0.1, "axis": "thickness", "setting": thickness, "thickness": thickness, "seed": seed,
        "status": "done", "reason": "", "budget": "equal_steps",
        "steps": 1500, "metric": metric, "value": value, "error": np.nan, "unit": "1", "n": 256, "note": "",
        "code_digest": "c0de",
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
        "against": [], "tasks": ["circle"], "range": [0.003, 0.3], "at": None, "above": None, "below": None,
        "law": None, "primary": False,
    }  # fmt: skip
    return SimpleNamespace(**(defaults | given))


def study(
    *criteria: SimpleNamespace,
    claims: tuple[str, ...] = ("C11",),
    gates: tuple[SimpleNamespace, ...] = (),
    ladders: tuple[SimpleNamespace, ...] = (),
    sensitivity: tuple[SimpleNamespace, ...] = (),
) -> SimpleNamespace:
    primary = {claim: each for claim in claims for each in criteria if each.claim == claim and each.primary}
    primary = {each.claim: each for each in reversed(criteria)} | primary
    return SimpleNamespace(
        name="planted",
        claims=list(claims),
        criteria=list(criteria),
        primary_criteria=primary,
        gates=gates,
        ladders=ladders,
        sensitivity=sensitivity,
        asked_again=lambda entry: [each for each in criteria if each.id in entry.criteria],
    )


def noise(*key: float | str) -> float:
    """A standard normal number that depends on the key alone."""
    return float(np.random.default_rng([abs(hash_of(k)) for k in key]).standard_normal())


def hash_of(part: float | str) -> int:
    return int.from_bytes(str(part).encode(), "little") % (2**61)


# ---- a whole study

_UNITS = {"answer_distance_median": "unit", "tube_mass": "share", "likelihood_gap": "nats"}


def _planted_metrics(arm: str, eps: float, noisy: Callable[[float], float]) -> dict[str, float]:
    sharp = arm in ("likelihood_raw", "mixture_density", "exact")
    floor = max(eps, 1e-3)
    found = {
        "answer_distance_median": noisy(0.6 if arm == "regression" else 0.03 + 0.2 * eps),
        "sample_distance_median": noisy(0.05 + eps),
        "tube_mass": min(1.0, noisy(0.7 + 0.2 * eps)),
        "sublevel_precision": min(1.0, noisy(0.8)),
        "sublevel_coverage": min(1.0, noisy(0.9)),
        "sharpness_curvature": noisy(30.0 if sharp else 4.0),
        "weight_norm": noisy(10.0 * (floor**-0.4 if sharp else 1.0)),
        "descent_success_line_search": min(1.0, noisy(0.9)),
        "multiply_adds": 3.1e9,
        "energy_evaluations": 2.9e5,
        "seconds": noisy(1.4),
    }
    found["critical_step"] = noisy(2 * floor**2 if sharp else 0.1)
    if sharp:
        found["curvature_p95"] = noisy(floor**-2.0)
        found["likelihood_gap"] = noisy(0.1 - 0.2 * np.log(floor))
    return found


def study_results(
    study: Any, scale: str = "quick", failed: tuple[tuple[str, str, float, int], ...] = ()
) -> pd.DataFrame:
    """Results of a whole study with the effects that its criteria look for, and the failures asked for."""
    rows = []
    for grid in study.tasks:
        for arm in study.arms:
            if arm.tasks is not None and grid.name not in arm.tasks:
                continue
            method = METHODS.get(arm.method)
            family, principle, normalised = method.family, method.principle, method.normalised
            for eps in grid.settings or (0.02,):
                for seed in range(study.scales[scale].seeds):
                    told = {
                        "study": study.name, "method": arm.method, "family": family, "principle": principle,
                        "normalised": normalised, "smoothing": float(arm.options.get("sigma", 0.0)),
                    }  # fmt: skip
                    if (grid.name, arm.name, eps, seed) in failed:
                        failure = {"status": "failed", "reason": "training: step 40: loss is <nan> & more"}
                        rows.append(row(grid.name, arm.name, eps, seed, None, np.nan, **told, **failure))
                        continue
                    draw = np.random.default_rng([hash_of(grid.name), hash_of(arm.name), hash_of(eps), seed])
                    metrics = _planted_metrics(
                        arm.name, eps, lambda v, d=draw: v * float(np.exp(0.15 * d.standard_normal()))
                    )
                    if not grid.along:
                        metrics = {"energy_score": metrics["tube_mass"], "recall": metrics["sublevel_coverage"]}
                    for name, value in metrics.items():
                        unit = "share" if "success" in name or "sublevel" in name else _UNITS.get(name, "1")
                        rows.append(row(grid.name, arm.name, eps, seed, name, value, **told, unit=unit))
    return pd.DataFrame(rows, columns=COLUMNS)


def study_arrays(study: Any, side: int = 64) -> dict[tuple[str, str, float], dict[str, np.ndarray]]:
    """Landscapes, answers and samples of every arm of the circle, the three curves and the digits."""
    found: dict[tuple[str, str, float], dict[str, np.ndarray]] = {}
    rng = np.random.default_rng(0)
    axis = np.linspace(-2, 2, side, dtype=np.float32)
    first, second = np.meshgrid(axis, axis, indexing="ij")
    for grid in study.tasks:
        for arm in study.arms:
            if arm.tasks is not None and grid.name not in arm.tasks:
                continue
            for eps in grid.settings or (0.02,):
                if grid.name == "digits":
                    found[grid.name, arm.name, eps] = _digit_arrays(rng)
                    continue
                width = max(eps, 0.02) if arm.name == "exact_density" else 1.0
                if grid.kind == "circle":
                    angle = rng.vonmises(0.0, 1.0, 256)
                    data = np.stack([np.cos(angle), np.sin(angle)], 1) + eps * rng.standard_normal((256, 2))
                    x, far = np.zeros((256, 0)), np.hypot(first, second) - 1
                else:
                    x = rng.uniform(-1, 1, (256, 1))
                    data = np.sin(3 * x) + eps * rng.standard_normal((256, 1))
                    far = second - np.sin(3 * first)
                bumps = 0.1 * np.sin(9 * first) * np.cos(7 * second) * (arm.method != "exact")
                found[grid.name, arm.name, eps] = {
                    "axis_0": axis, "axis_1": axis,
                    "energy": (-np.exp(-((far / width) ** 2)) + bumps).astype(np.float32),
                    "data_x": x, "data_y": data,
                    "samples_x": x, "samples_y": data + 0.03 * rng.standard_normal(data.shape),
                    "answers_x": x[:64], "answers_y": data[:64] + 0.02,
                }  # fmt: skip
    return found


@cache
def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().data[:40] / 16.0


def _digit_arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    y = _digits()
    x = (y.reshape(-1, 4, 2, 4, 2).mean((2, 4)) > 0.4).reshape(-1, 16).astype(float)
    noisy = {f"{what}_y": y + 0.1 * rng.standard_normal(y.shape) for what in ("answers", "samples")}
    return {"data_x": x, "data_y": y, "answers_x": x, "samples_x": x, **noisy}
