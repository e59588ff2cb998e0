"""A finished study of ten thousand trials in a store, and what reading it takes: seconds and memory of fresh processes.

python -m benchmarks.store_at_size FOLDER            make the study and its store, unless they are there, and measure
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("hinge", "square_square", "denoising_score_matching", "mixture_density", "mean_squared_error")
SEEDS, NUM_METRICS, TOGETHER, WITH_ARRAYS = 200, 48, 32, 10
THICKNESS = [round(0.3 * 0.7**step, 6) for step in range(10)]

STUDY = """
schema = 1
name = "ten_thousand"
title = "Ten thousand trials"
claims = ["C17"]

[scales.quick]
seeds = {seeds}
network = {{ hidden = [32, 32] }}
budget = {{ steps = 1500, batch_size = 64, examples = 1000 }}

[[tasks]]
name = "circle"
thickness = {thickness}
"""
ARM = '\n[[arms]]\nname = "{0}"\nmethod = "{0}"\n'

MAIN = "from ebm_vs_prob.cli.commands import main; "
COMMANDS = {
    "plan": MAIN + "main(['plan', study])",
    "status, no table yet": MAIN + "main(['status', study, '--store', store])",
    "load_results, no table yet": "import ebm_vs_prob as evp; evp.load_results(study, store=store)",
    "run with nothing to do, no table yet": MAIN + "main(['run', study, '--store', store])",
    "run with nothing to do": MAIN + "main(['run', study, '--store', store])",
    "status": MAIN + "main(['status', study, '--store', store])",
    "load_results": "import ebm_vs_prob as evp; evp.load_results(study, store=store)",
    "report": MAIN + "main(['report', study, '--store', store, '--out', store + '/../reports'])",
}


def make(folder: Path) -> int:
    """Write the study and a store in which all its trials are done; how many these are."""
    from safetensors.numpy import save

    from ebm_vs_prob.comparison.containers import to_netcdf
    from ebm_vs_prob.study import Store, plan_study
    from ebm_vs_prob.study.shards import Entry

    folder.mkdir(parents=True, exist_ok=True)
    study = folder / "ten_thousand.toml"
    text = STUDY.format(seeds=SEEDS, thickness=THICKNESS) + "".join(ARM.format(arm) for arm in ARMS)
    study.write_text(text, encoding="utf-8")
    planned, store = plan_study(study, device="cpu"), Store(folder / "store")
    trials, rng = planned.trials, np.random.default_rng(0)
    container = to_netcdf(_arrays(rng), rng.normal(size=1500), {"trial": "one for all"})
    with store.lock("ten_thousand", "quick"):
        store.write_plan(planned.to_record())
        for start in range(0, len(trials), TOGETHER):
            entries = []
            for index, trial in enumerate(trials[start : start + TOGETHER], start):
                files = {"arrays": save(_arrays(rng)), "inference_data": container}
                entries.append(Entry(trial.key, _record(trial, rng, start), {} if index % WITH_ARRAYS else files))
            store.write(entries)
    return len(trials)


def _record(trial: Any, rng: np.random.Generator, batch: int) -> dict[str, Any]:
    from ebm_vs_prob.metrics.catalogue import METRICS
    from ebm_vs_prob.study.provenance import code_digest, provenance

    names = list(METRICS)[:NUM_METRICS]
    measured = {"unit": "nats", "n": 512}
    return {
        "batch": f"{batch:064x}",
        "specification": trial.specification,
        "status": "done",
        "reason": "",
        "traceback": "",
        "steps": 1500,
        "metrics": [{"metric": name, "value": rng.normal(), "error": rng.uniform(), **measured} for name in names],
        "energies": rng.normal(size=8).tolist(),
        "notes": dict.fromkeys(names[::6], "a note that says why it is so"),
        "provenance": {**provenance("cpu"), "written": "2026-01-01T00:00:00+00:00", "seconds": {"fit": rng.uniform()}},
        "code_digest": code_digest(),
        "plugins": {},
    }


def _arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As `metrics.landscapes` makes them of a task in two dimensions."""
    axis = np.linspace(-2, 2, 161, dtype=np.float32)
    clouds = {f"{name}_y": rng.normal(size=(512, 2)).astype(np.float32) for name in ("data", "answers", "samples")}
    empty = {name.replace("_y", "_x"): np.zeros((512, 0), np.float32) for name in clouds}
    height = np.add.outer(axis**2, axis**2) + rng.normal(size=(161, 161)).astype(np.float32)
    return {"axis_0": axis, "axis_1": axis, "energy": height, **clouds, **empty}


def measure(code: str, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of a fresh process."""
    preamble = f"study, store = {str(folder / 'ten_thousand.toml')!r}, {str(folder / 'store')!r}\n"
    tail = (
        "\nimport resource, sys; print('\\nPEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", preamble + code + tail], capture_output=True, text=True, check=True, env=environment
    )
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 2), "megabytes": round(int(done.stderr.rpartition("PEAK ")[2]) / 1024)}


def main() -> None:
    folder = Path(sys.argv[1])
    trials = len(ARMS) * SEEDS * len(THICKNESS)
    if not (folder / "store").exists():
        trials = make(folder)
    shards = [path.stat().st_size for path in (folder / "store" / "shards").iterdir()]
    print(json.dumps({"trials": trials, "shards": len(shards), "megabytes": round(sum(shards) / 2**20)}))
    for name, code in COMMANDS.items():
        print(json.dumps({"what": name, **measure(code, folder)}), flush=True)


if __name__ == "__main__":
    main()
