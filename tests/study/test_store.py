"""Shards are atomic, named by their content and readable without the package; damage is noticed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from ebm_vs_prob.comparison import containers as inference_data
from ebm_vs_prob.core.atomic_files import check_folder, make_folder, write_atomically
from ebm_vs_prob.core.errors import UnknownName
from ebm_vs_prob.study import folders
from ebm_vs_prob.study.documents import Incident, Stop, StoredPlan, StoredTable, seal, unseal
from ebm_vs_prob.study.shards import Entry, Shard, named_in, pack_members, pack_shard
from ebm_vs_prob.study.store import DamagedRecord, Store
from ebm_vs_prob.testing.stores import stored_plan, stored_record

KEY = "ab" + "0" * 62
OTHER = "cd" + "0" * 62
ARRAYS = {"a": np.arange(6.0).reshape(2, 3)}


def container():
    return inference_data.to_netcdf({"samples_y": np.ones((4, 2))}, np.zeros(3), {"trial": KEY})


def entry(key=KEY, files=None, **changes):
    return Entry(key, stored_record(**changes), files or {})


def shard_of(store):
    (path,) = (store.root / "shards").iterdir()
    return path


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_a_shard_is_an_ordinary_zip_that_anyone_can_check(store):
    name = store.write([entry(files={"arrays": save(ARRAYS)}), entry(OTHER)])
    content = shard_of(store).read_bytes()
    assert shard_of(store).name == f"{hashlib.sha256(content).hexdigest()}.zip" == f"{name}.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == [f"{KEY}.json", f"{KEY}.safetensors", f"{OTHER}.json"]
        record = json.loads(archive.read(f"{KEY}.json"))
        np.testing.assert_array_equal(load(archive.read(f"{KEY}.safetensors"))["a"], ARRAYS["a"])
    assert record == {"schema": 2, "trial": KEY, **stored_record()}


def test_the_same_entries_are_the_same_bytes():
    entries = [entry(files={"arrays": save(ARRAYS), "inference_data": container()}), entry(OTHER, status="failed")]
    content = pack_shard(entries)
    assert pack_shard(entries[::-1]) == content
    shard = Shard(content)
    assert pack_members(shard.members(shard.records.keys())) == content


def test_every_flipped_byte_and_every_length_of_a_shard_is_noticed(tmp_path):
    content = pack_shard([entry(files={"arrays": save(ARRAYS)}), entry(OTHER)])
    shards = tmp_path / "shards"
    shards.mkdir()
    path = shards / f"{hashlib.sha256(content).hexdigest()}.zip"
    altered = [content[:i] + bytes([byte ^ (1 << i % 8)]) + content[i + 1 :] for i, byte in enumerate(content)]
    torn = [content[:length] for length in range(len(content))]
    for number, wrong in enumerate([content + b"\0", *altered, *torn]):
        with pytest.raises(DamagedRecord):
            Shard(wrong, path.stem)
        if number % 23 == 0:
            path.write_bytes(wrong)
            assert {record for _, record, _ in Store(tmp_path).records([KEY, OTHER])} == {None}
    path.write_bytes(content)
    assert Store(tmp_path).sound([KEY, OTHER]) == {KEY, OTHER}


SEALED = {
    StoredPlan: stored_plan("s", "quick", [KEY]),
    StoredTable: {"state": "1" * 64, "sha256": "2" * 64},
    Incident: {"kind": "damaged shard", "trials": [KEY], "detail": "ε"},
    Stop: {"trial": KEY, "reason": "killed"},
}


@pytest.mark.parametrize("shape", SEALED, ids=lambda shape: shape.__name__)
def test_every_flipped_byte_and_every_length_of_another_document_is_noticed(shape):
    checksum, content = seal(shape, SEALED[shape], "it")
    assert unseal(shape, content, "it") == (checksum, {"schema": 2, **SEALED[shape]})
    altered = [content[:i] + bytes([byte ^ (1 << i % 8)]) + content[i + 1 :] for i, byte in enumerate(content)]
    for wrong in [content + b"\n", *altered, *(content[:length] for length in range(len(content)))]:
        with pytest.raises(DamagedRecord):
            unseal(shape, wrong, "it")


# ---- what may not be read ------------------------------------------------------------------------------------------


#: The store's documents and folders, by their places.
FORBIDDEN = {
    "a shard": "shards/*.zip",
    "an incident": "incidents/*.json",
    "a stop": "stopped/*.json",
    "the plan": "studies/s/quick/plan.json",
    "the table": "studies/s/quick/results.parquet",
    "its digest": "studies/s/quick/results.json",
    "shards": "shards",
    "incidents": "incidents",
    "stops": "stopped",
}


def refuse_as_the_system_does(monkeypatch, path):
    """Have the system refuse one path as it does to users whom it does not belong to; it obeys root in all."""

    def refusing(function):
        def call(given, *arguments, **options):
            if isinstance(given, str | os.PathLike) and Path(given) == path:
                raise PermissionError(13, "Permission denied", str(given))
            return function(given, *arguments, **options)

        return call

    for name in ("open", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_this_user_may_not_read_is_told_with_its_path_and_left(store, monkeypatch, what):
    store.write([entry()])
    store.report("kind", [KEY], "detail")
    store.note_stop(OTHER, "killed")
    store.write_plan(stored_plan("s", "quick", [KEY]))
    store.keep_table("s", "quick", store.state([KEY]), b"a table")
    (path,) = store.root.glob(FORBIDDEN[what])
    before = sorted(store.root.rglob("*"))
    state = store.state([KEY])

    def run():
        """What a run does before it trains."""
        store.plan("s", "quick")
        with store.lock("s", "quick"):
            store.mend()
        store.table("s", "quick", state)
        return store.sound([KEY])

    looks = [run]
    if what in ("a shard", "shards"):
        looks += [lambda: store.read(KEY), lambda: store.load_arrays(KEY), lambda: store.sound([KEY]), store.compact]
        looks += [lambda: store.forget([KEY]), lambda: store.state([KEY])]
    with monkeypatch.context() as patch:
        refuse_as_the_system_does(patch, path)
        for look in looks:
            store = Store(store.root)
            with pytest.raises(PermissionError) as caught:
                look()
            said = str(caught.value)
            assert said.startswith(f"'{path}' may not be read by this user")
            assert "mends" not in said
            assert "\n" not in said
    names = {"run.lock", "shards.lock"}
    assert [path for path in sorted(store.root.rglob("*")) if path.name not in names] == before
    assert run() == {KEY}


def test_a_disk_that_fails_while_it_is_read_is_told_with_the_path(store, monkeypatch):
    store.write([entry()])

    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("ebm_vs_prob.study.folders.open_file", lambda path: Failing())
    with pytest.raises(OSError, match=r"Input/output error: '.*\.zip'"):
        store.sound([KEY])
    assert shard_of(store).exists()


@pytest.mark.parametrize("length", [0, 1, 50, -3])
def test_a_torn_shard_is_told_by_readers_and_set_aside_by_a_run(store, length):
    store.write([entry(files={"arrays": save(ARRAYS)})])
    shard_of(store).write_bytes(shard_of(store).read_bytes()[:length])
    for look in (lambda: store.read(KEY), lambda: store.load_arrays(KEY), lambda: store.inference_data(KEY)):
        with pytest.raises(DamagedRecord, match="the next `run` mends it"):
            look()
    assert shard_of(store).exists()
    assert store.sound([KEY]) == set()
    assert store.read(KEY) is None
    assert len(list((store.root / "damaged").iterdir())) == 1
    assert [incident["kind"] for incident in store.incidents()] == ["damaged shard"]


def test_a_torn_shard_still_names_its_trials(store):
    store.write([entry(), entry(OTHER)])
    content = shard_of(store).read_bytes()
    assert named_in(content) == {KEY, OTHER}
    shard_of(store).write_bytes(content[:-40])
    elsewhere = "ef" + "0" * 62
    assert {key: bool(damage) for key, _, damage in store.records([KEY, elsewhere])} == {KEY: True, elsewhere: False}


def test_a_trial_in_two_shards_is_that_of_the_first_and_of_the_other_where_it_is_damaged(store):
    names = {store.write([entry(reason=reason)]): reason for reason in ("one", "two")}
    first, second = sorted(names)
    assert store.read(KEY)["reason"] == names[first]
    path = store.root / "shards" / f"{first}.zip"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.read(KEY)["reason"] == names[second]
    assert store.sound([KEY]) == {KEY}
    assert not path.exists()


def shard_with(text):
    return pack_members({f"{KEY}.json": text, f"{OTHER}.json": changed(trial=OTHER)})


def changed(**changes):
    return json.dumps({"schema": 2, "trial": KEY, **stored_record()} | changes).encode()


HOSTILE = {
    "no JSON": b"{",
    "a list": b"[]",
    "nothing": b"",
    "NaN": changed().replace(b'"steps": 3', b'"steps": NaN'),
    "NaN within": changed().replace(b'{"seed": 0}', b'{"seed": NaN}'),
    "Infinity": changed().replace(b"[1.5,", b"[Infinity,"),
    "a number that is infinite": changed().replace(b"[1.5,", b"[1e999,"),
    "a lone surrogate": changed(reason="\ud800"),
    "no UTF-8": changed().replace(b'"reason": ""', b'"reason": "\xff"'),
    "depth": changed().replace(b'{"seed": 0}', b"[" * 100_000),
    "5000 digits": changed().replace(b'{"seed": 0}', b'{"seed": ' + b"9" * 5000 + b"}"),
    "a huge count": changed(steps=2**63),
    "a negative count": changed(steps=-1),
    "a truth as a count": changed(steps=True),
    "another trial": changed(trial=OTHER),
    "another status": changed(status="well"),
    "a number as reason": changed(reason=3),
    "metrics that are none": changed(metrics=[3]),
    "a metric without value": changed(metrics=[{"metric": "kl"}]),
    "text as value": changed(metrics=[{"metric": "kl", "value": "0.1", "error": None, "unit": "", "n": 1}]),
    "notes that are no text": changed(notes={"kl": 3}),
    "no code digest": changed(code_digest=None),
    "no schema": changed(schema=None),
    "a schema that is true": changed(schema=True),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_record_of_another_shape_is_damage_whatever_its_digest_says(store, what):
    content = shard_with(HOSTILE[what])
    with pytest.raises(DamagedRecord):
        store.add(content)
    write_atomically(store.root / "shards" / f"{hashlib.sha256(content).hexdigest()}.zip", content)
    with pytest.raises(DamagedRecord) as caught:
        store.read(KEY)
    assert "\n" not in str(caught.value)
    assert store.sound([KEY, OTHER]) == set()
    store.write([entry(), entry(OTHER)])
    assert store.sound([KEY, OTHER]) == {KEY, OTHER}


def test_a_record_of_a_later_schema_is_refused_with_its_file_and_what_to_do(store):
    content = shard_with(changed(schema=3))
    name = f"{hashlib.sha256(content).hexdigest()}.zip"
    write_atomically(store.root / "shards" / name, content)
    with pytest.raises(ValueError, match="has schema 3: this version reads 2; use the version that wrote it") as caught:
        store.read(KEY)
    assert f"shards/{name} in the store {str(store.root)!r}" in str(caught.value)
    third = "ab" * 32
    store.write([entry(third)])
    store.write([entry(third, reason="again")])
    store.compact()  # which is about the whole store
    assert store.sound([third]) == {third}
    assert len(list((store.root / "shards").iterdir())) == 2
    assert (store.root / "shards" / name).read_bytes() == content


def zips():
    """Archives that zipfile refuses, or that say they are longer than they are."""
    whole = shard_with(changed())
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{KEY}.json", b" " * (2**26 + 1))
    encrypted = bytearray(whole)
    place = encrypted.rindex(b"PK\x01\x02")
    encrypted[place + 8] |= 1
    method = bytearray(whole)
    method[method.rindex(b"PK\x01\x02") + 10] = 97
    altered = {"encrypted": bytes(encrypted), "an unknown method": bytes(method)}
    return {"a bomb": bomb.getvalue(), "no zip": b"PK", **altered}


@pytest.mark.parametrize("what", zips())
def test_a_zip_that_cannot_be_read_is_damage_whatever_its_digest_says(store, what):
    content = zips()[what]
    with pytest.raises(DamagedRecord):
        store.add(content)
    write_atomically(store.root / "shards" / f"{hashlib.sha256(content).hexdigest()}.zip", content)
    assert {record for _, record, _ in store.records([KEY, OTHER])} == {None}
    assert store.sound([KEY, OTHER]) == set()
    assert list((store.root / "shards").iterdir()) == []


def packed_by_another_tool(members, method):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def put(store, content):
    """Keep bytes as a shard of the right name, whatever they are."""
    path = store.root / "shards" / f"{hashlib.sha256(content).hexdigest()}.zip"
    write_atomically(path, content)
    return path


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_shard_that_another_tool_packed_is_read_however_it_compressed_arrays(store, method):
    arrays = {"a": np.zeros(200_000)}  # a thousand times smaller when compressed
    members = {f"{KEY}.json": changed(), f"{KEY}.safetensors": save(arrays), f"{KEY}.nc": container(), "README": b"x"}
    path = put(store, packed_by_another_tool(members, METHODS[method]))
    assert store.sound([KEY]) == {KEY}
    np.testing.assert_array_equal(store.load_arrays(KEY)["a"], arrays["a"])
    assert store.inference_data(KEY) == container()
    store.write([entry(OTHER)])
    store.compact()
    assert not path.exists()
    np.testing.assert_array_equal(store.load_arrays(KEY)["a"], arrays["a"])


@pytest.mark.parametrize("method", METHODS)
def test_compressed_bytes_that_are_torn_are_damage_whatever_their_digest_says(store, method):
    source = np.random.default_rng(0)
    members = {f"{KEY}.json": changed(), f"{KEY}.safetensors": save({"a": source.normal(size=2000)})}
    content = bytearray(packed_by_another_tool(members, METHODS[method]))
    place = content.index(b"a.safetensors") if b"a.safetensors" in content else content.index(b".safetensors")
    for shift in (14, 400, 9000):
        torn = bytearray(content)
        torn[place + shift] ^= 0x55
        with pytest.raises(DamagedRecord):
            Shard(bytes(torn))


NOT_ARRAYS = {
    "empty": {".safetensors": b"", ".nc": b""},
    "empty arrays": {".safetensors": b""},
    "an empty container": {".nc": b""},
    "swapped": {".safetensors": container(), ".nc": save(ARRAYS)},
    "torn arrays": {".safetensors": save(ARRAYS)[:-1]},
    "a torn container": {".nc": container()[:-1]},
    "the head of a container": {".nc": container()[:8]},
    "a type that numpy has not": {
        ".safetensors": (lambda head: len(head).to_bytes(8, "little") + head + b"\0")(
            b'{"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}'
        )
    },
}


@pytest.mark.parametrize("what", NOT_ARRAYS)
def test_arrays_that_cannot_be_read_are_damage_whatever_their_digest_says(store, what):
    members = {f"{KEY}.json": changed(), f"{KEY}.safetensors": save(ARRAYS), f"{KEY}.nc": container()}
    wrong = members | {f"{KEY}{suffix}": content for suffix, content in NOT_ARRAYS[what].items()}
    put(store, pack_members(wrong))
    for look in (store.read, store.load_arrays, store.inference_data):
        with pytest.raises(DamagedRecord, match=rf"of trial {KEY} cannot be read: .*; the next `run` mends it$"):
            look(KEY)
    assert store.sound([KEY]) == set()
    assert [incident["kind"] for incident in store.incidents()] == ["damaged shard"]
    store.write([entry(files={"arrays": save(ARRAYS), "inference_data": container()})])
    np.testing.assert_array_equal(store.load_arrays(KEY)["a"], ARRAYS["a"])


def test_memory_that_is_out_is_no_damage(store, monkeypatch):
    store.write([entry(files={"arrays": save(ARRAYS)})])

    def refuse(content):
        raise MemoryError

    monkeypatch.setattr("safetensors.numpy.load", refuse)
    with pytest.raises(MemoryError):
        store.sound([KEY])
    assert shard_of(store).exists()


def test_what_compresses_to_nothing_is_not_unpacked_without_end(monkeypatch):
    monkeypatch.setattr("ebm_vs_prob.study.shards.LONGEST_FILE", 10_000)
    members = {f"{KEY}.json": changed(), f"{KEY}.safetensors": save({"a": np.zeros(20_000)})}
    with pytest.raises(DamagedRecord, match="is longer than 10000 bytes"):
        Shard(packed_by_another_tool(members, zipfile.ZIP_DEFLATED))
    Shard(packed_by_another_tool(members, zipfile.ZIP_STORED))  # as long as its shard, which is here already


@pytest.mark.parametrize("wrong", [{"steps": "three"}, {"metrics": None}, {"status": "pending"}])
def test_what_could_not_be_read_is_not_written(store, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        store.write([entry(**wrong)])
    with pytest.raises(ValueError, match="each trial once"):
        store.write([entry(), entry()])
    with pytest.raises(ValueError, match="a kind of file = 'pictures' is not valid"):
        store.write([entry(files={"pictures": b""})])
    assert not store.root.exists()


def test_a_shard_in_whose_place_something_lies_is_written(store):
    name = store.write([entry()])
    for put in (Path.mkdir, lambda path: path.write_bytes(b"torn"), lambda path: path.symlink_to(path)):
        shard_of(store).unlink()
        put(store.root / "shards" / f"{name}.zip")
        assert store.write([entry()]) == name
        assert Store(store.root).sound([KEY]) == {KEY}


def test_the_layout_of_an_earlier_version_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "trials" / "notes").mkdir(parents=True)
    (tmp_path / "trials" / "ab").mkdir()
    Store(tmp_path)  # nobody's records
    (tmp_path / "trials" / "ab" / f"{KEY}.json").touch()
    with pytest.raises(ValueError, match=r"layout of an earlier version.*give another with --store") as caught:
        Store(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 1700, "file/within", "/dev/null/x", "a\0b", "link/x", "/proc/x/y"])
@pytest.mark.parametrize("field", ["store", "out"])
def test_a_path_where_no_folder_can_be_is_refused_by_the_name_of_the_option(tmp_path, name, field):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "link")
    path = tmp_path / name

    def out():
        check_folder(field, path)
        make_folder(field, path)

    use = (lambda: Store(path).write([entry()])) if field == "store" else out
    with pytest.raises(ValueError, match=rf"^{field} = .* is not valid: expected a folder, or a path where") as caught:
        use()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_file_as_store_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(ValueError, match=r"^store = .* is not valid: expected a folder"):
            Store(tmp_path / name)


# ---- packing and forgetting ------------------------------------------------------------------------------------------


def test_small_shards_are_packed_into_fewer_and_all_is_kept(store):
    keys = [f"{index:064x}" for index in range(150)]
    for start in range(0, 100, 10):
        first, *others = keys[start : start + 10]
        store.write([entry(first, files={"arrays": save(ARRAYS)}), *map(entry, others)])
    store.write([entry(key) for key in keys[100:]])
    before = {key: record for key, record, _ in store.records(keys)}
    store.compact()
    shards = [Shard(path.read_bytes()) for path in (store.root / "shards").iterdir()]
    assert sorted(len(shard.records) for shard in shards) == [40, 50, 60]
    assert {key: record for key, record, _ in store.records(keys)} == before
    assert [bool(store.load_arrays(key)) for key in keys[:100:5]] == [True, False] * 10
    names = {shard.name for shard in shards}
    store.compact()
    assert {path.stem for path in (store.root / "shards").iterdir()} == names


def test_what_is_damaged_is_not_packed(store):
    names = [store.write([entry(f"{index:064x}")]) for index in range(3)]
    path = store.root / "shards" / f"{names[1]}.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    store.compact()
    assert path.exists()
    assert store.sound([f"{index:064x}" for index in range(3)]) == {f"{index:064x}" for index in (0, 2)}


def test_a_shard_that_vanishes_while_it_is_looked_for_is_found_where_it_was_packed(store, monkeypatch):
    keys = [f"{index:064x}" for index in range(6)]
    for key in keys:
        store.write([entry(key)])
    packed = []
    opened = store._shards.open

    def pack_first(name):
        if not packed:
            packed.append(name)
            Store(store.root).compact()
        return opened(name)

    monkeypatch.setattr(store._shards, "open", pack_first)
    assert {key for key, record, _ in store.records(keys) if record} == set(keys)
    assert packed


def test_a_forgotten_trial_leaves_its_company_and_its_shard_is_kept(store):
    name = store.write([entry(), entry(OTHER, files={"arrays": save(ARRAYS)})])
    store.write([entry(reason="again")])
    store.forget([KEY])
    assert store.sound([KEY, OTHER]) == {OTHER}
    np.testing.assert_array_equal(store.load_arrays(OTHER)["a"], ARRAYS["a"])
    assert len(list((store.root / "replaced").iterdir())) == 2
    assert any(path.name.startswith(name) for path in (store.root / "replaced").iterdir())
    assert store.incidents() == []


# ---- what lies in the place of the store's own -----------------------------------------------------------------------


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


def test_shards_that_another_process_locks_are_waited_for_aloud_and_not_for_ever(store, monkeypatch, caplog):
    monkeypatch.setattr(folders, "LOCK_QUIET", 0.1)
    monkeypatch.setattr(folders, "LOCK_LIMIT", 0.4)
    store.write([entry(), entry(OTHER)])
    path = store.root / "shards.lock"
    with FileLock(path):
        store.forget([])  # nothing to wait for
        store.compact()  # which another is doing
        assert caplog.messages == []
        with pytest.raises(TimeoutError, match=r"shards\.lock' was held by another process for 0\.4 s.*run again$"):
            store.forget([KEY])
        assert caplog.messages == [f"waiting for {path}, which another process holds"]
    store.forget([KEY])
    assert store.sound([KEY, OTHER]) == {OTHER}


def test_shards_that_another_process_locks_for_a_while_are_waited_for(store, monkeypatch, caplog):
    monkeypatch.setattr(folders, "LOCK_QUIET", 0.1)
    store.write([entry()])
    held = FileLock(store.root / "shards.lock", thread_local=False)
    held.acquire()
    release = threading.Timer(0.4, held.release)
    release.start()
    store.forget([KEY])
    release.join()
    assert len(caplog.messages) == 1
    assert store.sound([KEY]) == set()


def test_a_plan_of_another_study_is_damage(store):
    store.write_plan(stored_plan("s", "quick", [KEY]))
    for study, scale in (("s", "full"), ("t", "quick")):
        folder = store.study_folder(study, scale)
        shutil.copytree(store.study_folder("s", "quick"), folder)
        said = rf"^plan of {study} at {scale} is that of s at quick; the next `run` mends it$"
        with pytest.raises(DamagedRecord, match=said):
            store.plan(study, scale)
        store.write_plan(stored_plan(study, scale, [OTHER]))
        assert store.plan(study, scale)["study"] == study


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


WRITERS = """
import os, random, signal, sys, time
from ebm_vs_prob.study.shards import Entry
from ebm_vs_prob.study.store import Store
from ebm_vs_prob.testing.stores import stored_record
import numpy
from safetensors.numpy import save

