"""What all code of a process shares, kept out of numbers: torch's defaults and modes, and Pyro's stack of handlers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")

#: Held while Pyro's stack of handlers or torch's global generators are in use, which all threads share.
SHARED = threading.RLock()


@contextmanager
def _emptied(shared: list[Any]) -> Iterator[None]:
    held = shared[:]
    shared.clear()
    try:
        yield
    finally:
        shared[:] = held


@contextmanager
def default_state(differentiable: bool = False) -> Iterator[None]:
    """Within the block torch has the defaults of a new process and Pyro no handlers; all are given back after.

    Default dtype float32, default device the CPU, products in full precision, denormal numbers as they are, no
    autocast, no inference mode. The
    package's own tensors say their dtype and device; the block is for those that Pyro and a user's modules make.
    Threads take turns. The default dtype is the whole process's: where it is another one, other threads see float32
    for the time being.

    Args:
        differentiable: record gradients even where the caller records none; else as the caller does.
    """
    import torch
    from pyro.poutine import runtime

    recorded = differentiable or torch.is_grad_enabled()
    with SHARED, ExitStack() as given_back:
        if (dtype := torch.get_default_dtype()) != torch.float32:
            given_back.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device() != torch.device("cpu"):
            given_back.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                given_back.enter_context(torch.autocast(kind, enabled=False))
        if (precision := torch.get_float32_matmul_precision()) != "highest":
            given_back.callback(torch.set_float32_matmul_precision, precision)
            torch.set_float32_matmul_precision("highest")
        given_back.enter_context(_denormals(flushed=False))
        if torch.is_inference_mode_enabled():
            given_back.enter_context(torch.inference_mode(False))
        given_back.enter_context(torch.set_grad_enabled(recorded))
        stacks: tuple[list[Any], ...] = (runtime._PYRO_STACK, runtime._DIM_ALLOCATOR._stack)
        for shared in stacks:
            given_back.enter_context(_emptied(shared))
        yield


@contextmanager
def _denormals(flushed: bool) -> Iterator[None]:
    import torch

    before = flushes_denormals()
    if before == flushed:
        yield
        return
    torch.set_flush_denormal(flushed)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def without_denormals() -> AbstractContextManager[None]:
    """Within the block numbers too small to be normal are 0 in this thread's arithmetic.

    Weights of what is hardly ever drawn are such, and a processor takes a hundred times as long for them. The block is
    for operations of torch alone: SciPy's search trees end the process where denormals are 0.
    """
    return _denormals(flushed=True)


def flushes_denormals() -> bool:
    """Whether this thread's arithmetic takes numbers too small to be normal for 0, of which torch keeps no record."""
    tiny = float.fromhex("0x1p-1070")
    return tiny + tiny == 0.0


def holds(condition: Callable[[], torch.Tensor]) -> bool:
    """Whether a condition on tensors holds now, also while a function is recorded that may not ask for values.

    What is decided by it is decided once for all calls of what is recorded, so it is for what stays the same: options,
    and checks of what has been checked before.
    """
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        return bool(condition())


def readable(value: torch.Tensor) -> bool:
    """Whether a tensor's numbers may decide what is done: not while a function of it is compiled, recorded for other
    numbers too, or transformed."""
    import torch
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    if torch.compiler.is_compiling() or get_proxy_mode() is not None:
        return False
    wrapped: bool = torch._C._functorch.is_functorch_wrapped_tensor(value)
    return not wrapped


def in_turn(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function that enters Pyro, called by one thread at a time."""

    @wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with SHARED:
            return function(*args, **kwargs)

    return called
