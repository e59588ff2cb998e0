"""Contrastive divergence and its persistent form: likelihood whose normaliser is sampled by short chains."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from ...core.errors import invalid
from ...core.options import PER_REPLICATE
from ...core.process_state import holds
from ...core.registry import METHODS
from ...core.replicate_noise import replicate_generators, replicate_points
from ...core.tensors import tensor_of
from ...models.model import Model
from ...models.record import Training
from ...samplers import Kernel, get_kernel
from ...training.batches import Batch, Noise
from ...training.loop import train
from ...training.method import GaussianOptimum, MethodOptions
from ..negatives.chains import ReplayBuffer, chain_ends, random_slots
from ..objectives.contrastive import contrastive_divergence_loss
from ..regularisers import RegularisedMethod, RegularisedOptions, energy_magnitude


class ContrastiveDivergenceOptions(RegularisedOptions):
    kernel: Annotated[
        Literal["langevin", "mala", "hmc"],
        Field(description="what moves the chains; langevin is unadjusted, the others have a Metropolis test"),
    ] = "mala"
    steps: Annotated[int, Field(ge=1, description="steps of each chain a training step")] = 10
    step_size: Annotated[
        float,
        PER_REPLICATE,
        Field(
            gt=0,
            description="standard deviation of a Langevin step, length of a leapfrog step; units of `scale`. Half its "
            "square is the h of `samplers`",
        ),
    ] = 0.1
    leapfrog_steps: Annotated[int, Field(ge=1, description="leapfrog steps of each step of hmc")] = 5
    energy_magnitude: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="weight of E[E²] at the data plus E[E²] elsewhere")
    ] = 0.0
    energy_magnitude_at: Annotated[
        Literal["negatives", "uniform"],
        Field(description="where else: at the ends of the chains (Du and Mordatch 2019), or uniform in the y-box"),
    ] = "negatives"
    langevin_noise: Annotated[
        float | None,
        Field(
            ge=0,
            description="standard deviation of langevin's noise, units of `scale`, where it is to be another than "
            "`step_size`, whose half square is then the factor of the gradient",
        ),
    ] = None
    gradient_clamp: Annotated[
        float | None,
        Field(gt=0, description="largest entry of the energy's gradient that moves langevin; all where not given"),
    ] = None

    @model_validator(mode="after")
    def _langevin_has_its_own(self) -> Self:
        for name in ("langevin_noise", "gradient_clamp"):
            if getattr(self, name) is not None and self.kernel != "langevin":
                raise ValueError(f'kernel = "langevin" with {name}: the others have a Metropolis test')
        return self


def chain_kernel(options: Any) -> Kernel[Any]:
    """The kernel that the options of one replicate or of all name."""
    own: dict[str, Any] = {}
    if options.kernel == "hmc":
        own = {"leapfrog_steps": options.leapfrog_steps}
    elif options.kernel == "langevin":
        own = {"gradient_clamp": options.gradient_clamp}
        if options.langevin_noise is not None:
            noise = tensor_of(options.langevin_noise * options.scale)
            own["noise"] = noise.reshape(-1, 1) if noise.ndim else noise
    return get_kernel(options.kernel, **own)


def gaussian_curvature(options: Any) -> float | None:
    """The curvature a at which N(0, I) is invariant under the kernel for E = a |y|² / 2: the fixed point of the loss.

    Chains that begin with the data then end with the data's law, whatever the number of steps. MALA and HMC leave
    exp(-E) invariant, so a = 1. ULA, y' = y - h a y + s n with s = sqrt(2 h) unless it is given, has the variance
    s² / (1 - (1 - a h)²), which is 1 at a = (1 - sqrt(1 - s²)) / h: about s² / (2 h), the temperature of the chains, so
    that a noise far below sqrt(2 h) leaves hardly any energy. From s = 1 on the variance is above 1 for every a, and a
    grows without end. A clamped gradient has no such closed form: None.
    """
    if options.kernel != "langevin":
        return 1.0
    if options.gradient_clamp is not None:
        return None
    h = (options.step_size * options.scale) ** 2 / 2
    variance = 2 * h if options.langevin_noise is None else (options.langevin_noise * options.scale) ** 2
    return (1 - math.sqrt(1 - variance)) / h if variance <= 1 else math.inf


@METHODS.register
class ContrastiveDivergence(RegularisedMethod):
    """The energy falls at the data and rises where short chains that begin there go (CD-k: Hinton 2002, eq. 5).

    The chains carry no gradient, as in the original, so the loss's gradient is that of the likelihood where the chains
    have reached exp(-E), and its fixed point the energy whose kernel leaves the data's law as it is.
    """

    name = "contrastive_divergence"
    principle = "likelihood"
    summary = "contrastive divergence: negatives by k steps of Langevin, MALA or HMC from the data (Hinton 2002)"
    references: ClassVar[tuple[str, ...]] = ("hinton2002training",)
    Options: ClassVar[type[MethodOptions]] = ContrastiveDivergenceOptions
    gaussian_optimum = GaussianOptimum(curvature=gaussian_curvature)

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0 * (2 + chain_kernel(options).potential_evaluations(options.steps))

    @classmethod
    def weighed_by_the_loss(cls, options: Any) -> frozenset[str]:
        return frozenset({"energy_magnitude"} if options.energy_magnitude_at == "negatives" else ())

    @classmethod
    def train(cls, model: Model) -> Training:
        negatives, noise = _chains(model)

        def loss(batch: Batch) -> torch.Tensor:
            return _contrast(model, batch, negatives(batch, batch.y))

        return train(model, loss, noise)


class PersistentContrastiveDivergenceOptions(ContrastiveDivergenceOptions):
    buffer: Annotated[
        int, Field(ge=1, description="chains a replicate; with x one for each training example, whatever is given")
    ] = 1024
    reinitialise: Annotated[
        float, PER_REPLICATE, Field(ge=0, le=1, description="share of the chains that begin anew at a training step")
    ] = 0.05
    reinitialise_from: Annotated[
        Literal["data", "uniform"], Field(description="where a chain begins: at the data, or anywhere in the box")
    ] = "data"


def persistent_gaussian_curvature(options: Any) -> float | None:
    """`gaussian_curvature` where chains begin at the data, whatever their age; None where some begin in the box, whose
    size and the chains' memory of it move the fixed point."""
    if options.reinitialise_from == "uniform" and options.reinitialise > 0:
        return None
    return gaussian_curvature(options)


