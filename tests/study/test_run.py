"""Running, resuming and reading studies: what was killed, damaged or interrupted ends with the same numbers."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_files import registered_plugin, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.energies.evaluation import weight_norm
from ebm_vs_prob.report import write_report
from ebm_vs_prob.study import Store, measurement, plan_study, study_status, worker
from ebm_vs_prob.study.batches import MAX_REPLICATES
from ebm_vs_prob.study.engines import serial
from ebm_vs_prob.study.table import COLUMNS

HERE = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("plugin")


def run(path, store, engine="serial", **kwargs):
    return evp.run_study(path, store=store, engine=engine, device="cpu", **kwargs)


def numbers(frame):
    """What must be the same in every run of a study, whatever trains together; sources may be edited within a test."""
    timed = frame["metric"].isin(["seconds"])
    return frame[~timed].drop(columns=["batch", "code_digest", "plugins"]).reset_index(drop=True)


def stats(store):
    return {path: path.stat().st_mtime_ns for path in (Path(store) / "shards").iterdir()}


def records_in(store):
    """How many trials have a record."""
    return sum(len(trials) for trials in Store(store)._shards.refresh().values())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished serial run of three arms, copied by the tests that change it."""
    folder = tmp_path_factory.mktemp("finished")
    arms = {"plain": ("ring", ""), "lonely": ("lonely_ring", ""), "diverging": ("ring", 'fault = "diverge"')}
    path = write_study(folder / "rings.toml", arms=arms)
    with registered_plugin():
        return path, folder / "results", run(path, folder / "results")


@pytest.fixture
def copied(finished, tmp_path):
    path, store, frame = finished
    shutil.copytree(store, tmp_path / "results")
    return path, tmp_path / "results", frame


def test_table_has_a_row_for_every_place_and_metric(finished):
    _, _, frame = finished
    assert list(frame.columns) == list(COLUMNS)
    assert {column: str(kind) for column, kind in frame.dtypes.items()} == COLUMNS
    done = frame[frame["arm"] == "plain"]
    assert set(done["status"]) == {"done"}
    assert done.groupby(["thickness", "seed"])["metric"].nunique().nunique() == 1
    assert {"answer_distance_median", "sublevel_precision", "multiply_adds"} <= set(done["metric"])
    assert done["value"].notna().any()
    missing = done[done["value"].isna()]
    assert (missing["note"] != "").all()
    assert (done["steps"] == 3).all()


def test_a_diverged_replicate_is_a_failed_row_and_leaves_its_company_alone(finished):
    _, _, frame = finished
    arm = frame[frame["arm"] == "diverging"]
    failed = arm[arm["status"] == "failed"]
    assert set(failed["seed"]) == {1}
    assert set(failed["reason"]) == {"training: step 7: the loss is not finite"}
    assert failed["metric"].isna().all()
    assert len(failed) == 2  # one a thickness
    assert set(arm.loc[arm["status"] == "done", "seed"]) == {0, 2}


def test_alone_and_in_company_the_numbers_agree(finished):
    _, _, frame = finished
    keep = ["thickness", "seed", "metric"]
    wide = frame[frame["metric"].isin(["answer_distance_median", "gradient_norm_p95", "weight_norm"])]
    together, alone = (wide[wide["arm"] == arm].set_index(keep)["value"].sort_index() for arm in ("plain", "lonely"))
    assert len(together) > 0
    pd.testing.assert_series_equal(together, alone, rtol=1e-4, atol=1e-6)


def test_rerunning_a_finished_study_runs_nothing(copied, monkeypatch):
    path, store, frame = copied
    before = stats(store)
    monkeypatch.setattr(serial, "run_batch", lambda *_, **__: pytest.fail("a batch was run"))
    again = run(path, store)
    pd.testing.assert_frame_equal(again, frame)
    assert stats(store) == before
    pd.testing.assert_frame_equal(evp.load_results(path, store=store), frame)


def test_the_derived_table_is_parquet(finished):
    _, store, frame = finished
    read = pd.read_parquet(store / "studies" / "rings" / "quick" / "results.parquet")
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)


