"""What a discrete answer costs: the numbers that are computed until it is found, counted as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.errors import NotMeasured
from .measurement import Group, Measurement, exact, named
from .observation import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

#: Inputs that are answered at once while operations are counted.
COUNTED = 16
#: Products of matrices, each of whose numbers is a sum of as many products as their inner dimension.
PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")


class CountedNumbers(TorchDispatchMode):
    """Within it `count` adds up the numbers that torch's operations compute: entries of their results that are no views
    of what they were given, and of products of matrices the multiply-adds.

    It sees tensors and not what Python decides, and does not know how fast an operation is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            inner = args[-1].shape[-2] if func.name().partition(".")[0] in PRODUCTS else 1
            results = found if isinstance(found, tuple | list) else (found,)
            self.count += inner * sum(part.numel() for part in results if isinstance(part, torch.Tensor))
        return found


def counted(compute: Callable[[], Any]) -> float:
    """How many numbers `compute()` has torch compute."""
    with CountedNumbers() as numbers:
        compute()
    return numbers.count


def answer_numbers(observed: Observation) -> dict[str, Measurement]:
    """Numbers computed while the answer of least energy is found, an input: the energies, and the search among them.

    The same for all replicates of a model, whose tensors have one shape, but for searches that need more for some x.
    """
    x, model = observed.inputs[:, :COUNTED], observed.model
    if not x.shape[1]:
        raise NotMeasured("no inputs")
    numbers = counted(lambda: model.infer(x, 1)) / (observed.replicates * x.shape[1])
    return {"answer_numbers": exact(np.full(observed.replicates, numbers))}


GROUPS = (Group(named("answer_numbers"), answer_numbers),)
