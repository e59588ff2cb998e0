"""The archive beside a report holds what its verdicts were decided from, and another machine decides them again."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_files import DENSITY_CRITERION, registered_plugin, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.study import Store, load_study, run_study
from ebm_vs_prob.study.archives import FILE, PLAN, RECORDS, pack_results, unpack_results
from ebm_vs_prob.study.documents import DamagedRecord, OtherVersion
from ebm_vs_prob.study.identifiers import result_id
from ebm_vs_prob.study.recognition import energies
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


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A study's file with the report of its `standard` scale, whose store is not there."""
    folder = tmp_path_factory.mktemp("checkout")
    with registered_plugin():
        path = write_study(folder / "rings.toml", seeds=3, extra=DENSITY_CRITERION)
        quick = path.read_text().partition("[scales.quick]")[2].partition("[evaluation]")[0]
        path.write_text(path.read_text().replace("[evaluation]", f"[scales.standard]{quick}[evaluation]"))
        study = load_study(path)
        run_study(study, "standard", engine="serial", device="cpu", store=folder / "store")
        places = ["--store", str(folder / "store"), "--out", str(folder / "reports")]
        assert main(["report", str(path), "--scale", "standard", *places]) == 0
        (folder / "store").rename(folder / "gone")
        yield folder


@pytest.fixture
def places(checkout, tmp_path):
    """A copy of the report, and where `verify` and `cite` look by options."""
    copy = tmp_path / "reports" / "rings"
    shutil.copytree(checkout / "reports" / "rings", copy)
    file, folders = str(checkout / "rings.toml"), ["--store", str(tmp_path / "none"), "--reports", str(copy.parent)]
    return copy, [file, *folders]


def test_what_is_published_is_found_by_the_name_of_its_study(places, capsys):
    folder, asked = places
    result = json.loads((folder / "result.json").read_text())
    assert main(["verify", *asked]) == 0
    assert "verified: rings at standard: 6 records whole, verdicts, page and tables" in capsys.readouterr().out
    assert main(["cite", *asked]) == 0
    cited = capsys.readouterr().out
    assert f"result {result['id']}" in cited
    assert "not for citing" not in cited
    assert main(["cite", *asked, "--scale", "quick"]) == 0
    assert "result evp-" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("tables/circle_metrics.csv", r"(?<=\d\.)\d\d"),
        ("index.html", r"(?<=<td data-label=\"estimate \[95 %\]\" data-key=\"-)\d"),
        ("report.md", r"(?<=\d\.)\d(?=\d \\\[)"),
    ],
)
def test_a_number_of_a_published_page_that_was_changed_is_found(places, capsys, name, pattern):
    folder, asked = places
    text = (folder / name).read_text(encoding="utf-8")
    put = re.sub(pattern, lambda found: "".join(str(9 - int(digit)) for digit in found[0]), text, count=1)
    assert put != text
    (folder / name).write_text(put, encoding="utf-8")
    assert main(["verify", *asked]) == 1
    assert f"other than published: {'the page at' if name == 'index.html' else name}" in capsys.readouterr().out


def test_the_model_behind_a_published_record_is_opened(places):
    folder, (file, *_) = places
    archive = folder / FILE
    done = evp.load_results(file, "standard", archive)
    trial = done["trial"].iloc[0]
    model = evp.open_model(file, trial, archive)
    with zipfile.ZipFile(archive) as members:
        records = map(json.loads, members.read(RECORDS).splitlines())
        recorded = next(record["energies"] for record in records if record["trial"] == trial)
    assert energies(model, model.tasks)[0] == recorded
