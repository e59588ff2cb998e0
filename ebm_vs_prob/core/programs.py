"""A function of tensors recorded once as the operations that it comes to, to be replayed, or compiled as a whole.

What surrounds the operations on small networks (autograd, Pyro's handlers, Python) does the same at every call and
takes longer than they do. Recorded by `torch.fx`, gradients included, it runs once. Nothing is translated, so whatever
torch runs can be recorded: user's modules, handlers, functions with a backward pass of their own.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from .caches import compiler_cache, empty_compiler_cache
from .cuda_graphs import CudaGraph

#: Operations beyond which a program is not compiled: a compiler takes many minutes, and more than in proportion.
MOST_OPERATIONS = 6000
#: Compiled programs that a process keeps at hand; another beyond them is read from the compiler's cache on disk.
KEPT = 32

#: Kernels are called from C++ and not from Python, and no call asks whether its inputs have the shapes of the examples:
#: for small networks calls take longer than kernels.
_ON_CPU = {"cpp_wrapper": True, "size_asserts": False, "alignment_asserts": False}

log = logging.getLogger("ebm_vs_prob.core")

_compiled: OrderedDict[str, Any] = OrderedDict()
#: What the compiler said of programs that it did not make.
_refused: dict[str, str] = {}


class NotRecordable(Exception):
    """The function does not do the same operations at every call, or fails."""


class NotCompiled(Exception):
    """Steps that were to be compiled cannot be."""


class Program:
    """`function(*inputs)`, which reads and changes the tensors of `state` in place and gives tensors, as a graph.

    The function must do the same operations whatever its inputs hold: no decisions by values but those of
    `core.process_state.holds`, no random state, no memory outside of tensors. Tensors that it finds elsewhere are held
    by reference, and changed where it changes them. Recording leaves them, and the state, as they were.

    Args:
        function: called twice here, once to be recorded and once to be compared with what was.
        state: what it changes, among it the parameters that it takes gradients in.
        inputs: those of one call; later ones have the same shapes, dtypes and devices.

    Raises:
        NotRecordable: it decides by a value, remembers something outside of tensors, or fails.
    """

    def __init__(
        self,
        function: Callable[..., Sequence[torch.Tensor]],
        state: Sequence[torch.Tensor],
        inputs: Sequence[torch.Tensor],
    ) -> None:
        self._state = [tensor.detach() for tensor in state]
        self._graph, self._constants = _lifted(_recorded(function, state, inputs))
        self._examples: list[Any] = [*self._constants, *self._state, *inputs]
        self._run: Callable[..., Any] = self._graph
        if not all(map(_same, self._after(function, inputs), self._after(self, inputs))):
            raise NotRecordable("called twice with the same tensors it gives different ones")

    def _after(
        self, function: Callable[..., Sequence[torch.Tensor]], inputs: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """What a function gives, and what it makes of the state, which stays as it was."""
        with Undone(), unvalidated():
            return [*function(*inputs), *[tensor.clone() for tensor in self._state]]

    @property
    def compiled(self) -> bool:
        """Whether it runs as machine code of its own."""
        return self._run is not self._graph

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            return list(self._run(*self._constants, *self._state, *inputs))

    def compile(self) -> None:
        """Have it compiled: later calls run machine code, whose numbers differ from the operations' by roundings.

        On a CUDA device its kernels are captured as a graph and launched together.

        Raises:
            RuntimeError: it has more than `MOST_OPERATIONS`, or the compiler, which needs a C++ compiler on a CPU, does
                not make it. It is tried once for all programs of the same operations.
        """
        key = self.digest
        if (count := len(self._graph.graph.nodes)) > MOST_OPERATIONS:
            raise RuntimeError(f"a program of {count} operations; {MOST_OPERATIONS} at most are compiled")
        if key in _refused:
            raise RuntimeError(_refused[key])
        if key not in _compiled:
            with compiler_cache(), torch.no_grad():
                try:
                    _compiled[key] = self._machine_code()
                except Exception:  # something damaged in the cache, perhaps, which may fail in any way
                    try:
                        with empty_compiler_cache():
                            _compiled[key] = self._machine_code()
                    except Exception as error:
                        # The error itself would keep alive all that it was raised in.
                        _refused[key] = f"{type(error).__name__}: {error}"
                        raise RuntimeError(_refused[key]) from error
        _compiled.move_to_end(key)
        while len(_compiled) > KEPT:
            _compiled.popitem(last=False)
        self._run = _compiled[key]
        if self._examples[0].device.type == "cuda":
            self._run = self._launched_at_once(self._run)

    def _launched_at_once(self, run: Callable[..., Any]) -> Callable[..., Any]:
        held = len(self._constants) + len(self._state)
        try:
            return CudaGraph(run, self._examples[:held], self._examples[held:])
        except (RuntimeError, ValueError) as error:
            log.info("kernels are launched one by one: %s", error)
            return run

    def _machine_code(self) -> Any:
        from torch._inductor import standalone_compile

        options = {"config_patches": _ON_CPU} if self._examples[0].device.type == "cpu" else {}
        return standalone_compile(self._graph, self._examples, dynamic_shapes="from_example_inputs", options=options)

    @property
    def digest(self) -> str:
        """Of the operations and of what they are applied to, but for its numbers, and of torch's settings that decide
        how they are done: as long as it is equal, so is what is compiled."""
        shapes = [(t.shape, t.stride(), t.dtype, t.device) for t in self._examples]
        memory: dict[int, int] = {}
        shared = [memory.setdefault(t.untyped_storage().data_ptr(), n) for n, t in enumerate(self._examples)]
        settings = (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
        )
        return hashlib.sha256(f"{self._graph.code}\n{shapes}\n{shared}\n{settings}".encode()).hexdigest()


def _recorded(
    function: Callable[..., Sequence[torch.Tensor]], state: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]
) -> Any:
    from torch.fx.experimental.proxy_tensor import make_fx

    count = len(state)
    try:
        with Undone(), unvalidated():
            return make_fx(lambda *given: tuple(function(*given[count:])))(*state, *inputs)
    except Exception as error:
        raise NotRecordable(f"{type(error).__name__}: {error}") from error


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions do not check values: it decides by them, and one replicate that diverged would end the others.

    What is called within was called before, when they did.
    """
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan())


