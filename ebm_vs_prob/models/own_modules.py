"""What is asked of an energy of the user's own, held to where a model is built of it: each lack is an error by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..core.discrete_energies import DiscreteEnergy
from ..core.errors import invalid
from ..core.seeding import forked, torch_generator
from ..core.spaces import Box, Discrete
from ..core.text import printable
from ..energies.evaluation import weight_norm
from ..energies.graphs import EnumeratedEnergy
from ..energies.replicated import Replicated

if TYPE_CHECKING:
    from .setting import Setting

#: Examples at which an energy is tried, and answers beside each: two numbers that a shape cannot mistake for another.
_EXAMPLES, _ANSWERS = 3, 2


class Called(nn.Module):
    """A user's module that is called otherwise than it is written, such as with labels as vectors.

    Args:
        energy: the user's.
    """

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy


def users_own(energy: nn.Module) -> nn.Module:
    """The user's module behind a replicated energy or a module that is called otherwise."""
    if isinstance(energy, EnumeratedEnergy):
        return users_own(energy.energy)
    if isinstance(energy, Replicated):
        return users_own(energy.template)
    return users_own(energy.energy) if isinstance(energy, Called) else energy


def named(module: nn.Module) -> str:
    """What an error calls a module: the class's name as its file has it."""
    return f"energy {type(users_own(module)).__qualname__}"


def missing(module: nn.Module, what: str, valid: str) -> ValueError:
    """The error for what a module lacks."""
    return ValueError(f"{named(module)}: {what} is missing: expected {valid}")


def check_native(module: nn.Module, replicates: int) -> None:
    """Check what a module that says `num_replicates` has to say of itself.

    Raises:
        ValueError: another number of replicates, `multiply_adds` that is missing or no number, parameters without a
            first axis for replicates, or none that is trained.
    """
    native: Any = module.num_replicates
    if type(native) is not int or native != replicates:
        raise invalid(f"{named(module)}: num_replicates", native, f"{replicates}, the number of seeds")
    cost, valid = getattr(module, "multiply_adds", None), "a finite number >= 0, of one energy of one example"
    if cost is None:
        raise missing(module, "multiply_adds", valid)
    if not isinstance(cost, Real) or not 0 <= float(cost) < math.inf:
        raise invalid(f"{named(module)}: multiply_adds", cost, valid)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 0 or len(parameter) != replicates:
            shape = f"({replicates}, ...): its first axis is that of replicates"
            raise invalid(f"{named(module)}: shape of parameter {name}", tuple(parameter.shape), shape)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise missing(
            module, "a parameter that requires grad", "one or more, of shape (R, ...): nothing is to be trained"
        )


def check_alike(modules: Sequence[nn.Module]) -> None:
    """Check that modules, one a seed, can be stacked.

    Raises:
        ValueError: one without `forward` or parameters, or whose parameters have other shapes than the first's.
    """
    shapes = [{name: tuple(p.shape) for name, p in module.named_parameters()} for module in modules]
    for module, own in zip(modules, shapes, strict=True):
        if getattr(users_own(module).forward, "__name__", "") == "_forward_unimplemented":
            raise missing(module, "forward", "forward(x, y), which gives an energy for each example")
        if not own:
            raise missing(module, "a parameter", "one nn.Parameter or more: nothing is to be trained")
        if own != shapes[0]:
            raise invalid(f"{named(module)}: shapes of parameters", own, f"those of the first seed's, {shapes[0]}")


def check_energy(energy: nn.Module, setting: Setting) -> None:
    """Try a replicated energy of real vectors at a few points: what it gives, how it broadcasts, its gradient in y.

    Raises:
        ValueError: anything but a tensor of energies (R, *n) in the setting's dtype, differentiable in y.
    """
    x, y = _points(setting)
    count = setting.num_replicates

    def check() -> None:
        point = y.clone().requires_grad_()
        value = _energies(energy, lambda: energy(x, point), (count, _EXAMPLES), setting.dtype)
        if not value.requires_grad or torch.autograd.grad(value.sum(), point, allow_unused=True)[0] is None:
            raise missing(energy, "the gradient of forward(x, y) in y", "energies that are differentiable in y")
        several = y[:1].unsqueeze(2).expand(-1, -1, _ANSWERS, -1)
        shape = (count, _EXAMPLES, _ANSWERS)
        _energies(energy, lambda: energy(x.unsqueeze(2), several), shape, setting.dtype)
        if getattr(energy, "energy_and_gradient", None) is not None:
            _check_own_gradient(energy, x, y, (count, _EXAMPLES))

    _tried(energy, setting, check)
    _check_norm(energy, count)