def test_a_partial_batch_writes_only_what_is_missing_with_the_same_numbers(copied):
    path, store, frame = copied
    gone = frame.loc[(frame["arm"] == "plain") & (frame["seed"] == 2), "trial"].iloc[0]
    kept = Store(store)
    before = {key: record["provenance"]["written"] for key, record, _ in kept.records(frame["trial"])}
    kept.forget([gone])
    assert set(study_status(path, store=store).query("trial == @gone")["status"]) == {"pending"}
    again = run(path, store)
    pd.testing.assert_frame_equal(numbers(again), numbers(frame))
    assert again.attrs["incidents"] == []
    after = {key: record["provenance"]["written"] for key, record, _ in kept.records(frame["trial"])}
    assert after.keys() == before.keys()
    assert {key for key in before if key != gone and after[key] != before[key]} == set()


TRAINED = {
    "hinge": ("hinge", ""),
    "score": ("denoising_score_matching", ""),
    "sliced": ("sliced_score_matching", "sigma = 0.1"),
    "likelihood": ("gibbs_maximum_likelihood", ""),
    "mixture": ("mixture_density", ""),
}


def check_same(found, expected):
    """To the bit, but for ln Z by quadrature, whose nodes are as many as the neediest replicate asks for, and where a
    product of matrices rounds by their number. Notes are those of a batch."""
    found, expected = found.drop(columns="note"), expected.drop(columns="note")
    read = ("gibbs_gap", "gibbs_log_score", "excess", "branch_kl_density", "resolution")  # at a beta that is fitted
    rounded = expected["metric"].str.startswith(read)
    assert 0 < rounded.sum() < len(rounded) / 5
    pd.testing.assert_frame_equal(found[~rounded], expected[~rounded], check_exact=True)
    pd.testing.assert_frame_equal(found[rounded], expected[rounded], check_exact=False, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["circle", "three_curves"])
def test_any_grouping_and_a_resume_give_the_same_numbers(task, tmp_path, monkeypatch):
    path = write_study(tmp_path / "rings.toml", arms=TRAINED, seeds=5, thickness="0.1")
    path.write_text(path.read_text().replace('[[tasks]]\nname = "circle"', f'[[tasks]]\nname = "{task}"'))
    whole, store = numbers(run(path, tmp_path / "whole")), Store(tmp_path / "other")
    monkeypatch.setitem(MAX_REPLICATES, "cpu", 2)
    check_same(numbers(run(path, store.root)), whole)
    monkeypatch.undo()
    store.forget(set(whole.loc[whole["seed"].isin([0, 2, 3]), "trial"]))
    check_same(numbers(run(path, store.root)), whole)
    for row in whole[(whole["metric"] == "weight_norm") & (whole["seed"] == 3)].itertuples():
        model = evp.open_model(path, row.trial, store=store.root)
        assert float(weight_norm(model.module)) == row.value


@pytest.mark.parametrize(
    "damage", ["torn", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("altered", "a folder"))]
)
def test_a_damaged_shard_is_reported_and_redone(copied, damage, caplog):
    path, store, frame = copied
    kept = Store(store)
    (shard,) = (store / "shards").iterdir()
    content = shard.read_bytes()
    if damage == "a folder":
        shard.unlink()
        shard.mkdir()
    else:
        shard.write_bytes(content[:-40] if damage == "torn" else content[:400] + b"?" + content[401:])
    for state in (study_status(path, store=store), evp.load_results(path, store=store)):
        assert set(state["status"]) == {"pending"}
        assert set(state["reason"].str.endswith("; the next `run` mends it")) == {True}
    assert kept.incidents() == []
    with caplog.at_level(logging.WARNING):
        again = run(path, store)
    assert "damaged shard" in caplog.text
    pd.testing.assert_frame_equal(numbers(again), numbers(frame))
    assert kept.sound(frame["trial"]) == set(frame["trial"])
    (incident,) = again.attrs["incidents"]
    assert incident["kind"] == "damaged shard"
    assert incident["trials"] == ([] if damage == "a folder" else sorted(set(frame["trial"])))


