"""Writing a model to disk: one safetensors file, its specification as JSON in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from ..core.atomic_files import write_atomically
from ..energies.mlp import Network
from .capabilities import ModelMethod
from .record import Training
from .setting import Setting

FORMAT = 1
#: What the names of the arrays begin with that are parameters of the module, and traces of the training.
MODULE, TRACE = "module.", "training.traces."


def save_model(
    path: str | Path,
    method: ModelMethod,
    setting: Setting,
    training: Training,
    parameters: Mapping[str, torch.Tensor],
    beside: Mapping[str, torch.Tensor],
) -> None:
    """Write a model to `path` atomically: the file is whole or absent.

    Args:
        parameters: the state of its module by name. beside: what else the model knows, by name.
    """
    network = setting.network
    header = {
        "format": FORMAT,
        "method": method.name,
        "method_version": method.version,
        "tasks": [task.specification() for task in setting.tasks],
        "seeds": list(setting.seeds),
        "options": [options.model_dump(mode="json") for options in setting.options.replicates],
        "network": network.model_dump(mode="json") if isinstance(network, Network) else None,
        "budget": setting.budget.model_dump(mode="json"),
        "dtype": str(setting.dtype).removeprefix("torch."),
        "status": [[status.ok, status.step, status.reason] for status in training.status],
        "cost": [cost.model_dump(mode="json") for cost in training.cost],
    }
    arrays = {f"{MODULE}{name}": value.detach().cpu().contiguous() for name, value in parameters.items()}
    arrays["training.loss"] = training.loss.contiguous()
    arrays |= {f"{TRACE}{name}": value.contiguous() for name, value in training.traces.items()}
    arrays |= {name: value.contiguous() for name, value in beside.items()}
    write_atomically(Path(path), save(arrays, metadata={"ebm_vs_prob": json.dumps(header)}))
