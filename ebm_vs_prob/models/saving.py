"""Writing a model to disk: one safetensors file, its specification as JSON in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors.torch import save

from ..energies.mlp import Network
from .model import EnergyModel, Model


def save_model(model: Model, path: str | Path) -> None:
    """Write a model to `path` atomically: the file is whole or absent."""
    setting = model.setting
    network = setting.network
    header = {
        "format": FORMAT,
        "method": model.method.name,
        "method_version": model.method.version,
        "tasks": [task.specification() for task in setting.tasks],
        "seeds": list(setting.seeds),
        "options": [options.model_dump(mode="json") for options in setting.options.replicates],
        "network": network.model_dump(mode="json") if isinstance(network, Network) else None,
        "budget": setting.budget.model_dump(mode="json"),
        "dtype": str(setting.dtype).removeprefix("torch."),
        "status": [[status.ok, status.step, status.reason] for status in model.status],
        "cost": [cost.model_dump(mode="json") for cost in model.cost],
    }
    arrays = {f"module.{name}": value.detach().cpu().contiguous() for name, value in model.module.state_dict().items()}
    arrays["training.loss"] = model.training.loss.contiguous()
    arrays |= {f"{_TRACE}{name}": value.contiguous() for name, value in model.training.traces.items()}
    if isinstance(model, EnergyModel) and model._beta is not None:
        arrays["beta"] = model._beta.contiguous()
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(save(arrays, metadata={"ebm_vs_prob": json.dumps(header)}))
    os.replace(temporary, target)


FORMAT = 1


_TRACE = "training.traces."