def test_arrays_are_kept_for_the_first_seed_only(finished):
    _, store, frame = finished
    kept = Store(store)
    plain = frame[frame["arm"] == "plain"].drop_duplicates("trial").set_index("trial")["seed"]
    for key, seed in plain.items():
        arrays = kept.load_arrays(key)
        assert bool(arrays) == (seed == 0)
        assert (kept.inference_data(key) is not None) == (seed == 0)
        if arrays:
            assert arrays["energy"].shape == (len(arrays["axis_0"]), len(arrays["axis_1"]))
            assert np.isfinite(arrays["energy"]).all()


def test_the_first_seed_need_not_be_0(tmp_path):
    path = write_study(tmp_path / "rings.toml", seeds=2, thickness="0.1")
    path.write_text(path.read_text().replace("seeds = 2", "seeds = 2\nfirst_seed = 5"))
    frame = run(path, tmp_path / "store", engine="serial")
    kept = Store(tmp_path / "store")
    assert {(int(row.seed), bool(kept.load_arrays(row.trial))) for row in frame.itertuples()} == {(5, True), (6, False)}


def test_where_no_scale_is_said_it_is_the_only_one_else_quick(tmp_path):
    path = write_study(tmp_path / "rings.toml", seeds=1)
    text = path.read_text()
    path.write_text(text.replace("[scales.quick]", "[scales.mine]"))
    given = {"store": tmp_path / "results", "device": "cpu"}
    results = evp.run_study(path, engine="serial", **given)
    assert set(results["scale"]) == {"mine"} == set(evp.load_results(path, store=given["store"])["scale"])
    assert evp.study.plan_study(path, device="cpu").scale == "mine"
    assert set(evp.study.study_status(path, store=given["store"])["status"]) == {"done"}
    page = write_report(path, store=given["store"], out=tmp_path / "reports")
    assert "scale mine" in page.read_text(encoding="utf-8")
    two = text.replace("[scales.quick]", "[scales.mine]").partition("[evaluation]")
    scale = two[0][two[0].index("[scales.mine]") :].replace("mine", "quick")
    path.write_text(f"{two[0]}{scale}{two[1]}{two[2]}")
    assert evp.study.plan_study(path, device="cpu").scale == "quick"
    path.write_text(path.read_text().replace("[scales.quick]", "[scales.other]"))
    with pytest.raises(LookupError, match="quick"):
        evp.study.plan_study(path, device="cpu")


def test_record_says_what_made_it(finished):
    _, store, frame = finished
    record = Store(store).read(frame["trial"].iloc[0])
    made = record["provenance"]
    assert made["versions"]["torch"]
    assert made["threads"] == 1
    assert made["hardware"]["device"] == "cpu"
    assert set(made["seconds"]) == {"fit", "evaluate", "arrays"}
    assert len(record["code_digest"]) == 64
    assert record["specification"]["method"]["options"]["width"] == "inf"


def test_what_recognises_a_model_is_computed_within_what_a_batch_says_it_took(tmp_path, monkeypatch):
    original = measurement.energies

    def slow(model, tasks):
        time.sleep(0.5)
        return original(model, tasks)

    monkeypatch.setattr(measurement, "energies", slow)
    path = write_study(tmp_path / "rings.toml", seeds=1, thickness="0.1")
    (trial,) = run(path, tmp_path / "store")["trial"].unique()
    assert sum(Store(tmp_path / "store").read(trial)["provenance"]["seconds"].values()) > 0.5


