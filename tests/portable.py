"""Runs the tests marked `portable` under the arithmetic of other processors; arguments but `--all` go to pytest.

What rounds differently is the vector width of torch's own kernels, the code path of MKL, and the number of threads,
which splits sums. Each can be set by the environment, and only before torch is loaded, so that every setting has a
process of its own. A setting that this processor cannot run is skipped by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SETTINGS: list[dict[str, str]] = [
    {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "avx512", "MKL_CBWR": "AVX512"},
    {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    dict.fromkeys(THREADS, "2"),
]
#: Those that the fast suite, which runs as the processor is, has least in common with; `--all` runs every one.
USUAL = (0, 1, 4)
#: torch's names of x86's instruction sets, each of which includes those before it.
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")
#: The exit status by which a process says that its setting does not exist here.
CANNOT = 77
SIDE_BY_SIDE = 2


def label(setting: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in setting.items())


def environment(setting: dict[str, str]) -> dict[str, str]:
    """The environment with nothing set but `setting`, and one thread unless it says otherwise."""
    names = {name for each in SETTINGS for name in each}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    return inherited | dict.fromkeys(THREADS, "1") | setting


def mkl_report() -> str:
    """What MKL says of itself and of one product: its instruction set, and after `CNR:` its code path."""
    import ctypes

    import torch

    with tempfile.TemporaryFile() as file:
        libc, kept = ctypes.CDLL(None), os.dup(1)
        try:
            os.dup2(file.fileno(), 1)
            with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
                torch.ones(8, 8) @ torch.ones(8, 8)
            libc.fflush(None)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return file.read().decode(errors="replace")


def missing(setting: dict[str, str]) -> str | None:
    """Why the setting does not exist on this processor, or None; asked before torch runs a kernel under it."""
    wanted = setting.get("ATEN_CPU_CAPABILITY", "default").upper()
    if wanted != "DEFAULT":
        widest = subprocess.run(
            [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"],
            env=environment({}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        if widest not in CAPABILITIES or CAPABILITIES.index(widest) < CAPABILITIES.index(wanted):
            return f"torch finds {widest}"
    if any(name.startswith("MKL_") and name not in THREADS for name in setting):
        import torch

        if not torch.backends.mkl.is_available():
            return "torch was built without MKL"
        said = mkl_report()
        if "MKL_CBWR" in setting and f"CNR:{setting['MKL_CBWR']} " not in said:
            return "MKL has no such code path on this processor"
        if setting.get("MKL_ENABLE_INSTRUCTIONS") == "AVX2" and "Advanced Vector Extensions 2" not in said:
            return "MKL does not run AVX2 on this processor"
    return None


def child(setting: dict[str, str], arguments: list[str]) -> int:
    """The tests in this process, once the setting is known to have taken hold."""
    why = missing(setting)
    if why is not None:
        print(f"skipped: {why}")
        return CANNOT
    import pytest
    import torch

    code = pytest.main(["-m", "portable and not slow and not long", "-p", "no:cacheprovider", "-n", "0", *arguments])
    wanted = {"threads": int(os.environ["OMP_NUM_THREADS"])}
    found = {"threads": torch.get_num_threads()}
    if "ATEN_CPU_CAPABILITY" in setting:
        wanted["capability"] = setting["ATEN_CPU_CAPABILITY"].upper()
        found["capability"] = torch.backends.cpu.get_cpu_capability()
    if found != wanted:
        print(f"the setting did not take hold: wanted {wanted}, found {found}")
        return 1
    return int(code)


def run(index: int, arguments: list[str]) -> int:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--setting", str(index), *arguments],
        cwd=ROOT,
        env=environment(SETTINGS[index]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    verdict = {0: "passed", CANNOT: "skipped"}.get(done.returncode, f"FAILED ({done.returncode})")
    last = (done.stdout.strip().splitlines() or [""])[-1]
    text = last if done.returncode in (0, CANNOT) else done.stdout
    print(f"{label(SETTINGS[index])}: {verdict} after {time.monotonic() - start:.0f} s\n    {text}", flush=True)
    return done.returncode


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--setting"]:
        return child(SETTINGS[int(arguments[1])], arguments[2:])
    chosen = range(len(SETTINGS)) if "--all" in arguments else USUAL
    given = [argument for argument in arguments if argument != "--all"]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        codes = list(pool.map(lambda index: run(index, given), chosen))
    return int(any(code not in (0, CANNOT) for code in codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
