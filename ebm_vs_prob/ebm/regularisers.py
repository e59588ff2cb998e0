"""What is added to an ebm objective: penalties on the energy's slope, its size, its weights and their spectral norms.

Each is an additive term with a weight of its own, 0 by default, that a method takes through its options: the training
minimises loss + Σ weight · term, one number a replicate. A term whose weight is 0 in all replicates is not computed and
draws no random numbers. Declared optima (`gaussian_optimum`) are those of the objective alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import normalize

from ..core.errors import invalid
from ..core.options import PER_REPLICATE
from ..core.replicate_noise import replicate_generators, replicate_noise
from ..core.tensors import inner
from ..energies.evaluation import energy_and_gradient, weight_names
from ..models.building import build_energy
from ..models.energy_model import EnergyModel
from ..models.model import Model
from ..models.setting import Setting
from ..training.batches import Batch, Loss, Noise
from ..training.method import EnergyOptions, Method

#: Power iterations before the first step; each step then adds one to what the last one left.
FIRST_ITERATIONS = 30


class RegularisedOptions(EnergyOptions):
    """Options of a `RegularisedMethod`; all regularisers are off by default."""

    gradient_penalty: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="weight of ½ E ‖∇_y E‖², in units of y² over energy²")
    ] = 0.0
    gradient_penalty_at: Annotated[
        Literal["data", "uniform"],
        Field(description="where that is taken: training answers, before any blur, or uniform in the y-box"),
    ] = "data"
    energy_magnitude: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="weight of E[E²] at the data plus E[E²] uniformly in the y-box")
    ] = 0.0
    weight_decay: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="weight of ½ Σ W² over weight matrices, a term of the loss")
    ] = 0.0
    l1_penalty: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="weight of Σ |W| over weight matrices, a term of the loss")
    ] = 0.0
    spectral_penalty: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, description="weight of ½ Σ (spectral norm - `spectral_bound`)₊² over matrices"),
    ] = 0.0
    spectral_bound: Annotated[
        float, PER_REPLICATE, Field(ge=0, description="largest singular value that costs nothing")
    ] = 0.0

    @classmethod
    def check_method(cls, method: type[Method]) -> None:
        """Refuse a method that would take the weights of regularisers and add none to its loss."""
        super().check_method(method)
        if not issubclass(method, RegularisedMethod):
            valid = "options without regularisers, or a method that inherits RegularisedMethod"
            raise invalid(f"{method.__name__}.Options", cls.__name__, valid)


class RegularisedMethod(Method):
    """An unnormalised energy whose objective takes the additive regularisers of its `RegularisedOptions`."""

    family = "ebm"
    normalised = False

    @classmethod
    def build(cls, setting: Setting) -> Model:
        return EnergyModel(cls, setting, build_energy(setting))

    @classmethod
    def regulariser_evaluations(cls, options: Any) -> float:
        # A gradient costs forward 1 and backward 2, and the loss's backward doubles that again; an energy 1 and 2.
        magnitude = options.energy_magnitude > 0 and "energy_magnitude" not in cls.weighed_by_the_loss(options)
        return 9.0 * (options.gradient_penalty > 0) + 6.0 * magnitude

    @classmethod
    def weighed_by_the_loss(cls, options: Any) -> frozenset[str]:
        """Terms that the method's own loss takes, at points of its own, and that are not to be added again."""
        return frozenset()

    @classmethod
    def regularise(cls, model: Model, loss: Loss, noise: Mapping[str, Noise]) -> tuple[Loss, Mapping[str, Noise]]:
        return regularised(model, loss, noise, cls.weighed_by_the_loss(model.setting.options))


def gradient_penalty(gradient: torch.Tensor) -> torch.Tensor:
    """½ E ‖∇_y E‖², (R,): at the data, R1 of Mescheder, Geiger and Nowozin 2018, eq. 9.

    Args:
        gradient: ∇_y E, (R, B, dy).
    """
    return 0.5 * gradient.square().sum(-1).mean(-1)


