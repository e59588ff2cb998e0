"""Data blurred on purpose: the noise that a method of either family may add to the answers it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from ..core.options import PER_REPLICATE
from .batches import Batch, Noise
from .method import GaussianOptimum, Method, MethodOptions

if TYPE_CHECKING:
    import torch

    from ..models.model import Model


class SmoothingOptions(MethodOptions):
    """Options of a method that can learn blurred data."""

    sigma: Annotated[
        float,
        PER_REPLICATE,
        Field(ge=0, description="standard deviation of noise added to the data, in units of `scale`; 0 for raw data"),
    ] = 0.0


class SmoothingMethod(Method):
    """A method whose optimum is the law of the data blurred by N(0, (sigma · scale)² I)."""

    Options: ClassVar[type[MethodOptions]] = SmoothingOptions
    gaussian_optimum = GaussianOptimum(curvature=lambda options: 1 / (1 + (options.sigma * options.scale) ** 2))

    @classmethod
    def smoothing(cls, options: Any) -> float:
        return float(options.sigma * options.scale)


class Blur:
    """Gaussian noise on the answers of a minibatch: `blur(batch)` is y (R, B, dy), raw where sigma is 0 throughout.

    Args:
        model: its option `sigma` is used.
        active: False leaves the answers raw for an objective that takes the noise's density instead.

    Attributes:
        sigma: standard deviation of each replicate's noise, (R, 1, 1), units of y.
        noise: what has to be drawn for it.
    """

    def __init__(self, model: Model, active: bool = True) -> None:
        setting = model.setting
        width = setting.options.sigma * setting.options.scale
        self.sigma: torch.Tensor = width.to(device=setting.device, dtype=setting.dtype).reshape(-1, 1, 1)
        self.noise: dict[str, Noise] = {}
        if active and bool((width > 0).any()):
            self.noise["y"] = Noise("normal", (setting.budget.batch_size, model.y_box.dim))

    def __call__(self, batch: Batch) -> torch.Tensor:
        return batch.y + self.sigma * batch.noise["y"] if self.noise else batch.y
