"""What every benchmark does alike: it stays on one processor, and writes its numbers with all that made them."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Distributions that others' arms need, and the modules that they are imported by.
PEERS = {"torchebm": "torchebm", "ebmkit": "ebm", "numpyro": "numpyro", "jax": "jax"}
#: Share of the processor below which figures are not to be used.
QUIET = 0.95
#: The processors that this process may use, before it keeps to the first.
PROCESSORS: list[int] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
_LOAD = os.getloadavg() if hasattr(os, "getloadavg") else ()


def keep_to_one_processor() -> None:
    """As `taskset` does: threads of whatever library share the one processor that every arm has.

    To be called before libraries that count processors are imported. Where a system has no such call nothing is done.
    """
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, PROCESSORS[:1])


def installed(peer: str) -> bool:
    """Whether the peer's arms can be timed here."""
    return peer in versions() and find_spec(PEERS[peer]) is not None


def versions() -> dict[str, str]:
    """The peers that are installed, and Pyro."""
    found = {}
    for name in (*PEERS, "pyro-ppl"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory() -> int:
    """The most bytes of memory that this process has held.

    On Linux `getrusage` starts from what the parent held when the process was made, so that there the kernel's own
    account of the process is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def absent(peers: Sequence[str]) -> str:
    """Which of the peers are not installed, and how to have them; "" where all are."""
    missing = [peer for peer in peers if not installed(peer)]
    how = "pip install -c constraints.txt -e '.[benchmark]'"
    return f"not installed, so that their arms are left out: {', '.join(missing)} ({how})" if missing else ""


def write(out: Path | None, benchmark: str, processor_share: float | None, **found: Any) -> None:
    """Keep what a benchmark found, with versions, commit, hardware and load; without a file nothing is kept.

    Args:
        processor_share: of the time of what was timed, how much the process had the processor; None where processes
            are timed that wait for disks.
    """
    from ebm_vs_prob.study.provenance import provenance

    if processor_share is not None and processor_share < QUIET:
        print(
            f"Not quiet: what was timed had the processor {processor_share:.0%} of the time. Run it again.",
            file=sys.stderr,
        )
    if out is None:
        return
    result = {
        "benchmark": benchmark,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "provenance": provenance("cpu"),
        "peers": versions(),
        "platform": platform.platform(),
        "load_average_before": _LOAD,
        "processor_share": processor_share,
        **found,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {out}", file=sys.stderr)
