"""From a setting to its replicated energy, head or decoder: the package's own networks, or the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from ..core.errors import invalid
from ..core.seeding import forked, stream
from ..core.spaces import Box, Discrete, Labels, Sequences
from ..core.strips import StripShape
from ..energies.bump import BumpEnergy
from ..energies.decoders import AngleDecoder, Decoder, DecoderName, LinearDecoder, MLPDecoder, PeriodicDecoder
from ..energies.graphs import ChainEnergy, EnumeratedEnergy
from ..energies.lattices import StripEnergy
from ..energies.mlp import MLPEnergy, Network, ReplicatedMLP
from ..energies.replicated import Replicated
from ..energies.strings import StringEnergy
from ..tasks.latents import HasLinearMap
from .own_modules import Called, check_alike, check_energy, check_graph, check_native
from .setting import box_dims

if TYPE_CHECKING:
    from ..tasks.base import Task
    from .setting import Setting

#: Why a decoder has no learned scale: a density has one already, and the energy loss is the less the smaller it is.
OF_DECODERS = (
    "½ |y - g(x, z)|² of a density has its scale, 1/σ², and a loss of energies at the data alone would be least at a "
    "scale of 0: the model's beta is fitted to how sharp it is"
)


def build_energy(setting: Setting, level: bool = False) -> nn.Module:
    """The setting's replicated energy on its device, in its dtype: the package's own network, or the user's.

    The network's last bias, the energy's level, stays 0 unless `level` says that the objective sees it: one that sees
    only differences leaves it a gradient of rounding errors, which Adam would scale up to a random walk.
    """
    network = setting.network
    if not isinstance(network, Network):
        own = replicated(network, setting.tasks, setting.seeds).to(device=setting.device, dtype=setting.dtype)
        check_energy(own, setting)
        return own
    if network.form == "bump":
        _, y_dim = box_dims(setting)
        energy: nn.Module = BumpEnergy(build_head(setting, 2 * y_dim), y_dim, level)
    else:
        energy = MLPEnergy(setting.seeds, *box_dims(setting), network)
        if not level:
            nn.init.zeros_(energy.trunk.biases[-1]).requires_grad_(False)
    return energy.to(device=setting.device, dtype=setting.dtype)


def unscaled(network: Network, why: str = "this method's network gives no energy that could be scaled") -> Network:
    """A network that has no scale to learn, and the reason.

    Raises:
        ValueError: it is to learn one.
    """
    if network.learned_scale:
        raise invalid("network.learned_scale", True, f"False: {why}")
    return network


def build_head(setting: Setting, outputs: int) -> ReplicatedMLP:
    """The shared trunk on x alone with `outputs` numbers in place of the energy.

    Raises:
        ValueError: the fit was given an energy of the user's, whose head cannot be replaced, or a scale to learn.
    """
    if not isinstance(setting.network, Network):
        raise invalid("energy", setting.network, "None: this method replaces the trunk's head, so it needs a Network")
    dx, _ = box_dims(setting)
    network = unscaled(setting.network)
    head = ReplicatedMLP(setting.seeds, (dx, *network.hidden, outputs), network.activation)
    return head.to(device=setting.device, dtype=setting.dtype)


def replicated(
    factory: Callable[[Task], nn.Module],
    tasks: Sequence[Task],
    seeds: Sequence[int],
    widths: tuple[int, int] | None = None,
) -> nn.Module:
    """One replicated energy from a factory called once for each task, each call under its own replicate's seed.

    A module that already says `num_replicates` (a replicate-native one) is taken as it is, from the first call.
    `widths` are those of what `forward` takes, for counting; those of x and y by default.

    Raises:
        ValueError: the factory does not give an `nn.Module`, or one that lacks what `check_native` or `check_alike`
            ask for.
    """
    modules = []
    for task, seed in zip(tasks, seeds, strict=True):
        with forked(stream(seed, "initialisation")):
            module = factory(task)
        if not isinstance(module, nn.Module):
            raise invalid("energy", module, "a callable that maps a task to an nn.Module")
        if getattr(module, "num_replicates", None) is not None:
            check_native(module, len(tasks))
            return module
        modules.append(module)
    check_alike(modules)
    first = tasks[0]
    return Replicated(modules, widths or (getattr(first.x_space, "dim", 0), getattr(first.y_space, "dim", 1)))


class _OfLabel(Called):
    """A user's module of labels (n,) as one of vectors (n, 1), which is how modules are replicated."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.energy(x, y.squeeze(-1).long()))