ARRAYS = save({"energy": numpy.zeros(50_000, numpy.uint8)})

def write(number):
    store, turn = Store(sys.argv[1]), 0
    while True:
        keys = [f"{number:032x}{2 * turn + side:032x}" for side in range(2)]
        store.write([Entry(key, stored_record(), {"arrays": ARRAYS}) for key in keys])
        os.write(1, (" ".join(keys) + "\\n").encode())
        turn += 1
        if turn % 5 == 0:
            store.compact()

moments = random.Random(0)
for number in range(0, int(sys.argv[2]), 4):
    writers = []
    for side in range(4):
        writer = os.fork()
        if not writer:
            write(number + side)
        writers.append(writer)
    time.sleep(moments.uniform(0.02, 0.2))
    for writer in writers:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
"""


@pytest.mark.parametrize("kills", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_writers_that_are_killed_lose_nothing_that_they_said_was_written(tmp_path, kills):
    """Bare writers, four at a time, killed at random moments while they write or pack."""
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, str(tmp_path), str(kills)], stdout=subprocess.PIPE, timeout=300, check=True
    )
    told = set(done.stdout.decode().split())
    store = Store(tmp_path)
    assert len(told) > kills
    assert store.sound(told) == told
    assert store.incidents() == []
    store.mend()
    assert not list(tmp_path.rglob("*.tmp"))
    store.compact()
    assert store.sound(told) == told


def test_leftovers_of_living_processes_stay(tmp_path):
    (tmp_path / "shards").mkdir()
    mine = tmp_path / "shards" / f".x.json.{os.uname().nodename.replace('.', '-')}.{os.getpid()}.0123456789abcdef.tmp"
    elsewhere = tmp_path / "shards" / ".x.json.another-machine.1.0123456789abcdef.tmp"
    for path in (mine, elsewhere):
        path.touch()
    Store(tmp_path).mend()
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
    content = inference_data.to_netcdf(arrays, loss, {"trial": KEY})
    path = tmp_path / "x.nc"
    path.write_bytes(content)
    assert inference_data.read(path).attrs["trial"] == KEY
    read = inference_data.read(content)
    np.testing.assert_array_equal(read.posterior_predictive["y"].values, arrays["samples_y"][None])
    assert read.posterior_predictive["y"].dims == ("chain", "draw", "y_dim")
    assert "x" not in read.posterior_predictive
    np.testing.assert_array_equal(read.observed_data["x"].values, arrays["data_x"])
    np.testing.assert_array_equal(read.sample_stats["loss"].values, loss[None])
    np.testing.assert_array_equal(read.log_likelihood["y"].values, arrays["data_log_likelihood"][None, None])
    assert read.attrs["trial"] == KEY


FOREIGN_NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name)
OWN = [b"0" * 32 + b".json", b"0" * 64 + b".json", b"0" * 64 + b".zip"]
STORE_LIKE = st.sampled_from([b".x.tmp", b".a.b.c.tmp", b".x.json.host.1.tmp", b"notes.json", b".json", *OWN])


@given(
    name=(FOREIGN_NAMES | STORE_LIKE).filter(lambda name: name not in (b".", b"..")),
    content=st.binary(max_size=60) | st.sampled_from([b"[1]", b'{"checksum": NaN, "schema": 1}', b"[" * 5000, None]),
    folder=st.sampled_from(["", "shards", "incidents", "stopped", "damaged", "studies", "studies/s/quick"]),
)
def test_foreign_names_are_left_and_what_is_damaged_is_set_aside(tmp_path_factory, name, content, folder):
    root = tmp_path_factory.mktemp("foreign")
    store = Store(root)
    store.write([entry()])
    store.report("kind", [KEY], "detail")
    store.note_stop(OTHER, "killed")
    store.write_plan(stored_plan("s", "quick", [KEY]))
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

    def check():
        assert [incident["trials"] for incident in store.incidents()] == [[KEY]]
        assert store.stops() == {OTHER: "killed"}
        assert store.read(KEY)["status"] == "done"
        assert [condition["trials"] for condition in store.plan("s", "quick")["conditions"]] == [[KEY]]

    check()
    store.mend()
    assert store.sound([KEY]) == {KEY}
    incident = {"incidents": b"0" * 32, "stopped": b"0" * 64}.get(folder, b"/") + b".json" == name
    shard = folder == "shards" and name == b"0" * 64 + b".zip"
    assert os.path.exists(path) != (incident or shard)
    if not shard:
        check()
