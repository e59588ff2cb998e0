"""A method that trains in no time and can be told to fail; workers import this module by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.core.budget import Cost
from ebm_vs_prob.core.options import PER_REPLICATE, ExtendedFloat
from ebm_vs_prob.models.energy_model import EnergyModel
from ebm_vs_prob.models.record import ReplicateStatus, Training

Fault = Literal[
    "none", "raise", "diverge", "kill", "kill_once", "hang", "slow", "crowded", "memory", "file", "exit", "interrupt",
    "garbled", "lost_gpu",
]  # fmt: skip
#: A folder where a fault that strikes once leaves a mark.
MARKS = "STUDY_PLUGIN_MARKS"


class RingOptions(evp.MethodOptions):
    stiffness: Annotated[float, PER_REPLICATE, Field(gt=0)] = 4.0
    width: ExtendedFloat = float("inf")
    fault: Fault = "none"
    fault_seed: int = 1


def strike(fault: str, company: int) -> None:
    """What ends a training early, but for plain errors, which are raised where their line is known."""
    if fault == "kill_once" and not (mark := Path(os.environ[MARKS]) / "killed").exists():
        mark.touch()
        fault = "kill"
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "memory" or (fault == "crowded" and company > 1):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    if fault == "file":
        Path("/nonexistent/data").read_bytes()
    if fault == "exit":
        sys.exit("told to exit")
    if fault == "interrupt":
        raise KeyboardInterrupt
    if fault == "garbled":
        raise ValueError("\ud800\x1b[2J\u202e" + "x" * 20_000_000)
    if fault == "lost_gpu":
        raise RuntimeError("CUDA error: unspecified launch failure")


class RingEnergy(nn.Module):
    """E = ½ a (‖y‖ - r)², one stiffness and radius a replicate."""

    multiply_adds = 4.0

    def __init__(self, stiffness: torch.Tensor, radius: torch.Tensor) -> None:
        super().__init__()
        self.num_replicates = len(radius)
        self.stiffness = nn.Parameter(stiffness)
        self.radius = nn.Parameter(radius)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        shape = (-1,) + (1,) * (y.ndim - 2)
        distance = (y.square().sum(-1) + 1e-12).sqrt() - self.radius.reshape(shape)
        return 0.5 * self.stiffness.reshape(shape) * distance.square()


class RingModel(EnergyModel):
    @property
    def beta(self):
        return torch.ones(self.num_replicates, dtype=torch.float64)


class Ring(evp.Method):
    name = "ring"
    family = "ebm"
    principle = "regularised"
    normalised = False
    summary = "a quadratic well round the mean radius of the data"
    Options = RingOptions

    @classmethod
    def why_not(cls, task):
        return None if task.name == "circle" else "the data are not on a circle"

    @classmethod
    def build(cls, setting):
        radius = torch.ones(setting.num_replicates, dtype=setting.dtype)
        return RingModel(cls, setting, RingEnergy(setting.options.stiffness.to(setting.dtype), radius))

    @classmethod
    def train(cls, model):
        setting = model.setting
        fault, struck = setting.options.fault, setting.options.fault_seed in setting.seeds
        if struck:
            strike(fault, len(set(setting.seeds)))
        if struck and fault == "raise":
            raise RuntimeError("told to fail")
        if struck and fault == "hang":
            time.sleep(600)
        if fault == "slow":
            time.sleep(0.3)
        n = setting.budget.examples
        data = torch.stack([task.sample(n, seed)[1] for task, seed in zip(setting.tasks, setting.seeds, strict=True)])
        radius = data.norm(dim=-1).mean(-1)
        bad = [fault == "diverge" and seed == setting.options.fault_seed for seed in setting.seeds]
        radius[torch.tensor(bad)] = torch.nan
        with torch.no_grad():
            model.module.radius.copy_(radius)
        status = tuple(ReplicateStatus(False, 7, "the loss is not finite") if b else ReplicateStatus() for b in bad)
        cost = tuple(
            Cost(steps=setting.budget.steps, energy_evaluations=1.0, multiply_adds=1.0, seconds=0.1) for _ in bad
        )
        return Training(torch.zeros(len(bad), 3), status, cost)


class LonelyRing(Ring):
    name = "lonely_ring"
    batchable = False


class CarefulRing(Ring):
    name = "careful_ring"
    groups_thickness = False


REGISTERED = (Ring, LonelyRing, CarefulRing)

for method in REGISTERED:
    evp.register_method(method)
