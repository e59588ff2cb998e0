"""The rules of a store."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .rules import expect, global_generators_left_alone, rule

if TYPE_CHECKING:
    from ..study.shards import Entry
    from ..study.store import Store

_KEYS = tuple(f"{index:02x}" * 32 for index in (7, 171, 255))
_ARRAYS: dict[str, np.ndarray] = {"energy": np.arange(6, dtype=np.float32).reshape(2, 3), "empty": np.empty((0, 2))}


def stored_record(**changes: Any) -> dict[str, Any]:
    """A small record as a store takes it, without its trial's key."""
    whole = {
        "batch": "0" * 64,
        "specification": {"seed": 0},
        "status": "done",
        "reason": "",
        "traceback": "",
        "steps": 3,
        "metrics": [{"metric": "λ", "value": 0.1, "error": None, "unit": "nats", "n": 8}],
        "energies": [1.5, "inf", None],
        "notes": {"λ": "ε → 0"},
        "provenance": {"threads": 1},
        "code_digest": "1" * 64,
        "plugins": {},
    }
    return whole | changes


def stored_plan(study: str, scale: str, trials: list[str]) -> dict[str, Any]:
    """A small plan as a store takes it, of one condition."""
    condition: dict[str, Any] = {
        "task": "circle",
        "arm": "plain",
        "method": "hinge",
        "family": "ebm",
        "principle": "margin",
    }
    condition |= {
        "normalised": False,
        "smoothing": None,
        "axis": "thickness",
        "setting": 0.1,
        "thickness": 0.1,
        "budget": "steps",
        "steps": 3,
    }
    condition |= {"first_seed": 0, "trials": trials, "compiled": False}
    return {
        "study": study,
        "scale": scale,
        "device": "cpu",
        "runs": "2" * 64,
        "package": "3" * 64,
        "file": {},
        "conditions": [condition],
        "skipped": [],
        "step_times": {},
    }