class Undone(TorchDispatchMode):
    """Within the block tensors are changed as they are told to; after it all are as they were."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for argument, schema in zip(args, func._schema.arguments, strict=False):
                if schema.alias_info is not None and schema.alias_info.is_write:
                    self._keep(argument)
            for argument in kwargs.values():  # of `out=`
                self._keep(argument)
        return func(*args, **kwargs)

    def _keep(self, argument: Any) -> None:
        for tensor in argument if isinstance(argument, (list, tuple)) else (argument,):
            if isinstance(tensor, torch.Tensor) and id(tensor) not in self._before:
                self._before[id(tensor)] = (tensor, tensor.detach().clone())

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        with torch.no_grad():
            # The latest first: of two views of one memory the one that was kept first knows what was there before.
            for tensor, before in reversed(self._before.values()):
                tensor.detach().copy_(before)


def _lifted(module: Any) -> tuple[Any, list[torch.Tensor]]:
    """A graph whose tensors from elsewhere are its first inputs, and these tensors.

    The graphs of two trainings then differ in nothing but what they are given, and one compilation serves both.
    """
    from torch.fx import GraphModule
    from torch.fx.graph import CodeGen

    graph = module.graph
    graph.eliminate_dead_code()
    first = next(iter(graph.nodes))
    constants: dict[str, Any] = {}
    for node in list(graph.nodes):
        # What is known of some inputs only, the compiler takes for all that is known of any.
        node.meta.pop("val", None)
        if node.op == "get_attr":
            if node.target not in constants:
                with graph.inserting_before(first):
                    constants[node.target] = graph.placeholder(f"constant_{len(constants)}")
            node.replace_all_uses_with(constants[node.target])
            graph.erase_node(node)
    graph.set_codegen(CodeGen())
    return GraphModule({}, graph), [getattr(module, name) for name in constants]