@METHODS.register
class PersistentContrastiveDivergence(ContrastiveDivergence):
    """Contrastive divergence with chains that go on from one training step to the next (Tieleman 2008).

    Each training step takes chains from a replay buffer, begins a share of them anew (Du & Mordatch 2019, section 3.1),
    moves them and puts them back. Without x they are a random part of the buffer; with x each belongs to a training
    example, whose x it keeps. Restarts from the data do not move the fixed point, which is that of contrastive
    divergence. Restarts from the box, as in the paper, pull the negatives away from exp(-E) until the chains have
    forgotten them, which sharpens the energy.
    """

    name = "persistent_contrastive_divergence"
    summary = "contrastive divergence whose chains persist in a replay buffer (Tieleman 2008; Du and Mordatch 2019)"
    references = ("tieleman2008training", "hinton2002training", "du2019implicit")
    Options: ClassVar[type[MethodOptions]] = PersistentContrastiveDivergenceOptions
    gaussian_optimum = GaussianOptimum(curvature=persistent_gaussian_curvature)

    @classmethod
    def train(cls, model: Model) -> Training:
        setting, options = model.setting, model.setting.options
        size, (low, high) = setting.budget.batch_size, model.y_box.bounds
        conditional = model.data_kernel.x.shape[-1] > 0
        slots = setting.budget.examples if conditional else options.buffer
        if slots < size and not conditional:
            raise invalid("buffer", slots, f"at least the batch size, {size}")
        buffer = ReplayBuffer(cls._begin(model, slots))
        share = options.reinitialise.to(buffer.y).reshape(-1, 1)
        negatives, noise = _chains(model)

        def loss(batch: Batch) -> torch.Tensor:
            chosen = batch.rows if conditional else random_slots(batch.noise["slot"], slots)
            fresh = low + (high - low) * batch.noise["box"] if "box" in batch.noise else batch.y
            anew = (batch.noise["restart"] < share).unsqueeze(-1)
            end = negatives(batch, torch.where(anew, fresh, buffer.take(chosen)))
            buffer.put(chosen, end)
            return _contrast(model, batch, end)

        noise["restart"] = Noise("uniform", (size,))
        if options.reinitialise_from == "uniform":
            noise["box"] = Noise("uniform", (size, model.y_box.dim))
        if not conditional:
            noise["slot"] = Noise("uniform", (size + 1,))
        return train(model, loss, noise)

    @classmethod
    def _begin(cls, model: Model, slots: int) -> torch.Tensor:
        """The first chains, (R, slots, dy)."""
        data = model.data_kernel.y
        if model.setting.options.reinitialise_from == "data":
            return data[:, torch.arange(slots, device=data.device, dtype=torch.int64) % data.shape[1]].clone()
        return replicate_points(replicate_generators(model.seeds, "buffer"), model.y_box, (slots,)).to(data)


def _chains(model: Model) -> tuple[Any, dict[str, Noise]]:
    """What moves chains by the kernel, (batch, start (R, B, dy)) -> ends (R, B, dy), and the noise it takes."""
    setting, options = model.setting, model.setting.options
    kernel, size = chain_kernel(options), setting.budget.batch_size
    length = (options.step_size * options.scale).to(device=setting.device, dtype=setting.dtype)
    step_size = length.square().reshape(-1, 1) / 2
    bounds = model.y_box.bounds

    def negatives(batch: Batch, start: torch.Tensor) -> torch.Tensor:
        normal, uniform = batch.noise["chain"], batch.noise.get("acceptance")
        return chain_ends(model.module, batch.x, start, kernel, step_size, normal, uniform, bounds)

    noise = {"chain": Noise("normal", (options.steps, size, model.y_box.dim))}
    uniforms = kernel.uniform_shape((options.steps, size))
    if uniforms is not None:
        noise["acceptance"] = Noise("uniform", uniforms)
    return negatives, noise


def _contrast(model: Model, batch: Batch, negative: torch.Tensor) -> torch.Tensor:
    """The loss of the batch against negatives (R, B, dy), (R,), with the magnitude of both where that is weighed."""
    options = model.setting.options
    energies = model.module(batch.x, batch.y), model.module(batch.x, negative)
    loss = contrastive_divergence_loss(*energies)
    if options.energy_magnitude_at == "uniform" or not holds(lambda: (options.energy_magnitude > 0).any()):
        return loss
    return loss + options.energy_magnitude.to(loss) * energy_magnitude(*energies)
