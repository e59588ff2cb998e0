"""The entry point of `ebm-vs-prob` and of `python -m ebm_vs_prob.cli`."""

from __future__ import annotations

import os
import sys
import warnings

#: What a library says when it is imported, of itself and to nobody who runs a study, as Python's `-W` takes it. Workers
#: find it in their environment.
QUIET = "ignore::FutureWarning:arviz"


def entry() -> int:
    """Run the command line of this process and return the exit code."""
    from ..core import streams

    streams.open_closed()
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), QUIET)))
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"arviz\Z")
    try:
        from .commands import main
    except KeyboardInterrupt:  # before signals are looked after
        print("ebm-vs-prob: error: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(entry())
