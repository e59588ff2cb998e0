"""Super-resolution with an exact posterior: a bar or an ellipse of 16 by 16 pixels, given its noisy 4 by 4 block means.

What `digits` cannot have: p(y | x) of pictures, by quadrature over what makes them. The reduction x is that of the
noise-free picture and has noise of its own. Were it exact, it would leave of the three latents a set of measure zero;
were it that of the noisy y, y and x would not be independent given the shape. As it is,

    p(y | x) = ∫ N(y; m(z), ε² I) N(x; a(z), s² I) p(z) dz / ∫ N(x; a(z), s² I) p(z) dz.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ..core.approximate import Approximate
from ..core.errors import NoExactReference
from ..core.registry import TASKS
from ..core.spaces import Box
from .base import Split, Task, TaskOptions, check_inputs, check_pairs
from .density_reference import DensityReference, no_density
from .images.bars_and_ellipses import BRIGHTNESS, KINDS, PERIODS, SIDE, SMALL_SIDE, block_means, pictures
from .images.shape_integrals import PAIRS, log_integral, log_integral_of_x
from .images.shape_likelihood import Likelihood
from .images.shape_modes import Modes
from .images.shape_posterior import drawn_latents, spread_pictures

if TYPE_CHECKING:
    import torch

#: The noise at which distances are sought: maxima of the likelihood that are further off than others are left out.
_SHARP = 1e-3
#: Deviations of the noise that the boxes leave room for.
_REACH = 6.5


class SuperResolutionOptions(TaskOptions):
    """Options of `super_resolution`."""

    input_noise: Annotated[
        float, Field(ge=0.1, le=10.0, description="standard deviation s of the noise on x, of which p(z | x) is made")
    ] = 0.1


class SuperResolutionReference(DensityReference):
    """Exact truth of bars and ellipses: log-density by quadrature, distances by Newton's method."""

    num_answers = 256

    def __init__(self, task: SuperResolution) -> None:
        super().__init__(task)
        self._input_noise = task.options.input_noise

    def log_density(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """ln p(y | x) in nats for broadcasting x (..., 16) and y (..., 256), unchecked; its error is below 2e-7.

        Twice differentiable by autograd; `torch.func.vmap` cannot pass, because the nodes depend on the values.

        Raises:
            NoExactReference: at thickness 0.
            ArithmeticError: the quadrature does not settle.
        """
        import torch

        eps = self.noise
        shape = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        flat = [part.double().cpu().expand(*shape, -1).reshape(-1, part.shape[-1]) for part in (x, y)]
        joint = log_integral(Likelihood(eps, self._input_noise), *flat)
        log_density = joint - self._log_evidence(flat[0]) - 0.5 * SIDE**2 * math.log(2.0 * math.pi * eps**2)
        return log_density.reshape(shape).to(y.device)

    def _log_evidence(self, x: torch.Tensor) -> torch.Tensor:
        """ln p(x) (n,) but for a constant, that of each distinct x (n, 16) once."""
        import torch

        _, number = x.detach().unique(dim=0, return_inverse=True)
        first = torch.full(
            (int(number.max()) + 1 if len(x) else 0,), len(x), dtype=torch.int64, device="cpu"
        ).scatter_reduce(0, number, torch.arange(len(x), dtype=torch.int64, device="cpu"), "amin")
        likelihood = Likelihood(math.inf, self._input_noise)
        values = [log_integral_of_x(likelihood, part) for part in x[first].split(PAIRS)]
        return torch.cat(values)[number] if values else x.new_zeros(0)

    def distance(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance from y (n, 256) to the nearest picture of any bar or ellipse of any brightness, (n,) float64.

        The noise on x leaves every picture possible, so that x has no part in it. Newton's method from the highest of
        the maxima on a lattice of 16,384 pictures.
        """
        import torch

        y = check_pairs(self.task, x, y)[1].detach().cpu()
        sharp = Likelihood(_SHARP, math.inf)
        found = []
        with torch.no_grad():
            for part in y.split(PAIRS):
                nothing = part.new_zeros(len(part), SMALL_SIDE**2)
                modes = Modes(sharp, nothing, part, sharp.on_lattice(nothing, part).largest)
                found.append(_SHARP * (-2.0 * modes.best).clamp_min(0.0).sqrt())
        return (torch.cat(found) if found else y.new_zeros(0)).to(x.device)

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """256 noise-free pictures at evenly spaced quantiles of z given each x: (n, 256, 256) float64."""
        import torch

        check_inputs(self.task, x)
        likelihood = Likelihood(math.inf, self._input_noise)
        found = np.empty((len(x), self.num_answers, SIDE**2))
        for row, given in enumerate(x.detach().double().cpu().numpy()):
            found[row] = spread_pictures(likelihood, given, self.num_answers)
        return torch.from_numpy(found).to(x.device)

    def entropy(self) -> Approximate:
        """Always raises `NoExactReference`."""
        if self._thickness == 0.0:
            raise no_density(self.task.name)
        raise NoExactReference(
            "super_resolution: the entropy is a mean over 272 dimensions of (x, y), which no quadrature reaches: "
            "use reference.sampled_entropy(), or compare models by their gap to it"
        )


@TASKS.register
class SuperResolution(Task):
    """y: a bar or an ellipse, 256 pixels; x: the means of its 4 by 4 blocks, with noise.

    z is the kind (0 or 1), the angle of the axis, the angle of the centre on its ring, and the brightness.
    """

    name = "super_resolution"
    summary = "a bar or an ellipse of 16 by 16 pixels given its noisy 4 by 4 block means"
    truth = "log-density and draws of the posterior by quadrature; no entropy"
    references = ("lecun2020energy",)
    Options = SuperResolutionOptions
    options: SuperResolutionOptions
    x_space: Box
    y_space: Box
    reference: SuperResolutionReference

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        room, inputs_room = max(0.5, _REACH * self.thickness), _REACH * self.options.input_noise
        self.x_space = Box((-inputs_room, 1.0 + inputs_room), SMALL_SIDE**2)
        self.y_space = Box((-room, 1.0 + room), SIDE**2)
        self.z_space = Box((0.0, 2.0 * math.pi), 4)
        self.manifold_dim = 3
        self.reference = SuperResolutionReference(self)

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import torch

        kind, angles = rng.integers(len(KINDS), size=n), rng.random((n, 2)) * PERIODS
        z = np.column_stack([kind, angles, rng.uniform(*BRIGHTNESS, n)])
        clean = self.render(z)
        x = block_means(torch.from_numpy(clean)).numpy() + self.options.input_noise * rng.standard_normal((n, 16))
        return x, clean + self.thickness * rng.standard_normal(clean.shape), z

    def render(self, z: np.ndarray) -> np.ndarray:
        """The noise-free pictures (n, 256) of z (n, 4), float64."""
        import torch

        result = np.empty((len(z), SIDE**2))
        for kind in range(len(KINDS)):
            own = z[:, 0] == kind
            result[own] = pictures(kind, torch.from_numpy(z[own, 1:3])).numpy() * z[own, 3:]
        return result

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw for each x (n, 16) from `rng` alone: y (n, 256) and the z (n, 4) that made it, float64.

        Exact: z by rejection from a histogram above its posterior.

        Raises:
            ArithmeticError: the posterior is above the histogram somewhere.
        """
        z, likelihood = np.empty((len(x), 4)), Likelihood(math.inf, self.options.input_noise)
        distinct, number = np.unique(x, axis=0, return_inverse=True)
        for which, given in enumerate(distinct):
            own = number.reshape(-1) == which
            z[own] = drawn_latents(likelihood, given, int(own.sum()), rng)
        return self.render(z) + self.thickness * rng.standard_normal((len(x), SIDE**2)), z
