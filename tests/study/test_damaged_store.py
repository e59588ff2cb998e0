"""Whatever lies in a store, every command answers, and a run mends it and loses nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from fault_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from study_files import registered_plugin, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.report.inputs import gather
from ebm_vs_prob.study import Store, study_status
from ebm_vs_prob.study.documents import DamagedRecord, Incident, Stop, StoredPlan, unseal
from ebm_vs_prob.study.keys import file_digest
from ebm_vs_prob.study.shards import Entry, Shard, pack_members
from ebm_vs_prob.testing.stores import stored_record

MENDED = "the next `run` mends it"
KEY = "ef" * 32

#: The store's own places, by what they are called here.
PLACES = {
    "shard": "shards/{shard}.zip",
    "another shard": "shards/" + "0" * 64 + ".zip",
    "shards": "shards",
    "plan": "studies/rings/quick/plan.json",
    "table": "studies/rings/quick/results.parquet",
    "digest of the table": "studies/rings/quick/results.json",
    "lock": "studies/rings/quick/run.lock",
    "lock of the shards": "shards.lock",
    "scale": "studies/rings/quick",
    "study": "studies/rings",
    "studies": "studies",
    "incident": "incidents/" + "1" * 32 + ".json",
    "incidents": "incidents",
    "stop": "stopped/" + "2" * 64 + ".json",
    "stops": "stopped",
    "damaged": "damaged",
    "replaced": "replaced",
}
#: What is put there.
THINGS = {
    "a folder": Path.mkdir,
    "a full folder": lambda path: (path / "within").mkdir(parents=True),
    "a file": lambda path: path.write_bytes(b"{}"),
    "nothing written": Path.touch,
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nowhere": lambda path: path.symlink_to(path.parent / "nowhere"),
    "a pipe": os.mkfifo,
}
#: The others are tried by the slow suite.
QUICK = ("a full folder", "a pipe")


@contextmanager
def seconds(limit):
    """An error where it takes longer, as where a pipe is waited for."""

    def late(*_):
        raise AssertionError("blocked")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    path = write_study(folder / "rings.toml", seeds=2, thickness="0.1")
    with registered_plugin():
        yield path, folder / "store", run(path, folder / "store")


def run(path, store):
    return evp.run_study(path, store=store, engine="serial", device="cpu", progress=False)


def numbers(frame):
    return frame[frame["metric"] != "seconds"].drop(columns="batch").reset_index(drop=True)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def answers(path, store):
    """What the reading commands say, each a table or one line."""
    said = {}
    for name, read in {
        "status": lambda: study_status(path, store=store),
        "results": lambda: evp.load_results(path, store=store),
        "report": lambda: gather(path, "quick", store).results,
    }.items():
        try:
            said[name] = read()
        except (LookupError, ValueError) as error:
            said[name] = str(error)
            assert "\n" not in said[name]
    return said


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "thing", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in THINGS]
)
def test_anything_in_the_place_of_anything_is_answered_and_mended(finished, tmp_path, place, thing):
    path, source, frame = finished
    store = tmp_path / "store"
    shutil.copytree(source, store)
    (store / "notes").mkdir()
    (shard,) = (store / "shards").iterdir()
    target = store / PLACES[place].format(shard=shard.stem)
    remove(target)
    target.parent.mkdir(exist_ok=True)
    THINGS[thing](target)
    before = sorted(os.listdir(store))
    with seconds(60):
        said = answers(path, store)
        assert sorted(os.listdir(store)) == before  # readers mend nothing
        lost = place == "shard" or (place == "shards" and "folder" not in thing)
        if lost:
            assert set(said["status"]["status"]) == {"pending"}
            assert said["status"]["reason"].str.endswith(MENDED).all()
        elif place != "shards":
            assert set(said["status"]["status"]) == {"done"}
        if place == "plan":
            assert said["results"].endswith(MENDED)
        again = run(path, store)
        pd.testing.assert_frame_equal(numbers(again), numbers(frame))
        assert set(study_status(path, store=store)["status"]) == {"done"}
        pd.testing.assert_frame_equal(evp.load_results(path, store=store), again)
        assert (store / "notes").is_dir()
        assert Store(store).sound(frame["trial"]) == set(frame["trial"])


LYING = st.tuples(st.sampled_from(list(PLACES)), st.sampled_from(list(THINGS)) | st.binary(max_size=80))


@examples(50)
@given(put=st.lists(LYING, max_size=5))
def test_readers_answer_and_a_run_would_mend_whatever_lies_where(finished, tmp_path_factory, put):
    path, source, frame = finished
    store = tmp_path_factory.mktemp("any") / "store"
    shutil.copytree(source, store)
    for place, thing in put:
        target = store / PLACES[place].format(shard="3" * 64)
        if target.parent.is_dir():
            remove(target)
            (THINGS[thing] if isinstance(thing, str) else lambda path, content=thing: path.write_bytes(content))(target)
    kept = Store(store)
    with seconds(60):
        status = answers(path, store)["status"]
        held = kept.sound(frame["trial"])
        assert held <= set(frame["trial"])
        if not any(place == "shards" for place, _ in put):
            assert set(status["status"]) == {"done"}
            assert held == set(frame["trial"])
        with kept.lock("rings", "quick"):
            kept.mend()
        kept.note_stop(KEY, "killed")
        kept.report("kind", [KEY], "detail")
        assert kept.stops()[KEY] == "killed"
        assert [KEY] in [incident["trials"] for incident in kept.incidents()]


def test_bits_of_a_real_shard_are_noticed_wherever_they_flip(finished):
    (shard,) = (finished[1] / "shards").iterdir()
    content = bytearray(shard.read_bytes())
    for place in range(0, len(content), len(content) // 500):
        content[place] ^= 1 << place % 8
        with pytest.raises(DamagedRecord):
            Shard(bytes(content), shard.stem)
        content[place] ^= 1 << place % 8
    assert len(Shard(bytes(content), shard.stem).records) == 2


def test_a_table_is_served_only_of_the_store_as_it_is(finished, tmp_path, monkeypatch):
    path, source, frame = finished
    store = tmp_path / "store"
    shutil.copytree(source, store)
    built = []
    whole = evp.study.table.build_table

    def build(*arguments):
        built.append(1)
        return whole(*arguments)

    monkeypatch.setattr("ebm_vs_prob.study.table.build_table", build)
    pd.testing.assert_frame_equal(evp.load_results(path, store=store), frame)
    assert not built
    table = store / "studies" / "rings" / "quick" / "results.parquet"
    content = table.read_bytes()
    for place in range(0, len(content), 997):
        table.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        pd.testing.assert_frame_equal(evp.load_results(path, store=store), frame)
    assert len(built) == len(range(0, len(content), 997))
    table.write_bytes(content)
    (shard,) = (store / "shards").iterdir()
    whole_shard = shard.read_bytes()
    shard.write_bytes(whole_shard[:-1] + b"?")
    assert set(evp.load_results(path, store=store)["status"]) == {"pending"}
    assert set(study_status(path, store=store)["status"]) == {"pending"}
    shard.write_bytes(whole_shard)
    assert set(evp.load_results(path, store=store)["status"]) == {"done"}
    Store(store).forget([frame["trial"].iloc[0]])
    Store(store).note_stop(frame["trial"].iloc[0], "its worker was killed")
    for read in (evp.load_results(path, store=store), study_status(path, store=store)):
        states = read.drop_duplicates("trial").set_index("trial")[["status", "reason"]]
        assert list(states.loc[frame["trial"].iloc[0]]) == ["failed", "its worker was killed"]
    assert set(run(path, store)["status"]) == {"done"}
    assert Store(store).stops() == {}


def test_a_finished_study_is_neither_planned_nor_parsed_again(tmp_path, monkeypatch):
    path = write_study(tmp_path / "curves.toml", arms={"hinge": ("hinge", "")}, seeds=1, thickness="0.1")
    path.write_text(path.read_text().replace('plugins = ["study_plugin"]\n', ""))
    frame = run(path, tmp_path / "store")
    monkeypatch.setattr("ebm_vs_prob.study.run.plan_study", lambda *_, **__: pytest.fail("planned"))
    pd.testing.assert_frame_equal(run(path, tmp_path / "store"), frame)
    assert list(study_status(path, store=tmp_path / "store")["status"]) == ["done"]
    monkeypatch.undo()
    monkeypatch.setattr("ebm_vs_prob.study.plan_again.package_digest", lambda: "0" * 64)
    monkeypatch.setattr("ebm_vs_prob.study.run.plan_study", lambda *_, **__: pytest.fail("planned"))
    with pytest.raises(pytest.fail.Exception, match="planned"):
        study_status(path, store=tmp_path / "store")


def resealed(path, shape):
    """Make a sealed document one of a later schema."""
    later = {**unseal(shape, path.read_bytes(), "it")[1], "schema": 3}
    text = json.dumps(later, separators=(",", ":")).encode()
    path.write_bytes(b'{"checksum":"%s",%s\n' % (file_digest(text).encode(), text[1:]))


def later_shard(store):
    (path,) = (store / "shards").iterdir()
    shard = Shard(path.read_bytes(), path.stem)
    members = shard.members(shard.records)
    later = {name: text.replace(b'"schema":2', b'"schema":3') for name, text in members.items()}
    content = pack_members(members | {name: text for name, text in later.items() if name.endswith(".json")})
    path.unlink()
    (store / "shards" / f"{file_digest(content)}.zip").write_bytes(content)
    return f"shards/{file_digest(content)}.zip"


def later_plan(store):
    resealed(store / "studies" / "rings" / "quick" / "plan.json", StoredPlan)
    return "studies/rings/quick/plan.json"


def later_stop(store):
    Store(store).note_stop(KEY, "killed")
    resealed(store / "stopped" / f"{KEY}.json", Stop)
    return f"stopped/{KEY}.json"


def later_incident(store):
    Store(store).report("kind", [KEY], "detail")
    (path,) = (store / "incidents").iterdir()
    resealed(path, Incident)
    return f"incidents/{path.name}"


@pytest.mark.parametrize("make", [later_shard, later_plan, later_stop, later_incident])
def test_what_a_later_version_wrote_is_named_with_its_file_and_what_to_do(finished, tmp_path, make):
    path, source, frame = finished
    store = tmp_path / "store"
    shutil.copytree(source, store)
    name = make(store)
    told = [said for said in answers(path, store).values() if isinstance(said, str)]
    with pytest.raises(ValueError, match="has schema 3") as caught:
        run(path, store)
    told.append(str(caught.value))
    assert len(told) > 1
    for said in told:
        assert f"{name} in the store {str(store)!r} cannot be used" in said
        assert "use the version that wrote it, give another store with --store, or move that file away" in said
        assert "\n" not in said
    (store / name).unlink()
    pd.testing.assert_frame_equal(numbers(run(path, store)), numbers(frame))


@pytest.mark.parametrize("command", ["run", "status", "report"])
@pytest.mark.parametrize("kind", ["earlier", "a file"])
def test_every_command_refuses_what_is_no_store_in_one_line(finished, tmp_path, capsys, command, kind):
    path, *_ = finished
    store = tmp_path / "store"
    if kind == "earlier":
        (store / "trials" / "ef").mkdir(parents=True)
        (store / "trials" / "ef" / f"{KEY}.json").write_text("{}")
    else:
        store.touch()
    assert main([command, str(path), "--store", str(store)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert ("the version that wrote it" if kind == "earlier" else "expected a folder") in said


def test_a_full_disk_is_one_error_with_the_path(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path / "store")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/store/shards/[0-9a-f]{64}\.zip'"):
        store.write([Entry(KEY, stored_record())])
    monkeypatch.undo()
    assert not list((tmp_path / "store").rglob("*.*"))