def test_results_of_other_code_are_kept_told_apart_and_reported(copied, monkeypatch, caplog):
    path, store, frame = copied
    gone = frame.loc[frame["arm"] == "lonely", "trial"].iloc[0]
    Store(store).forget([gone])
    monkeypatch.setattr("ebm_vs_prob.study.records.code_digest", lambda: "0" * 64)
    with caplog.at_level(logging.WARNING):
        again = run(path, store)
    assert set(again.loc[again["trial"] == gone, "code_digest"]) == {"0" * 64}
    assert again["code_digest"].nunique() == 2
    assert "made by 2 versions of the code" in caplog.text
    monkeypatch.setattr("ebm_vs_prob.study.provenance.code_digest", lambda: "0" * 64)
    new = Store(store).read(gone)
    renewed = run(path, store, retry_outdated=True)
    assert set(renewed["code_digest"]) == {"0" * 64}
    assert set(renewed["trial"]) == set(again["trial"])
    assert Store(store).read(gone) == new  # what this code had made already stays as it was


@pytest.mark.parametrize("read", [run, study_status, evp.load_results])
def test_results_of_a_plugin_that_was_changed_since_are_said_to_be_of_other_code(copied, monkeypatch, caplog, read):
    path, store, frame = copied
    read(path, store=store)
    assert caplog.messages == []
    monkeypatch.setattr("ebm_vs_prob.study.provenance.digest_at_hand", lambda name, folder: "0" * 64)
    read(path, store=store)
    count = frame["trial"].nunique()
    said = f"{count} of {count} trials were made by other code of study_plugin: run with --retry-outdated"
    assert [said in message for message in caplog.messages] == [True]


def test_trials_that_fail_together_and_not_apart_are_told_of(tmp_path, monkeypatch):
    path = write_study(tmp_path / "rings.toml", seeds=5, thickness="0.1")

    def few(batch, tasks, own=worker.measured):
        if len(batch.trials) > 2:
            raise ValueError("no more than two at once")
        return own(batch, tasks)

    monkeypatch.setattr(worker, "measured", few)
    frame = run(path, tmp_path / "results")
    assert set(frame["status"]) == {"done"}
    (told,) = [incident for incident in frame.attrs["incidents"] if "no more than two at once" in str(incident)]
    assert "3 trials failed together and not apart" in str(told)


def test_a_trial_that_raises_fails_alone(tmp_path):
    arms = {"plain": ("ring", ""), "bad": ("ring", 'fault = "raise", fault_seed = 3')}
    path = write_study(tmp_path / "rings.toml", arms=arms, seeds=5, thickness="0.1")
    frame = run(path, tmp_path / "results")
    failed = frame[frame["status"] == "failed"]
    lines = (HERE / "study_plugin.py").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if 'raise RuntimeError("told to fail")' in text)
    assert list(failed["reason"]) == [f"RuntimeError: told to fail (study_plugin.py, line {line}, in train)"]
    assert (failed["arm"].iloc[0], failed["seed"].iloc[0]) == ("bad", 3)
    assert len(frame[frame["status"] == "done"].drop_duplicates(["arm", "seed"])) == 9
    record = Store(tmp_path / "results").read(failed["trial"].iloc[0])
    assert "told to fail" in record["traceback"]
    pd.testing.assert_frame_equal(run(path, tmp_path / "results"), frame)


def test_more_seeds_run_only_what_is_new(copied, tmp_path):
    path, store, first = copied
    other = tmp_path / "more.toml"
    other.write_text(path.read_text().replace("seeds = 3", "seeds = 4"))
    store_of = Store(store)
    before = {key: record for key, record, _ in store_of.records(first["trial"])}
    with pytest.MonkeyPatch.context() as patch:
        logged: list[str] = []
        patch.setattr(
            logging.getLogger("ebm_vs_prob.study"), "warning", lambda text, *values: logged.append(text % values)
        )
        evp.load_results(other, store=store)
    assert "has changed since it was run" in logged[0]
    frame = run(other, store)
    assert set(frame["seed"]) == {0, 1, 2, 3}
    assert all(store_of.read(key) == record for key, record in before.items())


