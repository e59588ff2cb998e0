"""Rules every test lives under: one thread, derandomised search, and global random generators left alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# The same examples on every machine; no deadline, because shared cores make single calls slow at random.
settings.register_profile(
    "derandomised", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("derandomised")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "uses_global_generator: the test may move a global random state")


def _global_states() -> dict[str, bytes]:
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr((name, rest)).encode() + np.asarray(keys).tobytes(),
        "random": repr(random.getstate()).encode(),
    }


@pytest.fixture(autouse=True)
def global_generators_left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that moved a global generator, unless it is marked `uses_global_generator`."""
    before = _global_states()
    yield
    if request.node.get_closest_marker("uses_global_generator") is None:
        moved = [name for name, state in _global_states().items() if state != before[name]]
        assert not moved, f"global random state was changed: {', '.join(moved)}"
