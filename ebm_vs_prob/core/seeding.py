"""Random streams that depend on names, not on order: the same stream alone and in company, whatever ran before.

A stream is the SHA-256 of its seed and its named axes, fed to `numpy.random.SeedSequence`. No function here or
elsewhere in the package touches a global generator.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .errors import invalid
from .process_state import SHARED

if TYPE_CHECKING:
    import torch


def check_seed(seed: object, field: str = "seed") -> int:
    """The seed as an int; a `ValueError` unless it is an integer in [0, 2^63)."""
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 2**63:
        raise invalid(field, seed, "an integer in [0, 2**63)")
    return int(seed)


def stream(seed: int, *axes: str | int) -> int:
    """A 63-bit seed for the stream named by `axes`."""
    digest = hashlib.sha256(json.dumps([check_seed(seed), *axes]).encode()).digest()
    words = np.random.SeedSequence(int.from_bytes(digest, "big")).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def numpy_generator(seed: int, *axes: str | int) -> np.random.Generator:
    """A NumPy generator on the named stream."""
    return np.random.default_rng(stream(seed, *axes))


def torch_generator(seed: int, *axes: str | int, device: str = "cpu") -> torch.Generator:
    """A torch generator on the named stream."""
    import torch

    return torch.Generator(device=device).manual_seed(stream(seed, *axes))


@contextmanager
def forked(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators for the block, for libraries that draw from no other, and give them back after.

    Only the generators of the CPU and, where `device` is CUDA, of that device are seeded, and in that case all CUDA
    devices are given back. `torch.manual_seed` would leave every CUDA device reseeded, whatever the block runs on.

    Args:
        seed: of the block's draws, which depend on nothing that ran before. device: that the block draws on.
    """
    import torch

    device = torch.device(device)
    on_cuda = device.type == "cuda"
    with SHARED, torch.random.fork_rng(devices=range(torch.cuda.device_count()) if on_cuda else [], device_type="cuda"):
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def random_module_restored() -> Iterator[None]:
    """Give the generator of `random` back as it was: libraries draw ids from it (rich, dask)."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
