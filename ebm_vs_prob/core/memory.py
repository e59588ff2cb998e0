"""What follows from a task alone, computed once for all models that are held against it.

Arms of a study are trained on the same pairs and measured against the same truth. Where the truth is dear, a sum over
all segmentations of a strip say, it would otherwise cost more than the models.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import torch

    Tensors = torch.Tensor | tuple[torch.Tensor, ...]

Found = TypeVar("Found", bound="Tensors")

#: What a memory holds at most, in bytes.
MOST_BYTES = 3 * 2**29


class Specified(Protocol):
    """What says of itself all that its numbers follow from, as tasks do."""

    def specification(self) -> dict[str, Any]:
        """Name, version and options, JSON-ready."""


class Memory:
    """Tensors by what they follow from; those used least recently are forgotten where they take too much."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._held: OrderedDict[str, Tensors] = OrderedDict()
        self._lock = threading.Lock()

    def once(self, key: str, compute: Callable[[], Found]) -> Found:
        """What is held under the key, or else what `compute` gives; nobody may write to it."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]  # type: ignore[return-value]
        found = compute()
        size = _bytes(found)
        with self._lock:
            if key not in self._held and size <= self.most_bytes:
                self._held[key] = found
                self.held_bytes += size
            while self.held_bytes > self.most_bytes:
                self.held_bytes -= _bytes(self._held.popitem(last=False)[1])
        return found

    def forget(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._held.clear()
            self.held_bytes = 0


_CURRENT: ContextVar[Memory | None] = ContextVar("memory", default=None)


@contextmanager
def remembering(memory: Memory | None = None) -> Iterator[None]:
    """Within the block `once` has a memory: the given one, else that of a block around this one, else a new one."""
    token = _CURRENT.set(memory or _CURRENT.get() or Memory())
    try:
        yield
    finally:
        _CURRENT.reset(token)


def once(tasks: Specified | tuple[Specified, ...], what: str, *given: Any, compute: Callable[[], Found]) -> Found:
    """`compute()`, or within `remembering` what it gave for equal tasks, `what` and `given`; nobody may write to it.

    Args:
        tasks: known by kind and specification: same options, same task.
        given: tensors, by their values, and JSON-ready ones.
    """
    memory = _CURRENT.get()
    if memory is None:
        return compute()
    several = tasks if isinstance(tasks, tuple) else (tasks,)
    kinds = [(type(task).__module__, type(task).__qualname__, task.specification()) for task in several]
    digest = hashlib.blake2b(json.dumps([kinds, what], sort_keys=True).encode(), digest_size=32)
    for value in given:
        digest.update(_content(value))
    return memory.once(digest.hexdigest(), compute)


def _content(value: Any) -> bytes:
    import torch

    if not isinstance(value, torch.Tensor):
        return json.dumps(value).encode()
    numbers = value.detach().cpu().contiguous()
    return f"{numbers.dtype}{tuple(numbers.shape)}{value.device}".encode() + numbers.numpy().tobytes()


def _bytes(found: Tensors) -> int:
    import torch

    parts = (found,) if isinstance(found, torch.Tensor) else found
    return sum(part.untyped_storage().nbytes() for part in parts)
