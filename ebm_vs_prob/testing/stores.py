"""The rules of a store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .rules import expect, global_generators_left_alone, rule

if TYPE_CHECKING:
    from ..study.store import Store

_KEYS = tuple(f"{index:02x}" * 32 for index in (7, 171, 255))
_CONTENT = {"status": "done", "metrics": [{"metric": "λ", "value": 0.1, "error": None}], "notes": {"λ": "ε → 0"}}


def check_store(make: Callable[[Path], Store]) -> None:
    """Check a kind of store; `make(folder)` opens the store that lives in that folder.

    Rules:
        1. A trial that was never written reads as None; asking for its arrays is a `LookupError`.
        2. What `write` was given is what `read` and `load_arrays` give back, also from a store opened afterwards.
        3. Other trials are not touched by a write, and no temporary file is left.
        4. A record or an array file that was torn, altered or lost is `DamagedRecord` when read; `sound` sets it aside,
           so that the trial reads as None and can be written again, and reports it among `incidents`.
        5. The last plan written is the plan; the plan of a study that was not run is a `LookupError`.

    Raises:
        AssertionError: a rule is broken.
    """
    with tempfile.TemporaryDirectory() as folder, global_generators_left_alone("store"):
        root = Path(folder) / "store"
        who = f"store {type(make(root)).__qualname__!r}"
        _check_round_trip(make, root, who)
        _check_damage(make(root), who)
        _check_plans(make, root, who)


def _check_round_trip(make: Callable[[Path], Store], root: Path, who: str) -> None:
    from safetensors.numpy import save

    store = make(root)
    rule(store.read(_KEYS[0]) is None, who, "a trial that was never written must read as None")
    expect(LookupError, who, "the arrays of an unknown trial", lambda: store.load_arrays(_KEYS[0]))
    arrays: dict[str, np.ndarray] = {"energy": np.arange(6, dtype=np.float32).reshape(2, 3), "empty": np.empty((0, 2))}
    written = store.write(_KEYS[0], _CONTENT, {"arrays": save(arrays)})
    store.write(_KEYS[1], {**_CONTENT, "status": "failed"}, {})
    for opened in (store, make(root)):
        read = opened.read(_KEYS[0], verify_files=True)
        rule(read == written, who, "read must give what write returned")
        rule({**_CONTENT, **(read or {})} == read, who, "a record must hold what it was given, unchanged")
        loaded = opened.load_arrays(_KEYS[0])
        same = set(loaded) == set(arrays) and all(
            np.array_equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in arrays.items()
        )
        rule(same, who, "load_arrays must give the arrays that were written, bit for bit")
        rule(opened.load_arrays(_KEYS[1]) == {}, who, "a trial without arrays must give none")
    rule(not list(root.rglob("*.tmp")), who, "no temporary file may be left")


def _check_damage(store: Store, who: str) -> None:
    from safetensors.numpy import save

    from ..study.store import DamagedRecord

    key = _KEYS[2]
    files = {"arrays": save({"energy": np.ones(8)})}

    def alter(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    damages: dict[str, tuple[str, Callable[[Path], object]]] = {
        "a torn record": (".json", lambda path: path.write_bytes(path.read_bytes()[:-20])),
        "an altered record": (".json", alter),
        "an altered array file": (".safetensors", alter),
        "a lost array file": (".safetensors", Path.unlink),
    }
    for what, (suffix, damage) in damages.items():
        store.write(key, _CONTENT, files)
        rule(store.sound(key), who, "a record just written must be sound")
        damage(store.path(key, suffix))
        expect(DamagedRecord, who, what, lambda: store.read(key, verify_files=True))
        rule(not store.sound(key), who, f"{what} must not be sound")
        rule(store.read(key) is None, who, f"{what} must be set aside, so that its trial reads as None")
        rule(key in {incident["trial"] for incident in store.incidents()}, who, f"{what} must be among the incidents")
    rule(store.sound(_KEYS[0]) and store.sound(_KEYS[1]), who, "damage to one trial must leave the others sound")


def _check_plans(make: Callable[[Path], Store], root: Path, who: str) -> None:
    expect(LookupError, who, "the plan of a study that was not run", lambda: make(root).plan("small", "quick"))
    for seeds in (2, 3):
        conditions = [{"first_seed": 0, "trials": list(_KEYS[:seeds])}]
        make(root).write_plan({"study": "small", "scale": "quick", "conditions": conditions})
        rule(
            make(root).plan("small", "quick")["conditions"] == conditions, who, "the last plan written must be the plan"
        )
    statuses = [record and record["status"] for _, record, _ in make(root).records("small", "quick")]
    rule(statuses == ["done", "failed", None], who, "records must follow the plan, with None where a trial is pending")


__all__ = ["check_store"]