def check_graph(energy: nn.Module, setting: Setting, space: Discrete) -> None:
    """Try a replicated energy of symbols at a few points: its graph, and energies of given answers.

    Raises:
        ValueError: anything but a graph of the space's answers in a batch (R, n), and energies (R, n) in the setting's
            dtype.
    """
    x, _ = _points(setting)
    symbols = torch.arange(_EXAMPLES, dtype=torch.int64, device=setting.device).reshape(1, -1, 1) % space.num_values
    y = space.from_variables(symbols.expand(-1, -1, space.num_variables))
    count = setting.num_replicates

    def check() -> None:
        graph = _run(energy, "graph(x)", lambda: energy.graph(x))  # type: ignore[operator]
        if not isinstance(graph, DiscreteEnergy):
            raise invalid(f"{named(energy)}: graph(x)", graph, "an evp.FactorGraph")
        variables = (graph.num_variables, graph.num_values)
        if variables != (space.num_variables, space.num_values):
            valid = f"{(space.num_variables, space.num_values)}, those of the answers"
            raise invalid(f"{named(energy)}: symbols and values of graph(x)", variables, valid)
        batch = torch.broadcast_shapes(graph.batch_shape, (1, 1))
        if batch != (count, _EXAMPLES):
            raise invalid(f"{named(energy)}: batch of graph(x)", tuple(batch), f"{(count, _EXAMPLES)}, as (R, n)")
        _energies(energy, lambda: energy(x, y), (count, _EXAMPLES), setting.dtype)

    _tried(energy, setting, check)
    _check_norm(energy, count)


def _points(setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y (R, n, d) in the setting's dtype from their boxes, the same for every replicate; no y of symbols."""
    task, shape = setting.tasks[0], (1, _EXAMPLES)
    generator = torch_generator(0, "trial")
    found = [
        setting.placed(space.uniform(shape, generator), space).expand(setting.num_replicates, -1, -1)
        if isinstance(space, Box)
        else torch.empty(0, dtype=setting.dtype, device=setting.device)
        for space in (task.x_space, task.y_space)
    ]
    return found[0], found[1]


def _tried(energy: nn.Module, setting: Setting, check: Callable[[], None]) -> None:
    """Run a check that leaves neither the module nor a generator other than it was."""
    modes = [(part, part.training) for part in energy.modules()]
    try:
        energy.eval()
        with forked(0, setting.device), torch.enable_grad():
            check()
    finally:
        for part, training in modes:
            part.training = training


def _run(energy: nn.Module, what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{what} fails: {type(error).__name__}: "
        raise ValueError(f"{named(energy)}: {kind}{printable(error)}") from error


def _energies(energy: nn.Module, call: Callable[[], Any], shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    value = _run(energy, "forward(x, y)", call)
    if not isinstance(value, torch.Tensor):
        raise invalid(f"{named(energy)}: forward(x, y)", value, "a tensor of energies")
    if tuple(value.shape) != shape:
        valid = f"{shape}: (R, *n), one number a replicate and example"
        raise invalid(f"{named(energy)}: shape of forward(x, y)", tuple(value.shape), valid)
    if value.dtype != dtype:
        raise invalid(f"{named(energy)}: dtype of forward(x, y)", value.dtype, f"{dtype}, that of x and the parameters")
    return value


def _check_own_gradient(energy: nn.Module, x: torch.Tensor, y: torch.Tensor, shape: tuple[int, ...]) -> None:
    what = "energy_and_gradient(x, y)"
    found = _run(energy, what, lambda: energy.energy_and_gradient(x, y))  # type: ignore[operator]
    pair = isinstance(found, tuple) and len(found) == 2 and all(isinstance(each, torch.Tensor) for each in found)
    shapes = [tuple(each.shape) for each in found] if pair else found
    if shapes != [shape, (*shape, y.shape[-1])]:
        valid = f"energies {shape} and their gradient in y {(*shape, y.shape[-1])}"
        raise invalid(f"{named(energy)}: {what}", shapes, valid)


def _check_norm(energy: nn.Module, count: int) -> None:
    norm = _run(energy, "weight_norm()", lambda: weight_norm(energy))
    if not isinstance(norm, torch.Tensor) or tuple(norm.shape) != (count,):
        shape = tuple(norm.shape) if isinstance(norm, torch.Tensor) else norm
        raise invalid(f"{named(energy)}: weight_norm()", shape, f"one number a replicate, ({count},)")
