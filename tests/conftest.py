"""Rules of every test: one thread unless the environment says more, derandomised search, no global generator moved."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Not the user's own: what the compiler makes for tests, and constants that no test waits for to be measured.
os.environ.setdefault("EBM_VS_PROB_CACHE", str(Path(tempfile.gettempdir(), f"ebm-vs-prob-tests-{os.getuid()}")))

import pytest
import torch
from hypothesis import HealthCheck, settings

from ebm_vs_prob.study.step_times import TYPICAL, keep, machine
from ebm_vs_prob.testing import global_random_state

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# A shell starts what it puts into the background deaf to Ctrl-C, and so would be every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every machine; no deadline, because shared cores make single calls slow at random.
settings.register_profile(
    "derandomised", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("derandomised")


def pytest_configure(config: pytest.Config) -> None:
    keep(TYPICAL.model_copy(update={"machine": machine()}))
    config.addinivalue_line("markers", "uses_global_generator: the test may move a global random state")


def pytest_collection_finish() -> None:
    """Whatever was imported stays, so no collection of garbage need walk through it, a third of a second each time.

    The package collects after each failure of a batch, and Python by itself every now and then.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def global_generators_left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that moved a global generator, unless it is marked `uses_global_generator`."""
    before = global_random_state()
    yield
    if request.node.get_closest_marker("uses_global_generator") is None:
        moved = [name for name, state in global_random_state().items() if state != before[name]]
        # dask's loop, where it outlives the test that began it, draws from Python's generator to connect again.
        if any(thread.name == "IO loop" for thread in threading.enumerate()):
            moved = [name for name in moved if name != "random"]
        assert not moved, f"global random state was changed: {', '.join(moved)}"
