"""`fit`: one call from (method, task) to a Model of R replicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..core.budget import Budget
from ..core.errors import invalid, unknown
from ..core.options import OptionBatch
from ..core.process_state import default_state
from ..core.registry import METHODS
from ..core.seeding import check_seed
from ..energies.mlp import Network
from ..models.setting import Setting, same_spaces
from ..tasks.base import Task
from .method import Method

if TYPE_CHECKING:
    from torch import nn

    from ..models.model import Model

FAMILIES = ("ebm", "prob", "control")


def get_method(name: str) -> type[Method]:
    """The registered method of that name; a `LookupError` with the nearest valid one where there is none."""
    method: type[Method] = METHODS.get(name)
    return method


def list_methods(family: str | None = None) -> list[type[Method]]:
    """Every registered method class, or those of one family; each has `.name`, `.family`, `.principle`, `.Options`.

    Raises:
        LookupError: an unknown family.
    """
    if family is not None and family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    return [method for method in METHODS.entries() if family in (None, method.family)]


def register_method(method: type[Method]) -> type[Method]:
    """Class decorator that registers a method under its `name`."""
    if getattr(method, "family", None) not in FAMILIES:
        raise invalid(f"{method.__qualname__}.family", getattr(method, "family", None), f"one of {', '.join(FAMILIES)}")
    return METHODS.register(method)


@default_state(differentiable=True)
def fit(
    method: str | type[Method],
    task: Task | Sequence[Task],
    seeds: Sequence[int] = (0,),
    *,
    energy: Callable[[Task], nn.Module] | None = None,
    network: Network | None = None,
    budget: Budget | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    compile: bool = False,
    **options: Any,
) -> Model:
    """Train R = len(seeds) replicates of a method together.

    Args:
        method: a registered name, or a method class.
        task: one task for all replicates, or one a replicate (same spaces, other numbers such as the thickness).
        seeds: one a replicate. Data, initialisation, minibatches and noise of a replicate follow from its seed alone.
        energy: maps a task to an `nn.Module` with `forward(x (n, dx), y (n, dy)) -> (n,)`, in place of `network`.
        network: the trunk, two hidden layers of 32 units by default.
        budget: what a replicate may spend.
        dtype: float32 or float64 (for a thickness below 1e-3).
        device: "cpu", "cuda" or "cuda:k".
        compile: compile the training step as a whole; pays after thousands of steps.
        options: the method's own, each a scalar or (where the schema says so) one a replicate.

    Raises:
        LookupError: an unknown method or option.
        ValueError: a bad value, tasks whose spaces differ, or a method that does not apply to the task.
    """
    chosen = get_method(method) if isinstance(method, str) else method
    if not (isinstance(chosen, type) and issubclass(chosen, Method)):
        raise invalid("method", method, "a registered name, or a method class")
    setting = prepare(
        chosen,
        task,
        seeds,
        energy=energy,
        network=network,
        budget=budget or Budget(),
        dtype=dtype,
        device=device,
        compile=compile,
        options=options,
    )
    return chosen.fit(setting)


def prepare(
    method: type[Method],
    task: Task | Sequence[Task],
    seeds: Sequence[int],
    *,
    energy: Callable[[Task], nn.Module] | None,
    network: Network | None,
    budget: Budget,
    dtype: torch.dtype,
    device: str,
    compile: bool,
    options: Mapping[str, Any],
) -> Setting:
    """Everything a fit needs, checked; arguments and errors are those of `fit`."""
    if isinstance(seeds, (int, str)) or not isinstance(seeds, Iterable):
        raise invalid("seeds", seeds, "a sequence of integers")
    seeds = tuple(check_seed(seed, f"seeds[{i}]") for i, seed in enumerate(seeds))
    if not seeds:
        raise invalid("seeds", seeds, "at least one seed")
    if isinstance(task, str) or not isinstance(task, (Task, Iterable)):
        raise invalid("task", task, "a task, such as get_task('circle'), or a list of tasks")
    tasks = (task,) * len(seeds) if isinstance(task, Task) else tuple(task)
    if len(tasks) != len(seeds) or not all(isinstance(item, Task) for item in tasks):
        raise invalid("task", task, f"one task, or a list of {len(seeds)}, one for each seed")
    same_spaces(tasks)
    chosen = OptionBatch.from_given(method.Options, options, len(seeds), method.name)
    for own, each in zip(chosen.replicates, tasks, strict=True):
        reason = method.why_not_with(own, each)
        if reason is not None:
            raise invalid("method", method.name, f"a method that applies to {each.name}: {reason}")
    if not method.batchable and len(seeds) > 1:
        raise invalid("seeds", seeds, f"one seed: {method.name} trains one replicate at a time")
    if energy is not None and network is not None:
        raise invalid("network", network, "None where an energy is given")
    if network is not None and not isinstance(network, Network):
        raise invalid("network", network, "a Network, such as Network(hidden=(32, 32))")
    if not isinstance(budget, Budget):
        raise invalid("budget", budget, "a Budget, such as Budget(steps=500)")
    if dtype not in (torch.float32, torch.float64):
        raise invalid("dtype", dtype, "torch.float32 or torch.float64")
    return Setting(
        tasks=tasks,
        seeds=seeds,
        options=chosen,
        network=energy or network or Network(),
        budget=budget,
        dtype=dtype,
        device=_checked_device(device),
        compile=compile,
    )


def _checked_device(device: str) -> str:
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError):
        raise invalid("device", device, "'cpu', 'cuda' or 'cuda:k'") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise invalid("device", device, "'cpu': this machine has no CUDA device")
    if kind not in ("cpu", "cuda"):
        raise invalid("device", device, "'cpu', 'cuda' or 'cuda:k'")
    return device
