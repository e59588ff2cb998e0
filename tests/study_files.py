"""Small study files for tests of the study machinery."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.study.shards import Entry
from ebm_vs_prob.study.store import Store
from ebm_vs_prob.study.table import planned_trials

BASE = """
schema = 1
name = "rings"
title = "Rings"
claims = ["C11", "C12"]
plugins = ["study_plugin"]

[scales.quick]
seeds = {seeds}
network = {{ hidden = [4] }}
budget = {{ steps = 3, batch_size = 8, examples = 32 }}
evaluation = {{ test_examples = 16, inputs = 2, starts = 2, samples = 8 }}
time_limit = {time_limit}

[evaluation]
max_steps = 3

[[tasks]]
name = "circle"
along = {{ thickness = [{thickness}] }}
"""

ARM = """
[[arms]]
name = "{name}"
method = "{method}"
options = {{ {options} }}
"""

CRITERION = """
[[criteria]]
id = "slope"
claim = "C11"
statement = "It sharpens"
kind = "slope"
metric = "curvature_p95"
arms = ["plain"]
tasks = ["circle"]
range = [0.003, 0.3]
below = -1.0
"""

#: A criterion of the study that `write_study` writes.
DENSITY_CRITERION = """
[[criteria]]
id = "density"
claim = "C11"
statement = "It has density where the data are"
kind = "value"
metric = "gibbs_log_score"
arms = ["plain"]
tasks = ["circle"]
at = [0.1]
above = -3.0
"""


def write_study(
    path: Path,
    arms: dict[str, tuple[str, str]] | None = None,
    seeds: int = 3,
    thickness: str = "0.3, 0.1",
    time_limit: float = 60.0,
    extra: str = "",
) -> Path:
    """A study of the plugin's methods; `arms` maps a name to (method, options as TOML)."""
    text = BASE.format(seeds=seeds, thickness=thickness, time_limit=time_limit)
    for name, (method, options) in (arms or {"plain": ("ring", "")}).items():
        text += ARM.format(name=name, method=method, options=options)
    path.write_text(text + extra, encoding="utf-8")
    return path


@contextmanager
def registered_plugin() -> Iterator[ModuleType]:
    """`study_plugin`, whose methods are registered inside only: elsewhere tests would find them."""
    import study_plugin

    for method in study_plugin.REGISTERED:
        METHODS.register(method)
    try:
        yield study_plugin
    finally:
        for method in study_plugin.REGISTERED:
            METHODS.unregister(method.name)


def copy_changed(
    first: Store,
    second: Path,
    study: str,
    change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    elsewhere: str = "",
) -> Store:
    """A copy of a store at `second`, each row of metrics as `change` makes it of the record and the row, as if made on
    another processor where one is named."""
    shutil.copytree(first.root, second)
    store = Store(second)
    for key, record, _ in list(store.records(planned_trials(store.plan(study, "quick")))):
        content = {name: value for name, value in record.items() if name not in ("schema", "trial")}
        content["metrics"] = [change(record, dict(row)) for row in record["metrics"]]
        if elsewhere:
            source = content["provenance"]
            content["provenance"] = {**source, "hardware": {**source["hardware"], "processor": elsewhere}}
        store.forget([key])
        store.write([Entry(key, content, {})])
    return store
