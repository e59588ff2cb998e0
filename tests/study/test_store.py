"""Records are atomic, checksummed and readable without the package; damage is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from ebm_vs_prob.comparison import containers as inference_data
from ebm_vs_prob.core.atomic_files import write_atomically
from ebm_vs_prob.core.errors import UnknownName
from ebm_vs_prob.study.store import DamagedRecord, Store

KEY = "ab" + "0" * 62
CONTENT = {"status": "done", "metrics": [{"metric": "kl", "value": 0.1, "error": None}], "notes": {"kl": "ε → 0"}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_what_is_written_is_read(store):
    written = store.write(KEY, CONTENT, {"arrays": save({"a": np.arange(6.0).reshape(2, 3)})})
    read = store.read(KEY, verify_files=True)
    assert read == written
    assert read["metrics"] == CONTENT["metrics"]
    np.testing.assert_array_equal(store.load_arrays(KEY)["a"], np.arange(6.0).reshape(2, 3))
    assert store.read("ff" + KEY[2:]) is None
    assert store.inference_data_path(KEY) is None


def test_record_is_plain_json_with_a_checksum_anyone_can_compute(store):
    store.write(KEY, CONTENT, {"arrays": save({"a": np.ones(2, np.float32)})})
    record = json.loads(store.path(KEY).read_text(encoding="utf-8"))
    checksum = record.pop("checksum")
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == checksum
    beside = store.path(KEY, record["files"]["arrays"]["suffix"]).read_bytes()
    assert hashlib.sha256(beside).hexdigest() == record["files"]["arrays"]["sha256"]
    assert list(load(beside)) == ["a"]


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_record_is_noticed(tmp_path_factory, position, bit):
    store = Store(tmp_path_factory.mktemp("store"))
    store.write(KEY, CONTENT, {})
    content = bytearray(store.path(KEY).read_bytes())
    end = content.rindex(b"}")  # what follows the closing brace is white space
    content[position % (end + 1)] ^= 1 << bit
    store.path(KEY).write_bytes(content)
    with pytest.raises(DamagedRecord):
        store.read(KEY)


@pytest.mark.parametrize("length", [0, 1, 50, -3])
def test_a_torn_record_is_noticed_and_set_aside(store, length):
    store.write(KEY, CONTENT, {"arrays": save({"a": np.ones(2)})})
    content = store.path(KEY).read_bytes()
    store.path(KEY).write_bytes(content[:length])
    with pytest.raises(DamagedRecord, match="cannot be read"):
        store.read(KEY)
    store.set_aside(KEY, "torn")
    assert store.read(KEY) is None
    assert len(list((store.root / "damaged").iterdir())) == 2
    assert [(i["kind"], i["trial"]) for i in store.incidents()] == [("damaged record", KEY)]


def test_arrays_that_do_not_match_are_noticed(store):
    store.write(KEY, CONTENT, {"arrays": save({"a": np.ones(2)})})
    store.path(KEY, ".safetensors").write_bytes(save({"a": np.zeros(2)}))
    assert store.read(KEY) is not None
    for look in (lambda: store.read(KEY, verify_files=True), lambda: store.load_arrays(KEY)):
        with pytest.raises(DamagedRecord, match="do not match"):
            look()
    store.path(KEY, ".safetensors").unlink()
    with pytest.raises(DamagedRecord, match="lacks its arrays"):
        store.load_arrays(KEY)


def test_a_record_under_another_key_is_noticed(store):
    store.write(KEY, CONTENT, {})
    other = KEY[:-1] + "1"
    store.path(other).write_bytes(store.path(KEY).read_bytes())
    with pytest.raises(DamagedRecord, match="another trial"):
        store.read(other)


def test_a_record_of_a_later_schema_is_refused_with_what_to_do(store, monkeypatch):
    monkeypatch.setattr("ebm_vs_prob.study.store.SCHEMA", 2)
    store.write(KEY, CONTENT, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has schema 2: this version reads 1"):
        store.read(KEY)


def test_unknown_names_say_what_to_do(store):
    with pytest.raises(UnknownName, match="ebm-vs-prob run rings --scale quick"):
        store.plan("rings", "quick")
    with pytest.raises(UnknownName, match="unknown trial"):
        store.load_arrays(KEY)


def test_one_driver_at_a_time(store):
    with store.lock("rings", "quick"):
        with pytest.raises(RuntimeError, match="is being run by another process"), store.lock("rings", "quick"):
            pass
        with store.lock("rings", "full"):
            pass
    with store.lock("rings", "quick"):
        pass


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys
from pathlib import Path
from ebm_vs_prob.core.atomic_files import write_atomically
content = [bytes([65 + i]) * 3_000_000 for i in range(2)]
print("ready", flush=True)
for turn in range(10**9):
    write_atomically(Path(sys.argv[1]) / "trials" / "file", content[turn % 2])
"""


