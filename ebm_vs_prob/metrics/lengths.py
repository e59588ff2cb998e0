"""Strings read off strips that are longer than those of training: by the same weights, on the same windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.seeding import stream
from ..models.capabilities import ReadsAnyLength
from .measurement import Group, Measurement, mean, named
from .observation import Observation

#: How many times as long the strips are.
TIMES = 3


def hamming_distance_long(observed: Observation) -> dict[str, Measurement]:
    """Symbols that are wrong on strips three times as long as those of training, of all.

    The task's own strips, drawn anew: the first `inputs` of each replicate.
    """
    model, tasks = observed.model, observed.tasks
    if tasks[0].strip is None:
        raise NotMeasured(f"{tasks[0].name}: x is no strip")
    if not isinstance(model, ReadsAnyLength):
        raise NotMeasured(f"{model.method.name} reads strips of one length")
    longer: Any = [type(task)(**{**task.options.model_dump(), "length": TIMES * task.options.length}) for task in tasks]
    if any(task.specification() != longer[0].specification() for task in longer):
        raise NotMeasured("replicates of several tasks, which would not be read together")
    seeds = [stream(observed.evaluation.seed, "longer strips", seed) for seed in model.seeds]
    pairs = [longer[0].sample(observed.evaluation.inputs, seed=seed, split="test") for seed in seeds]
    x, y = (torch.stack(part) for part in zip(*pairs, strict=True))
    found = model.for_task(longer[0]).infer(x, 1)
    wrong = (found.y[:, :, 0].cpu() != y).double().mean(2).numpy()
    known = found.energy[:, :, 0].isfinite().any(1).cpu().numpy()
    return {"hamming_distance_long": mean(wrong + np.where(known, 0.0, np.nan)[:, None])}


GROUPS = (Group(named("hamming_distance_long"), hamming_distance_long),)