def check_store(make: Callable[[Path], Store]) -> None:
    """Check a kind of store; `make(folder)` opens the store that lives in that folder.

    Rules:
        1. A trial that was never written reads as None and is not sound; asking for its arrays is a `LookupError`.
        2. What `write` was given is what `read`, `records`, `load_arrays` and `inference_data` give back, also from a
           store opened before or afterwards, and `kinds` says which files there are.
        3. Other trials are not touched by a write, no temporary file is left, and a trial written twice is one trial.
        4. A trial whose bytes were torn or altered anywhere, or lie where a folder was put, is never read as sound:
           `sound` sets the damage aside, so that the trial reads as None and can be written again, and reports it
           among `incidents`; the other trials stay. `read` and `records` tell damage and leave it where it is.
           Arrays and netCDF files that are none are not written.
        5. A stop is kept, the last one of a trial, until a record of the trial is written.
        6. What was forgotten reads as None and can be written again; its neighbours stay.
        7. Packing keeps every trial, also of a store that is open elsewhere, and of writers at the same time.
        8. The last plan written is the plan; the plan of a study that was not run is a `LookupError`; a damaged one is
           `DamagedRecord` until it is written again.
        9. One driver at a time holds the lock of a study at a scale.

    Raises:
        AssertionError: a rule is broken.
    """
    checks = (
        _check_round_trip,
        _check_damage,
        _check_stops,
        _check_forgetting,
        _check_packing,
        _check_plans,
        _check_lock,
    )
    with global_generators_left_alone("store"), _quiet():
        for check in checks:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder) / "store"
                check(make, root, f"store {type(make(root)).__qualname__!r}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Damage is made on purpose here; its warnings are nobody's news."""
    log = logging.getLogger("ebm_vs_prob.study")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


@lru_cache(maxsize=1)
def _container() -> bytes:
    from ..comparison.containers import to_netcdf

    return to_netcdf({"samples_y": np.ones((4, 2))}, np.zeros(3), {"trial": _KEYS[0]})


def _entry(key: str, **changes: Any) -> Entry:
    from safetensors.numpy import save

    from ..study.shards import Entry

    files = {"arrays": save(_ARRAYS), "inference_data": _container()} if key == _KEYS[0] else {}
    return Entry(key, stored_record(**changes), files)


def _check_round_trip(make: Callable[[Path], Store], root: Path, who: str) -> None:
    store, earlier = make(root), make(root)
    rule(store.read(_KEYS[0]) is None, who, "a trial that was never written must read as None")
    rule(store.sound(_KEYS) == set(), who, "a trial that was never written must not be sound")
    expect(LookupError, who, "the arrays of an unknown trial", lambda: store.load_arrays(_KEYS[0]))
    rule(earlier.read(_KEYS[1]) is None, who, "a trial that was never written must read as None")
    store.write([_entry(_KEYS[0]), _entry(_KEYS[1], status="failed", reason="training")])
    store.write([_entry(_KEYS[2])])
    store.write([_entry(_KEYS[1], status="failed", reason="training"), _entry(_KEYS[2])])
    for opened in (store, earlier, make(root)):
        told = [key for key, _, _ in opened.records(_KEYS)]
        rule(sorted(told) == sorted(_KEYS), who, "records must tell of each trial once")
        read = {key: record for key, record, _ in opened.records(_KEYS)}
        for key, status in zip(_KEYS, ("done", "failed", "done"), strict=True):
            record = opened.read(key)
            rule(read[key] == record, who, "records must give what read gives")
            given = {**_entry(key).record, "status": status, "reason": "training" if status == "failed" else ""}
            rule(
                record is not None and {**record, **given} == record,
                who,
                "a record must hold what it was given, unchanged",
            )
            rule(record is not None and record["trial"] == key, who, "a record must name its trial")
        rule(opened.sound(_KEYS) == set(_KEYS), who, "records just written must be sound")
        loaded = opened.load_arrays(_KEYS[0])
        same = set(loaded) == set(_ARRAYS) and all(
            np.array_equal(loaded[name], value) and loaded[name].dtype == value.dtype for name, value in _ARRAYS.items()
        )
        rule(same, who, "load_arrays must give the arrays that were written, bit for bit")
        rule(opened.inference_data(_KEYS[0]) == _container(), who, "inference_data must give what was written")
        rule(opened.load_arrays(_KEYS[1]) == {}, who, "a trial without arrays must give none")
        rule(opened.inference_data(_KEYS[1]) is None, who, "a trial without a netCDF file must give None")
        kinds = [opened.kinds(key) for key in _KEYS]
        rule(kinds == [{"arrays", "inference_data"}, set(), set()], who, "kinds must say which files there are")
    rule(not list(root.rglob("*.tmp")), who, "no temporary file may be left")


def _check_damage(make: Callable[[Path], Store], root: Path, who: str) -> None:
    from ..study.documents import DamagedRecord

    def altered(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    def folder_instead(path: Path) -> None:
        path.unlink()
        path.mkdir()

    damages: dict[str, Callable[[Path], object]] = {
        "an altered trial": altered,
        "a torn trial": lambda path: path.write_bytes(path.read_bytes()[:-20]),
        "an empty trial": lambda path: path.write_bytes(b""),
        "a trial with a folder in its place": folder_instead,
    }
    key, neighbour = _KEYS[0], _KEYS[1]
    make(root).write([_entry(neighbour)])
    for what, damage in damages.items():
        before = {path for path in root.rglob("*") if path.is_file()}
        store = make(root)
        store.write([_entry(key, reason=what)])
        reported = len(store.incidents())
        for path in {path for path in root.rglob("*") if path.is_file()} - before:
            damage(path)
        for look in (store, make(root)):
            expect(DamagedRecord, who, what, lambda look=look: look.read(key))  # type: ignore[misc]
            told = {found: (record, damaged) for found, record, damaged in look.records([key, neighbour])}
            rule(told[key][0] is None and bool(told[key][1]), who, f"{what} must be told as damage by records")
        rule(store.sound([key, neighbour]) == {neighbour}, who, f"{what} must not be sound, and its neighbour must be")
        told = {found: (record, damaged) for found, record, damaged in make(root).records([key])}
        rule(told[key] == (None, ""), who, f"{what} must be set aside, so that it reads as None")
        rule(len(make(root).incidents()) > reported, who, f"{what} must be among the incidents")
    for kind in _entry(key).files:
        torn = replace(_entry(key), files={**_entry(key).files, kind: b"torn"})
        expect(DamagedRecord, who, f"{kind} that are none", lambda torn=torn: make(root).write([torn]))  # type: ignore[misc]
    make(root).write([_entry(key)])
    rule(make(root).sound([key]) == {key}, who, "what was damaged must be writable again")


def _check_stops(make: Callable[[Path], Store], root: Path, who: str) -> None:
    store = make(root)
    rule(store.stops() == {}, who, "a new store must know no stops")
    for key, reason in ((_KEYS[0], "killed"), (_KEYS[1], "killed"), (_KEYS[0], "out of memory: ε")):
        store.note_stop(key, reason)
    kept = {_KEYS[0]: "out of memory: ε", _KEYS[1]: "killed"}
    rule(make(root).stops() == kept, who, "the last stop of each trial must be kept")
    rule(store.sound(_KEYS) == set(), who, "a stopped trial must not be sound")
    store.write([_entry(_KEYS[0])])
    rule(make(root).stops() == {_KEYS[1]: "killed"}, who, "the stop of a trial must go when its record is written")


def _check_forgetting(make: Callable[[Path], Store], root: Path, who: str) -> None:
    store = make(root)
    store.write([_entry(key) for key in _KEYS])
    kept = store.read(_KEYS[0])
    store.forget([_KEYS[1], _KEYS[2]])
    for opened in (store, make(root)):
        rule(opened.sound(_KEYS) == {_KEYS[0]}, who, "what was forgotten must not be sound, and the rest must be")
        rule(opened.read(_KEYS[0]) == kept, who, "forgetting a trial must leave the others unchanged")
    same = np.array_equal(store.load_arrays(_KEYS[0])["energy"], _ARRAYS["energy"])
    rule(same, who, "forgetting a trial must leave the arrays of the others")
    store.write([_entry(_KEYS[1], status="failed")])
    again = make(root).read(_KEYS[1])
    rule(again is not None and again["status"] == "failed", who, "what was forgotten must be writable again")


def _check_packing(make: Callable[[Path], Store], root: Path, who: str) -> None:
    open_before = make(root)
    keys = [f"{index:064x}" for index in range(90)]

    def write(part: int) -> None:
        store = make(root)
        for index in range(part, len(keys), 3):
            store.write([_entry(keys[index])])
            if index % 5 == part:
                store.compact()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    open_before.write([_entry(_KEYS[0])])
    make(root).compact()
    for opened in (open_before, make(root)):
        rule(opened.sound([*keys, _KEYS[0]]) == {*keys, _KEYS[0]}, who, "packing must keep every trial")
        same = np.array_equal(opened.load_arrays(_KEYS[0])["energy"], _ARRAYS["energy"])
        rule(same, who, "packing must keep arrays")


def _check_plans(make: Callable[[Path], Store], root: Path, who: str) -> None:
    from ..study.documents import DamagedRecord

    expect(LookupError, who, "the plan of a study that was not run", lambda: make(root).plan("small", "quick"))
    for seeds in (2, 3):
        plan = stored_plan("small", "quick", list(_KEYS[:seeds]))
        make(root).write_plan(plan)
        same = make(root).plan("small", "quick")["conditions"] == plan["conditions"]
        rule(same, who, "the last plan written must be the plan")
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-9])
    expect(DamagedRecord, who, "a torn plan", lambda: make(root).plan("small", "quick"))
    make(root).write_plan(plan)
    same = make(root).plan("small", "quick")["conditions"] == plan["conditions"]
    rule(same, who, "a damaged plan must be writable again")


def _check_lock(make: Callable[[Path], Store], root: Path, who: str) -> None:
    def second() -> None:
        with make(root).lock("small", "quick"):
            pass

    with make(root).lock("small", "quick"):
        expect(RuntimeError, who, "a second driver", second)
        with make(root).lock("small", "full"):
            pass
    second()


__all__ = ["check_store", "stored_plan", "stored_record"]