def build_graph_energy(setting: Setting, space: Discrete | None = None) -> nn.Module:
    """The setting's replicated energy of discrete answers, or of another discrete space, on its device, in its dtype.

    The package's own, a `ChainEnergy` or, of sequences whose network says `factors = "whole"`, a `StringEnergy`; or the
    user's: a module with `num_replicates` and `graph(x)` as it is, and, of
    labels, any `nn.Module` with forward(x (n, dx), y (n,) int64) -> (n,), asked for every label.

    Raises:
        ValueError: a module of the user's for sequences that has no `graph`: they are too many to ask for each.
    """
    chosen = space or setting.tasks[0].y_space
    assert isinstance(chosen, Discrete)
    network = setting.network
    if isinstance(network, Network):
        return _own(setting, chosen, network).to(device=setting.device, dtype=setting.dtype)
    energy = _users(setting, chosen).to(device=setting.device, dtype=setting.dtype)
    check_graph(energy, setting, chosen)
    return energy


def build_strip_energy(
    setting: Setting, kind: Callable[[Sequence[int], Sequences, StripShape, Network], StripEnergy]
) -> StripEnergy:
    """A replicated energy of strings read off the strips of the setting's task, on its device and in its dtype.

    Raises:
        ValueError: a task without strips, or an energy of the user's.
    """
    task, network = setting.tasks[0], setting.network
    if not isinstance(network, Network):
        raise invalid("energy", network, "None: this method reads windows of columns, so it needs a Network")
    if task.strip is None or not isinstance(task.y_space, Sequences):
        raise invalid("task", task, "a task whose y is read off a strip")
    return kind(setting.seeds, task.y_space, task.strip, network).to(device=setting.device, dtype=setting.dtype)


def _own(setting: Setting, space: Discrete, network: Network) -> nn.Module:
    if isinstance(space, Sequences) and network.factors == "whole":
        return StringEnergy(setting.seeds, _x_dim(setting), space, network)
    return ChainEnergy(setting.seeds, _x_dim(setting), space, network)


def _users(setting: Setting, space: Discrete) -> nn.Module:
    assert not isinstance(setting.network, Network)
    factory = setting.network

    def made(task: Task) -> nn.Module:
        module = factory(task)
        plain = isinstance(module, nn.Module) and not hasattr(module, "num_replicates")
        return _OfLabel(module) if plain else module

    energy = replicated(made, setting.tasks, setting.seeds, widths=(_x_dim(setting), 1))
    if hasattr(energy, "graph"):
        return energy
    if not isinstance(space, Labels):
        raise invalid("energy", type(energy).__name__, "a module with num_replicates and graph(x) -> FactorGraph")
    return EnumeratedEnergy(energy, space)


def _x_dim(setting: Setting) -> int:
    space = setting.tasks[0].x_space
    if not isinstance(space, Box):
        raise invalid("task.x_space", space, "a Box: energies read real x")
    return space.dim


def true_decoder(setting: Setting, latent_dim: int) -> LinearDecoder:
    """The decoder W z + B x that made the data, in float64 on the CPU; it does not learn.

    Raises:
        ValueError: a task that has no such map, is without noise, or has another number of latent dimensions.
    """
    x_dim, y_dim = box_dims(setting)
    task = setting.tasks[0]
    if not isinstance(task, HasLinearMap) or task.thickness == 0.0:
        raise invalid("decoder", "truth", f"'mlp' or 'linear' on {task}: it has no linear map of a latent, and noise")
    if task.weight.shape[1] != latent_dim:
        raise invalid("latent_dim", latent_dim, f"{task.weight.shape[1]} with decoder = 'truth'")
    limit = torch.zeros(len(setting.seeds), dtype=torch.float32, device="cpu")
    decoder = LinearDecoder(setting.seeds, x_dim, y_dim, latent_dim, limit).double()
    tasks = [cast("HasLinearMap", own) for own in setting.tasks]
    maps = [torch.from_numpy(np.concatenate([own.input_map, own.weight], 1).T) for own in tasks]
    with torch.no_grad():
        decoder.trunk.weights[0].copy_(torch.stack(maps))
        decoder.trunk.biases[0].zero_()
    return decoder.requires_grad_(False)


def build_decoder(
    setting: Setting, name: DecoderName, latent_dim: int = 1, cost: torch.Tensor | None = None
) -> Decoder:
    """The decoder of that name for a setting whose network is the package's own, in float32 on the CPU.

    Raises:
        ValueError: spaces that are no boxes, an energy of the user's own, a scale to learn, or an angle decoder where y
            is not in R^2.
    """
    x_dim, y_dim = box_dims(setting)
    if not isinstance(setting.network, Network):
        raise invalid("energy", setting.network, "None: this decoder is made of a Network")
    network = unscaled(setting.network, OF_DECODERS)
    if name == "angle":
        if y_dim != 2:
            raise invalid("decoder", name, f"'mlp' on {setting.tasks[0].name}: an angle decodes to two numbers")
        return AngleDecoder(setting.seeds, x_dim, network)
    if name == "periodic":
        return PeriodicDecoder(setting.seeds, x_dim, y_dim, network)
    limit = torch.zeros(len(setting.seeds), dtype=torch.float32, device="cpu") if cost is None else cost
    if name == "linear":
        return LinearDecoder(setting.seeds, x_dim, y_dim, latent_dim, limit)
    return MLPDecoder(setting.seeds, x_dim, y_dim, latent_dim, network, limit)
