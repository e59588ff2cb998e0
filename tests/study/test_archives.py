"""The archive beside a report holds what its verdicts were decided from, and another machine decides them again."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_files import DENSITY_CRITERION, registered_plugin, write_study

from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.study import Store, load_study, run_study
from ebm_vs_prob.study.archives import FILE, PLAN, RECORDS, pack_results, unpack_results
from ebm_vs_prob.study.documents import DamagedRecord, OtherVersion
from ebm_vs_prob.study.identifiers import result_id
from ebm_vs_prob.study.table import planned_trials


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    with registered_plugin():
        study = load_study(write_study(folder / "rings.toml", seeds=4, extra=DENSITY_CRITERION))
        run_study(study, engine="serial", device="cpu", store=folder / "store")
        yield study, Store(folder / "store")


def packed(study, store):
    plan = store.plan(study.name, "quick")
    return pack_results(plan, {key: record for key, record, _ in store.records(planned_trials(plan)) if record})


def test_what_is_unpacked_is_the_same_result_and_packs_to_the_same_bytes(kept, tmp_path):
    study, store = kept
    content = packed(study, store)
    (tmp_path / FILE).write_bytes(content)
    again = unpack_results(tmp_path / FILE, tmp_path / "store")
    assert result_id(study, "quick", again) == result_id(study, "quick", store)
    assert packed(study, again) == content


def rewritten(content, **members):
    """The archive with members replaced, or left out where they are None."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(out, "w") as archive:
        for name in before.namelist():
            told = members.get(name.split(".")[0], before.read(name))
            if told is not None:
                archive.writestr(name, told)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: b"no archive", "cannot be read"),
        (lambda content: content[:-30], "cannot be read"),
        (lambda content: rewritten(content, plan=None), PLAN),
        (lambda content: rewritten(content, records=None), RECORDS),
        (lambda content: rewritten(content, plan=b"{}"), "the plan in"),
        (lambda content: rewritten(content, records=b"[1]\n"), "record 1 in"),
        (lambda content: rewritten(content, records=b'{"trial": "../../x", "schema": 2}\n'), "record 1 in"),
    ],
)
def test_what_is_no_archive_is_told(kept, tmp_path, change, words):
    (tmp_path / FILE).write_bytes(change(packed(*kept)))
    with pytest.raises(DamagedRecord) as told:
        unpack_results(tmp_path / FILE, tmp_path / "store")
    assert words in str(told.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_byte_that_changed_is_told_or_changes_the_result_or_nothing(kept, tmp_path_factory, data):
    """Never is something else than a damaged archive raised, and never is another result taken for this one."""
    study, store = kept
    content = bytearray(packed(study, store))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("byte")
    (folder / FILE).write_bytes(content)
    try:
        again = unpack_results(folder / FILE, folder / "store")
    except (DamagedRecord, OtherVersion):
        return
    if [*planned_trials(again.plan(study.name, "quick"))] == [*planned_trials(store.plan(study.name, "quick"))]:
        known = {key: record for key, record, _ in store.records(planned_trials(store.plan(study.name, "quick")))}
        found = {key: record for key, record, _ in again.records(known)}
        assert found == known or result_id(study, "quick", again) != result_id(study, "quick", store)


def test_a_report_without_its_store_is_verified_by_what_lies_beside_it(kept, tmp_path, capsys):
    study, store = kept
    assert main(["report", str(study.path), "--store", str(store.root), "--out", str(tmp_path / "reports")]) == 0
    places = ["--json", "--reports", str(tmp_path / "reports"), "--store", str(tmp_path / "nothing")]
    capsys.readouterr()
    assert main(["verify", str(study.path), "--rerun", "1", *places]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verified"]
    assert told["reruns"][0]["outcome"] == "same bits"
    assert told["identifier"] == result_id(study, "quick", store)
    assert not (tmp_path / "nothing").exists()
    verdicts = tmp_path / "reports" / study.name / "verdicts.json"
    changed = json.loads(verdicts.read_text())
    changed[0]["estimate"] += 1.0
    verdicts.write_text(json.dumps(changed))
    assert main(["verify", told["identifier"], *places]) == 1
    assert "other than published" in capsys.readouterr().out
