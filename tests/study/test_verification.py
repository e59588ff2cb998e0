"""Identifiers name results, `verify` finds what is wrong with them, `compare` what moved between two."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_files import DENSITY_CRITERION, write_study

from ebm_vs_prob.core.errors import UnknownName
from ebm_vs_prob.study import Store, load_study, run_study
from ebm_vs_prob.study.comparing import compare_stores
from ebm_vs_prob.study.identifiers import (
    FILE,
    find_result,
    is_identifier,
    keep_result_id,
    read_result,
    result_id,
    study_of,
    write_result,
)
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.shards import Entry
from ebm_vs_prob.study.table import planned_trials, results_table, table_state
from ebm_vs_prob.study.verification import again, differences, verify

pytestmark = pytest.mark.usefixtures("plugin")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("verify") / "rings.toml", seeds=4, extra=DENSITY_CRITERION)


def ran(file, root):
    study = load_study(file)
    run_study(study, engine="serial", device="cpu", store=root)
    return study, Store(root)


def is_thin(record):
    return record["specification"]["task"]["options"]["thickness"] == 0.1


def times(factor):
    """A change of a metric's value, of one that has one."""
    return lambda row: {**row, "value": None if row["value"] is None else factor * row["value"], "error": 0.0}


def changed(store, study, change):
    """The store, with one record's metrics changed by `change` as if they had come out so."""
    found = store.records(planned_trials(store.plan(study.name, "quick")))
    key, record, _ = next(each for each in found if is_thin(each[1]))
    store.forget([key])
    content = {name: value for name, value in record.items() if name not in ("schema", "trial")}
    store.write([Entry(key, {**content, "metrics": [change(dict(row)) for row in record["metrics"]]}, {})])
    return key


