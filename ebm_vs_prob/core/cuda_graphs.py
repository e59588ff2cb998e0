"""A program's kernels on a GPU, captured once and launched together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

#: Calls before a capture, in which libraries take their workspaces and kernels are chosen.
WARM_UP = 3


class CudaGraph:
    """`run(*held, *inputs)` as a CUDA graph: one launch a call where the program has a hundred.

    `torch.compile(mode="reduce-overhead")` leaves out programs that change their inputs, as a step changes the
    parameters and the optimiser's memory. Here the held tensors stay where they are, so that kernels may be captured
    with their addresses; inputs are copied to where the captured kernels read them, and outputs from where the next
    call writes them. Capturing leaves the held tensors as they were.

    Args:
        run: launches kernels and nothing else: it does not wait for the device, and draws no random numbers.
        held: tensors that `run` reads and changes in place; they keep their memory.
        inputs: those of one call; later ones have the same shapes and dtypes. All tensors are on one CUDA device.

    Raises:
        ValueError: a tensor is elsewhere, so that its value at the capture would be that of every call.
        RuntimeError: the program cannot be captured.
    """

    def __init__(
        self, run: Callable[..., Sequence[torch.Tensor]], held: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]
    ) -> None:
        devices = {tensor.device for tensor in (*held, *inputs)}
        if len(devices) != 1 or next(iter(devices)).type != "cuda":
            raise ValueError(f"tensors are on {sorted(map(str, devices))}: a captured program has one CUDA device")
        self._held, self._inputs = list(held), [tensor.clone() for tensor in inputs]
        (self._device,) = devices
        before = [tensor.clone() for tensor in self._held]
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.device(self._device):
            try:
                aside = torch.cuda.Stream()
                aside.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(aside):
                    for _ in range(WARM_UP):
                        run(*self._held, *self._inputs)
                torch.cuda.current_stream().wait_stream(aside)
                # Another thread may use the device meanwhile, of which this graph is to know nothing.
                with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                    self._outputs = list(run(*self._held, *self._inputs))
            finally:
                for tensor, value in zip(self._held, before, strict=True):
                    tensor.copy_(value)

    def __call__(self, *given: torch.Tensor) -> list[torch.Tensor]:
        """What `run` gives for the held tensors and these inputs, which it takes after the held ones as `run` does."""
        with torch.cuda.device(self._device):
            for kept, value in zip(self._inputs, given[len(self._held) :], strict=True):
                kept.copy_(value)
            self._graph.replay()
            return [output.clone() for output in self._outputs]