def energy_magnitude(data: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """E[E²] at the data plus E[E²] elsewhere, (R,).

    Du and Mordatch 2019 take the negatives of contrastive divergence for the other points; methods without negatives of
    their own take uniform points.

    Args:
        data: energies of right answers, (R, B).
        other: energies of other points, (R, B).
    """
    return data.square().mean(-1) + other.square().mean(-1)


def weight_decay(matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """½ Σ W² over matrices (R, rows, columns), (R,): Krogh and Hertz 1992.

    A term of the objective, whose gradient Adam rescales with the rest; not the decoupled decay of Loshchilov and
    Hutter 2019. What is minimised can then be written down, and its probabilistic twin is the prior N(0, 1 / weight).
    """
    return 0.5 * inner(torch.stack([matrix.square().sum((1, 2)) for matrix in matrices])).sum(-1)


def l1_penalty(matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Σ |W| over matrices (R, rows, columns), (R,): the lasso of Tibshirani 1996.

    Its probabilistic twin is the prior Laplace(0, 1 / weight) (section 5 there). At 0 its slope counts as 0.
    """
    return inner(torch.stack([matrix.abs().sum((1, 2)) for matrix in matrices])).sum(-1)


def spectral_penalty(norms: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """½ Σ (s - bound)₊² over the spectral norms s of the matrices, (R,).

    At bound 0 it is the regulariser of Yoshida and Miyato 2017. A penalty, not the parametrisation W / s of Miyato et
    al. 2018: it adds to any objective, leaves the network and its files as they are, and weights below the bound do not
    feel it. At the optimum a norm exceeds the bound by the loss's slope along it over the weight of the penalty.

    Args:
        norms: (L, R), of L matrices. bound: (R,).
    """
    return 0.5 * inner((norms - bound).clamp_min(0.0).square()).sum(-1)


def weight_matrices(energy: nn.Module) -> list[torch.Tensor]:
    """The trainable weights of a replicated energy as matrices (R, rows, columns): its parameters but the biases.

    Dimensions beyond the second, as those of a convolution, count as columns (Miyato et al. 2018, sec. 2.1).
    """
    return [energy.get_parameter(name).flatten(2) for name in weight_names(energy)]


class SpectralNorms:
    """Largest singular values of stacked matrices by power iteration, all replicates of a matrix at once.

    Each call goes on from the singular vectors of the last (Miyato et al. 2018, algorithm 1), which follow weights that
    move slowly; the estimate is a lower bound until it has converged.

    Args:
        matrices: how to get them, each (R, rows, columns).
        seeds: one a replicate, of the first vectors.
    """

    def __init__(self, matrices: Callable[[], Sequence[torch.Tensor]], seeds: Sequence[int]) -> None:
        self._matrices = matrices
        self._left: list[torch.Tensor] = []
        for number, matrix in enumerate(matrices()):
            drawn = replicate_noise(replicate_generators(seeds, "spectral", number), (matrix.shape[1], 1))
            self._left.append(normalize(drawn.to(matrix), dim=1))
        for _ in range(FIRST_ITERATIONS):
            self()

    def __call__(self) -> torch.Tensor:
        """The norms, (L, R), differentiable in the matrices, whose singular vectors count as constants."""
        norms = []
        for matrix, left in zip(self._matrices(), self._left, strict=True):
            with torch.no_grad():
                right = normalize(matrix.mT @ left, dim=1)
                left.copy_(normalize(matrix @ right, dim=1))
                # The product below is differentiated after `left` has moved on.
                row = left.mT.clone()
            norms.append((row @ matrix @ right).flatten())
        return torch.stack(norms)


Term = Callable[[Batch], torch.Tensor]


def regularised(
    model: Model, loss: Loss, noise: Mapping[str, Noise], but: frozenset[str] = frozenset()
) -> tuple[Loss, Mapping[str, Noise]]:
    """The loss with the regularisers that the model's options weigh above 0, `but` some, and the noise they ask for.

    Where there are none both come back as they were given.

    Raises:
        ValueError: a penalty on weights of an energy that has no weight matrix.
    """
    setting = model.setting
    weighed = []
    needed: dict[str, Noise] = {}
    for name, make in _TERMS.items():
        weight: torch.Tensor = getattr(setting.options, name)
        if name not in but and bool((weight > 0).any()):
            weighed.append((weight.to(device=setting.device, dtype=setting.dtype), make(model, needed)))
    if not weighed:
        return loss, noise

    def total(batch: Batch) -> torch.Tensor:
        value = loss(batch)
        for weight, term in weighed:
            value = value + weight * term(batch)
        return value

    return total, {**noise, **needed}


def _uniform_points(name: str, model: Model, needed: dict[str, Noise]) -> Callable[[Batch], torch.Tensor]:
    """What reads a minibatch's points in the y-box, (R, B, dy), from noise it asks for under a name of its own."""
    low, high = model.y_box.bounds
    stream = f"regulariser {name}"
    needed[stream] = Noise("uniform", (model.setting.budget.batch_size, model.y_box.dim))
    return lambda batch: low + (high - low) * batch.noise[stream]


def _gradient_term(model: Model, needed: dict[str, Noise]) -> Term:
    energy = model.module
    if model.setting.options.gradient_penalty_at == "data":
        return lambda batch: gradient_penalty(energy_and_gradient(energy, batch.x, batch.y)[1])
    points = _uniform_points("gradient_penalty", model, needed)
    return lambda batch: gradient_penalty(energy_and_gradient(energy, batch.x, points(batch))[1])


def _magnitude_term(model: Model, needed: dict[str, Noise]) -> Term:
    energy, points = model.module, _uniform_points("energy_magnitude", model, needed)
    return lambda batch: energy_magnitude(energy(batch.x, batch.y), energy(batch.x, points(batch)))


def _decay_term(model: Model, needed: dict[str, Noise]) -> Term:
    _check_matrices("weight_decay", model)
    return lambda batch: weight_decay(weight_matrices(model.module))


def _l1_term(model: Model, needed: dict[str, Noise]) -> Term:
    _check_matrices("l1_penalty", model)
    return lambda batch: l1_penalty(weight_matrices(model.module))


def _spectral_term(model: Model, needed: dict[str, Noise]) -> Term:
    _check_matrices("spectral_penalty", model)
    setting = model.setting
    norms = SpectralNorms(lambda: weight_matrices(model.module), setting.seeds)
    bound = setting.options.spectral_bound.to(device=setting.device, dtype=setting.dtype)
    return lambda batch: spectral_penalty(norms(), bound)


def _check_matrices(name: str, model: Model) -> None:
    if not weight_matrices(model.module):
        raise invalid(name, getattr(model.setting.options, name).tolist(), "0: the energy has no weight matrix")


_TERMS: dict[str, Callable[[Model, dict[str, Noise]], Term]] = {
    "gradient_penalty": _gradient_term,
    "energy_magnitude": _magnitude_term,
    "weight_decay": _decay_term,
    "l1_penalty": _l1_term,
    "spectral_penalty": _spectral_term,
}