def test_an_identifier_lies_beside_the_results_and_follows_from_them(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    found = result_id(study, "quick", store)
    assert is_identifier(found)
    assert read_result(store.study_folder("rings", "quick") / FILE)["id"] == found
    name, scale, beside = find_result(found, store, tmp_path / "reports")
    assert (name, scale) == ("rings", "quick")
    assert beside.samefile(file)
    assert study_of(name, scale, store, beside).path.samefile(file)
    store.compact()  # other shards, the same records
    assert result_id(study, "quick", store) == found
    moved = study.model_copy(update={"criteria": tuple(c.model_copy(update={"above": -2.0}) for c in study.criteria)})
    assert result_id(moved, "quick", store) != found
    changed(store, study, lambda row: {**row, "value": 1.0})
    assert result_id(study, "quick", store) != found
    with pytest.raises(UnknownName, match="unknown result"):
        find_result("evp-0123456789abcdef", store, tmp_path)


@pytest.mark.parametrize("text", ["evp-0123", "0123456789abcdef", "evp-0123456789abcdeg", "evp-0123456789abcdef0", ""])
def test_what_is_no_identifier(text):
    assert not is_identifier(text)


def published(study, store, folder):
    folder.mkdir()
    held, seeds = study.held_at("quick"), study.at("quick").all_seeds
    verdicts = judge(held, results_table(store, study.name, "quick"), seeds, "quick")
    (folder / "verdicts.json").write_text(json.dumps([v.as_dict() for v in verdicts]))
    write_result(folder / FILE, {"id": result_id(study, "quick", store), "study": study.name, "scale": "quick"})
    return folder


def test_whole_results_are_verified_with_their_report_and_by_training_again(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    found = verify(study, "quick", store, published(study, store, tmp_path / "report"), rerun=3)
    assert found.problems == []
    assert found.same_code
    assert [run.outcome for run in found.reruns] == ["same bits"] * 3
    assert len({run.trial for run in found.reruns}) == 3
    assert found.sentence.startswith("verified: rings at quick: 8 records whole, verdicts as published")
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_plugin_that_was_changed_since_is_other_code_than_made_the_results(file, tmp_path):
    """Also where it was not imported: `verify` reads and trains nothing."""
    moved = tmp_path / "rings.toml"
    moved.write_text(file.read_text())
    study, store = ran(moved, tmp_path / "store")
    assert "the code at hand made them" in verify(study, "quick", store).sentence
    own = (Path(__file__).parents[1] / "study_plugin.py").read_text()
    (tmp_path / "study_plugin.py").write_text(own)
    assert verify(study, "quick", store).same_code
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path / "other" / "rings.toml"
    elsewhere.write_text(file.read_text())
    elsewhere.with_name("study_plugin.py").write_text(own + "# changed\n")
    found = verify(load_study(elsewhere), "quick", store)
    assert not found.same_code
    assert found.problems == []
    assert "other code than that at hand made them" in found.sentence


@pytest.mark.slow
def test_compiled_results_are_verified_by_training_them_compiled_again(tmp_path):
    """In company of three and alone, which are two programs: their numbers differ by the roundings of 20 steps."""
    path = write_study(tmp_path / "rings.toml", {"score": ("denoising_score_matching", "")}, seeds=3, thickness="0.1")
    text = path.read_text().replace("seeds = 3", 'seeds = 3\ncompile = "always"')
    path.write_text(text.replace("steps = 3,", "steps = 20,"))
    _, store = ran(path, tmp_path / "store")
    records = [store.read(key) for key in planned_trials(store.plan("rings", "quick"))]
    assert [record["status"] for record in records] == ["done"] * 3
    assert all(record["provenance"]["compiled"] for record in records)
    assert again(records[0]).outcome in ("same bits", "within rounding", "within tolerance")


def test_a_changed_record_and_another_report_are_told(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    report = published(study, store, tmp_path / "report")
    changed(store, study, times(2.0))
    found = verify(study, "quick", store, report, rerun=8)
    told = "\n".join(found.problems)
    assert found.sentence.startswith("not verified")
    assert "the records are not those of the run's end" in told
    assert "the report is of another result" in told
    assert "other than published" in told
    assert sum(run.outcome == "other numbers" for run in found.reruns) == 1


def test_verdicts_are_decided_by_the_records_and_not_by_a_table_that_was_sealed_again(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    told = results_table(store, "rings", "quick")
    content = io.BytesIO()
    told.assign(value=2 * told["value"]).to_parquet(content, index=False)
    store.keep_table("rings", "quick", table_state(store, store.plan("rings", "quick")), content.getvalue())
    report = published(study, store, tmp_path / "report")  # of the numbers of that table
    seen = []
    found = verify(study, "quick", store, report, page=lambda results: seen.append(results) or [])
    assert any("estimate" in problem for problem in found.problems)
    np.testing.assert_array_equal(seen[0]["value"], told["value"])


def test_a_file_that_says_other_than_what_was_run_is_told(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    report = published(study, store, tmp_path / "report")
    other = tmp_path / "rings.toml"
    other.write_text(file.read_text().replace("steps = 3,", "steps = 5000,"))
    told = "the study's file says other than what was run: scales.quick.budget.steps is 5000 and was 3"
    found = verify(load_study(other), "quick", store, report, page=lambda _: pytest.fail("no page is made of it"))
    assert found.problems == [told]


def test_a_bound_that_was_moved_after_the_run_is_no_change_of_records(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    before = result_id(study, "quick", store)
    moved = study.model_copy(update={"criteria": tuple(c.model_copy(update={"above": -2.0}) for c in study.criteria)})
    (problem, *_) = verify(moved, "quick", store, published(study, store, tmp_path / "old")).problems
    assert "the report is of another result" in problem
    found = verify(moved, "quick", store, published(moved, store, tmp_path / "new"))
    assert found.problems == []
    assert found.sentence.endswith(f"claims, criteria or gates were changed after the run, whose result was {before}")
    keep_result_id(moved, "quick", store)
    assert "were changed" not in verify(moved, "quick", store, tmp_path / "new").sentence
    changed(store, study, times(2.0))
    assert any("not those of the run's end" in each for each in verify(study, "quick", store).problems)


@pytest.mark.parametrize("change", [lambda text: text[:-3], lambda text: "{}", lambda text: "[1]", lambda text: "[{}]"])
def test_a_file_of_verdicts_that_is_none_is_a_difference(file, tmp_path, change):
    study, store = ran(file, tmp_path / "store")
    report = published(study, store, tmp_path / "report")
    verdicts = report / "verdicts.json"
    verdicts.write_text(change(verdicts.read_text()))
    (problem,) = verify(study, "quick", store, report).problems
    assert problem.startswith("other than published: verdicts.json cannot be read: ")


def test_a_damaged_shard_is_told(file, tmp_path):
    study, _ = ran(file, tmp_path / "store")
    for shard in (tmp_path / "store" / "shards").iterdir():
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    found = verify(study, "quick", Store(tmp_path / "store"))
    assert any(problem.startswith("damaged") for problem in found.problems)


def test_elsewhere_numbers_agree_to_tolerance_and_here_to_rounding(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    key = changed(store, study, times(1.001))
    record = store.read(key)
    near = again(record)
    assert near.outcome == "within tolerance"
    assert not near.reproduced
    elsewhere = {**record["provenance"], "hardware": {**record["provenance"]["hardware"], "processor": "another"}}
    assert again({**record, "provenance": elsewhere}).reproduced
    assert not replace(near, outcome="other numbers", same_machine=False).reproduced


def test_a_record_from_before_an_option_of_its_task_is_trained_again_and_of_another_version_not(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    record = store.read(min(planned_trials(store.plan(study.name, "quick"))))
    told = record["specification"]
    options = {name: value for name, value in told["task"]["options"].items() if name != "ambient_dim"}
    earlier = told | {"task": told["task"] | {"options": options}}
    assert again({**record, "specification": earlier}).outcome == "same bits"
    run = again({**record, "specification": told | {"task": told["task"] | {"version": 0}}})
    assert run.outcome == "could not be run"
    assert "version of circle = 0 is not valid" in run.detail


def test_verdicts_that_differ_are_named_and_equal_ones_are_not(file, tmp_path):
    study, store = ran(file, tmp_path / "store")
    rows = [v.as_dict() for v in judge(study, results_table(store, "rings", "quick"), study.at("quick").all_seeds)]
    assert list(differences(rows, rows)) == []
    flipped = [{**row, "verdict": "refuted"} for row in rows]
    assert all("refuted in the report" in line for line in differences(flipped, rows))
    assert any("only in the report" in line for line in differences(rows, rows[1:]))


def test_the_same_store_twice_has_moved_nowhere(file, tmp_path):
    ran(file, tmp_path / "one")
    (found,) = compare_stores(Store(tmp_path / "one"), Store(tmp_path / "one"))
    assert [shift.moved for shift in found.shifts] == ["identical"]
    assert found.flips == []


def test_an_effect_that_moved_is_told_with_its_interval(file, tmp_path):
    study, one = ran(file, tmp_path / "one")
    _, two = ran(file, tmp_path / "two")
    rng = np.random.default_rng(200)
    for key, record, _ in list(two.records(planned_trials(two.plan("rings", "quick")))):
        content = {name: value for name, value in record.items() if name not in ("schema", "trial")}
        change = 3 + 0.1 * rng.standard_normal() if is_thin(record) else 0.0
        metrics = [
            {**row, "value": row["value"] + change} if row["metric"] == "gibbs_log_score" else row
            for row in record["metrics"]
        ]
        two.forget([key])
        two.write([Entry(key, {**content, "metrics": metrics}, {})])
    (found,) = compare_stores(one, two, names=["rings"])
    (shift,) = found.shifts
    assert shift.low < 3 < shift.high < 3.5
    assert (shift.moved, shift.paired, shift.seeds, shift.ratio) == ("yes", True, 4, False)
    assert study.name == found.study
    json.dumps(found.as_dict(), allow_nan=False)


def test_stores_without_a_study_in_common_are_refused(file, tmp_path):
    ran(file, tmp_path / "one")
    one, none = Store(tmp_path / "one"), Store(tmp_path / "none")
    with pytest.raises(UnknownName, match=r"no study has results in both stores: there are 1 in .*one\' and 0 in"):
        compare_stores(one, none)
    with pytest.raises(UnknownName, match="at scale 'full' in both"):
        compare_stores(one, one, scale="full")
    with pytest.raises(UnknownName, match=r"study 'ring' has no results in .*one'"):
        compare_stores(one, one, names=["rings", "ring"])
    with pytest.raises(UnknownName, match=r"no results at scale 'full' in .*one': there it has quick"):
        compare_stores(one, one, names=["rings"], scale="full")
