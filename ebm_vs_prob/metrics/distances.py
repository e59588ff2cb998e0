"""Distance of answers and of samples to the truth's answer set, and the share of samples in the truth's tube."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .measurement import Group, Measurement, named, quantile, scaled, share
from .observation import Observation

_QUANTILES = {"median": 0.5, "p95": 0.95}


def _quantiles(observed: Observation, stem: str, distance: np.ndarray) -> dict[str, Measurement]:
    thickness = observed.thickness
    per_thickness = np.divide(1.0, thickness, out=np.full(thickness.shape, np.nan), where=thickness > 0)
    note = "thickness = 0 is no unit of length" if (thickness == 0).any() else ""
    rows = distance.reshape(len(distance), -1)
    result = {}
    for name, q in _QUANTILES.items():
        raw = quantile(rows, q)
        result[f"{stem}_{name}"] = raw
        result[f"{stem}_{name}_in_thickness"] = scaled(raw, per_thickness, note)
    return result


def _of_chains(observed: Observation, measured: dict[str, Measurement]) -> dict[str, Measurement]:
    """The same with the diagnostics of the chains that the samples end."""
    own = observed.samples_note
    return {name: replace(m, note="; ".join(filter(None, (m.note, own)))) for name, m in measured.items()}


def answer_distance(observed: Observation) -> dict[str, Measurement]:
    """Quantiles over inputs and starts of the distance from the answers of line search to the answer set."""
    return _quantiles(observed, "answer_distance", observed.answer_distance)


def sample_distance(observed: Observation) -> dict[str, Measurement]:
    """Quantiles over inputs and draws of the distance from the model's samples to the answer set."""
    return _of_chains(observed, _quantiles(observed, "sample_distance", _of_samples(observed)))


def best_sample_distance(observed: Observation) -> dict[str, Measurement]:
    """Quantiles of the distance to the answer set of the draw of least energy among as many as there are `starts`."""
    return _of_chains(observed, _quantiles(observed, "best_sample_distance", _of_best_samples(observed)))


def best_sample_success(observed: Observation) -> dict[str, Measurement]:
    """Share of those draws that are near the answer set: what sampling answers with as many draws as descent starts."""
    distance = _of_best_samples(observed).reshape(observed.replicates, -1)
    hits = np.where(np.isnan(distance).any(axis=1, keepdims=True), np.nan, distance <= observed.target[:, None])
    return _of_chains(observed, {"best_sample_success": share(hits)})


def _of_best_samples(observed: Observation) -> np.ndarray:
    """Distances (R, K or 1, groups) of the draws of least energy, of each `starts` draws of one x."""
    draws, each = observed.samples, min(observed.evaluation.starts, observed.samples.shape[2])
    groups = draws.shape[2] // each
    distance = _of_samples(observed)[:, :, : groups * each]
    energy = observed.energy(draws)[:, :, : groups * each]
    energy, distance = (value.reshape(*value.shape[:2], groups, each) for value in (energy, distance))
    best = np.where(np.isnan(energy), np.inf, energy).argmin(-1)
    found: np.ndarray = np.take_along_axis(distance, best[..., None], -1)[..., 0]
    return found


def tube_mass(observed: Observation) -> dict[str, Measurement]:
    """Share of the model's samples within the radius that holds .99 of the truth, .05 at thickness 0."""
    radius = observed.tube[:, None]
    distance = _of_samples(observed).reshape(observed.replicates, -1)
    hits = np.where(np.isnan(distance), np.nan, distance <= radius)
    return _of_chains(observed, {"tube_mass": share(hits)})


def _of_samples(observed: Observation) -> np.ndarray:
    return observed.distance(observed.distinct_inputs, observed.samples)


def _names(stem: str) -> tuple[str, ...]:
    return tuple(f"{stem}_{q}{unit}" for q in _QUANTILES for unit in ("", "_in_thickness"))


GROUPS = (
    Group(named(*_names("answer_distance")), answer_distance),
    Group(named(*_names("sample_distance")), sample_distance),
    Group(named(*_names("best_sample_distance")), best_sample_distance),
    Group(named("best_sample_success"), best_sample_success),
    Group(named("tube_mass"), tube_mass),
)