def test_kill_9_while_writing_leaves_a_whole_file(tmp_path):
    store = Store(tmp_path)
    for wait in (0.02, 0.07, 0.11):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.2 + wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        content = (tmp_path / "trials" / "file").read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
    store.remove_leftovers()
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["file"]


def test_leftovers_of_living_processes_stay(tmp_path):
    mine = tmp_path / f".x.json.{os.uname().nodename.replace('.', '-')}.{os.getpid()}.abc.tmp"
    elsewhere = tmp_path / ".x.json.another-machine.1.abc.tmp"
    for path in (mine, elsewhere):
        path.touch()
    Store(tmp_path).remove_leftovers()
    assert mine.exists()
    assert elsewhere.exists()


def test_samples_and_loss_survive_as_inference_data(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "samples_x": rng.normal(size=(5, 0)),
        "samples_y": rng.normal(size=(5, 2)),
        "data_x": rng.normal(size=(7, 1)),
        "data_y": rng.normal(size=(7, 2)),
        "data_log_likelihood": rng.normal(size=7),
    }
    loss = rng.normal(size=9)
    path = tmp_path / "x.nc"
    path.write_bytes(inference_data.to_netcdf(arrays, loss, {"trial": KEY}))
    read = inference_data.read(path)
    np.testing.assert_array_equal(read.posterior_predictive["y"].values, arrays["samples_y"][None])
    assert read.posterior_predictive["y"].dims == ("chain", "draw", "y_dim")
    assert "x" not in read.posterior_predictive
    np.testing.assert_array_equal(read.observed_data["x"].values, arrays["data_x"])
    np.testing.assert_array_equal(read.sample_stats["loss"].values, loss[None])
    np.testing.assert_array_equal(read.log_likelihood["y"].values, arrays["data_log_likelihood"][None, None])
    assert read.attrs["trial"] == KEY


FOREIGN_NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name)
STORE_LIKE = st.sampled_from(
    [b".x.tmp", b".a.b.c.tmp", b".x.json.host.1.tmp", b"notes.json", b"README.json", b"0" * 32 + b".json", b".json"]
)


@given(
    name=(FOREIGN_NAMES | STORE_LIKE).filter(lambda name: name not in (b".", b"..")),
    content=st.binary(max_size=60) | st.sampled_from([b"[1]", b'{"checksum": NaN, "schema": 1}', b"[" * 5000, None]),
    folder=st.sampled_from(["", "trials", "trials/ab", "incidents", "damaged", "studies", "studies/s/quick"]),
)
def test_names_that_are_not_the_stores_are_left_and_damaged_incidents_set_aside(
    tmp_path_factory, name, content, folder
):
    root = tmp_path_factory.mktemp("foreign")
    store = Store(root)
    store.write(KEY, CONTENT, {})
    store.report("kind", KEY, "detail")
    store.write_plan({"study": "s", "scale": "quick", "conditions": [{"first_seed": 0, "trials": [KEY]}]})
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    path = os.path.join(os.fsencode(place), name)
    if os.path.exists(path):
        return
    if content is None:
        os.mkdir(path)
    else:
        with open(path, "wb") as file:
            file.write(content)
    store.remove_leftovers()
    assert [incident["trial"] for incident in store.incidents()] == [KEY]
    assert store.sound(KEY)
    assert [record["status"] for _, record, _ in store.records("s", "quick")] == ["done"]
    set_aside = folder == "incidents" and name == b"0" * 32 + b".json"
    assert os.path.exists(path) != set_aside


@given(content=st.binary(max_size=60) | st.sampled_from([b"[]", b'{"checksum": 1, "schema": NaN}', b"[" * 5000, None]))
def test_anything_in_a_records_place_is_set_aside(tmp_path_factory, content):
    store = Store(tmp_path_factory.mktemp("place"))
    path = store.path(KEY)
    if content is None:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert not store.sound(KEY)
    store.write(KEY, CONTENT, {})
    assert store.sound(KEY)
    assert [incident["trial"] for incident in store.incidents()] == [KEY]
    assert len(list((store.root / "damaged").iterdir())) == 1