def test_errors_of_a_run_are_clear(finished, tmp_path):
    path, *_ = finished
    with pytest.raises(LookupError, match="unknown engine 'loca': did you mean 'local'"):
        run(path, tmp_path, engine="loca")
    with pytest.raises(ValueError, match="workers = 0 is not valid"):
        run(path, tmp_path, engine="local", workers=0)
    with pytest.raises(ValueError, match="workers = 2 is not valid"):
        run(path, tmp_path, engine="serial", workers=2)
    for engine, scheduler in (("dask", None), ("local", "tcp://somewhere:1")):
        with pytest.raises(ValueError, match=r"scheduler = .* is not valid: expected an address or a scheduler file"):
            run(path, tmp_path, engine=engine, scheduler=scheduler)
    with pytest.raises(ValueError, match=r"nowhere\.json.* is not valid: expected an address such as"):
        run(path, tmp_path, engine="dask", scheduler=str(tmp_path / "nowhere.json"))
    with pytest.raises(LookupError, match="no results of study 'rings' at scale 'quick'"):
        evp.load_results(path, store=tmp_path)
    assert set(study_status(path, store=tmp_path)["status"]) == {"pending"}


def test_global_state_is_put_back(finished, tmp_path):
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    run(write_study(tmp_path / "rings.toml", seeds=1), tmp_path / "results")
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.slow
def test_local_workers_give_the_same_numbers_and_find_a_trial_that_kills_them(tmp_path):
    arms = {"plain": ("ring", ""), "killer": ("ring", 'fault = "kill", fault_seed = 1')}
    path = write_study(tmp_path / "rings.toml", arms=arms, seeds=2, thickness="0.1")
    frame = run(path, tmp_path / "local", engine="local", workers=2)
    failed = frame[frame["status"] == "failed"]
    assert [(row.arm, row.seed) for row in failed.itertuples()] == [("killer", 1)]
    assert "its worker process was killed by SIGKILL" in failed["reason"].iloc[0]
    serial = run(write_study(tmp_path / "serial.toml", seeds=2, thickness="0.1"), tmp_path / "serial")
    plain = numbers(frame[frame["arm"] == "plain"])
    same = ["trial", "metric", "value", "error", "n"]
    pd.testing.assert_frame_equal(plain[same], numbers(serial)[same])
    again = run(path, tmp_path / "local", engine="local", workers=2)
    pd.testing.assert_frame_equal(again, frame)


@pytest.mark.slow
def test_a_batch_over_its_time_limit_is_halved_until_the_trial_is_found(tmp_path):
    arms = {"plain": ("ring", ""), "hanging": ("ring", 'fault = "hang", fault_seed = 2')}
    path = write_study(tmp_path / "rings.toml", arms=arms, thickness="0.1", time_limit=8.0)
    frame = run(path, tmp_path / "results", engine="local", workers=2)
    failed = frame[frame["status"] == "failed"]
    assert [(row.arm, row.seed) for row in failed.itertuples()] == [("hanging", 2)]
    assert "longer than the time limit of 8 s" in failed["reason"].iloc[0]


@pytest.mark.slow
def test_the_headline_study_runs_at_a_tiny_budget(tmp_path):
    text = Path(evp.study.load_study("thin_manifold").path).read_text()
    small = {
        r"^seeds = 10$": "seeds = 2",
        r"steps = \d+, batch_size = \d+, examples = \d+": "steps = 5, batch_size = 16, examples = 64",
        r"^evaluation = .*$": "evaluation = { test_examples = 32, inputs = 4, starts = 2, samples = 32 }",
        r"^max_steps = \d+$": "max_steps = 5",
        r"thickness = \[0\.3, .*, 0\.0\]": "thickness = [0.3, 0.01]",
    }
    for old, new in small.items():
        text, found = re.subn(old, new, text, flags=re.MULTILINE)
        assert found, old
    path = tmp_path / "thin_manifold.toml"
    path.write_text(text.partition("[[criteria]]")[0])  # its criteria name thicknesses that are left out here
    frame = run(path, tmp_path / "results", engine="local", workers=2)
    planned = plan_study(path, device="cpu")
    assert frame["trial"].nunique() == len(planned.trials)
    assert set(frame["status"]) == {"done"}, frame.loc[frame["status"] != "done", "reason"].unique()
    json.dumps(frame.attrs)
