"""The entry point of `ebm-vs-prob` and of `python -m ebm_vs_prob.cli`."""

from __future__ import annotations

import sys


def entry() -> int:
    """Run the command line of this process and return the exit code."""
    from ..core import streams

    streams.open_closed()
    try:
        from .commands import main
    except KeyboardInterrupt:  # before signals are looked after
        print("ebm-vs-prob: error: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(entry())
