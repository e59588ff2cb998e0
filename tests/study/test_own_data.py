"""A study on a data file of the user's: trials follow from its content, wherever it lies and whatever its name."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.study import Store, check_feasible, load_study, study_status
from ebm_vs_prob.study.data_files import digests_of, know_files
from ebm_vs_prob.study.engines import Job, introduce
from ebm_vs_prob.study.grid import Trial
from ebm_vs_prob.study.worker import attempt, pack, trial_task

STUDY = """schema = 1
name = "mine"
title = "Which family predicts my points better?"
claims = ["mine"]

[scales.quick]
seeds = 2
network = { hidden = [4] }
budget = { steps = 3, batch_size = 16, examples = 60 }
evaluation = { test_examples = 30, inputs = 2, samples = 32, starts = 2, max_steps = 3 }

[[tasks]]
name = "data"
options = { data = "FILE", y = ["a", "b"] }

[[arms]]
name = "energy"
method = "denoising_score_matching"

[[arms]]
name = "density"
method = "mixture_density"

[[arms]]
name = "exact"
method = "exact"
"""


def write(folder, file="points.csv", rows=120):
    """A study and its data in a folder: the path of the study."""
    rng = evp.numpy_generator(0, "points")
    points = rng.standard_normal((120, 2))[:rows] * (3.0, 40.0)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / file, points, delimiter=",", header="a,b", comments="")
    path = folder / "mine.toml"
    path.write_text(STUDY.replace("FILE", file))
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    path = write(folder)
    frame = evp.run_study(path, store=folder / "store", engine="serial", device="cpu", progress=False)
    return path, folder / "store", frame


def keys(path):
    return {trial.key for trial in evp.plan_study(path, device="cpu").trials}


def test_trials_follow_from_the_content_and_not_from_the_path(tmp_path):
    here = keys(write(tmp_path / "here"))
    assert keys(write(tmp_path / "there", file="data/renamed.csv")) == here
    assert not keys(write(tmp_path / "here", rows=119)) & here


def test_a_path_is_taken_from_the_folder_of_the_study(tmp_path, monkeypatch):
    write(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    from_here = keys("mine.toml")
    monkeypatch.chdir(tmp_path)
    assert keys("here/mine.toml") == from_here


def test_a_study_may_have_several_tasks_of_data(tmp_path):
    write(tmp_path, "other.csv", rows=100)
    path = write(tmp_path)
    alone = keys(path)
    path.write_text(path.read_text() + '[[tasks]]\nname = "other"\ntask = "data"\ndata = "other.csv"\ny = ["a", "b"]\n')
    assert sorted(digests_of(load_study(path))) == ["other.csv", "points.csv"]
    both = keys(path)
    assert alone < both
    assert len(both) == 2 * len(alone)


def test_options_of_own_data_stand_in_the_table_of_the_task_or_in_its_options(tmp_path):
    path = write(tmp_path)
    written = load_study(path)
    within = 'options = { data = "points.csv", y = ["a", "b"] }'
    text = path.read_text()
    for beside in ('data = "points.csv"\ny = ["a", "b"]', 'data = "points.csv"\noptions = { y = ["a", "b"] }'):
        path.write_text(text.replace(within, beside))
        assert load_study(path).tasks == written.tasks
    path.write_text(text.replace('name = "data"', 'name = "mine"\ntask = "data"').replace(within, beside))
    assert load_study(path).tasks[0].options == written.tasks[0].options
    for beside, message in (
        (f'{within}\ny = "a"', "tasks.0.y = 'a' is not valid: expected one in the table or in its options"),
        (f'{within}\ncolumns = "a"', "unknown option of .*: tasks.0: 'columns'"),
    ):
        path.write_text(text.replace(within, beside))
        with pytest.raises(ValueError, match=message):
            load_study(path)
    path.write_text(text.replace('name = "data"', 'name = "circle"').replace(within, 'data = "points.csv"'))
    with pytest.raises(ValueError, match=r"unknown option of .*: 'data'"):
        load_study(path)


@pytest.mark.slow
def test_what_needs_no_truth_is_measured_and_the_rest_says_why(ran):
    path, store, frame = ran
    assert set(frame["status"]) == {"done"}
    known = frame.dropna(subset="value")
    for arm in ("energy", "density"):
        metrics = set(known.loc[known["arm"] == arm, "metric"])
        assert metrics >= {"gibbs_log_score", "energy_score", "precision", "recall"}
        assert metrics >= {"sharpness_curvature", "weight_norm", "multiply_adds"}
        assert not {name for name in metrics if "distance" in name or "gap" in name or "success" in name}
    record = Store(store).read(frame["trial"].iloc[0])
    assert len(record["specification"]["task"]["options"]["sha256"]) == 64
    assert "not known" in record["notes"]["gibbs_gap"]
    whole = b"".join(each.read_bytes() for each in store.rglob("*") if each.is_file() and each.suffix == ".json")
    assert str(path.parent).encode() not in whole + json.dumps(record).encode()


def test_a_store_serves_the_same_data_elsewhere_and_not_others(ran, tmp_path, caplog):
    _, store, frame = ran
    moved = write(tmp_path, file="other.csv")
    assert (study_status(moved, store=store)["status"] == "done").all()
    again = evp.load_results(moved, store=store)
    assert set(again["trial"]) == set(frame["trial"])
    write(tmp_path, file="other.csv", rows=110)
    assert (study_status(moved, store=store)["status"] == "pending").all()
    caplog.clear()
    evp.load_results(moved, store=store)
    assert "has changed since it was run" in caplog.text
    (tmp_path / "other.csv").unlink()
    assert len(evp.load_results(moved, store=store)) == len(frame)
    with pytest.raises(ValueError, match="expected a file that is there"):
        evp.plan_study(moved, device="cpu")


def test_the_model_of_a_trial_is_opened_again(ran):
    path, store, frame = ran
    trial = frame.loc[frame["arm"] == "density", "trial"].iloc[0]
    model = evp.open_model(path, trial, store=store)
    assert model.tasks[0].called == "points.csv"
    x, y = model.tasks[0].sample(3, split="test")
    assert bool(torch.isfinite(model.log_prob(x, y)).all())


def test_a_worker_with_other_bytes_refuses_by_name(tmp_path):
    path = write(tmp_path)
    planned = evp.plan_study(path, device="cpu")
    files = digests_of(planned.study)
    shutil.copytree(tmp_path, tmp_path / "worker")
    write(tmp_path / "worker", rows=100)
    job = Job(str(tmp_path), (), str(tmp_path), "cpu", 60.0, files=files)
    assert introduce(job).fault == ""
    elsewhere = Job(str(tmp_path), (), str(tmp_path / "worker"), "cpu", 60.0, files=files)
    assert "SHA-256 of points.csv" in introduce(elsewhere).fault
    (tmp_path / "worker" / "points.csv").unlink()
    assert "points.csv" in introduce(elsewhere).fault
    changed = planned.trials[0].specification
    changed = {**changed, "task": {**changed["task"], "options": {**changed["task"]["options"], "split_seed": 12345}}}
    write(tmp_path, rows=99)
    know_files(files, tmp_path)
    with pytest.raises(ValueError, match=r"SHA-256 of points.csv .* the file holds other data than were planned"):
        trial_task(Trial.of(changed))
    from ebm_vs_prob.study.batches import Batch

    batch = Batch.of([Trial.of(changed)], "cpu", False, 1.0, 0)
    assert "the file holds other data" in attempt(pack(batch, (), str(tmp_path), files), None).text


def test_exact_is_left_out_with_the_reason():
    from ebm_vs_prob.control.exact import Exact

    task = evp.task_from_arrays(np.arange(60.0))
    assert "no model is exact" in Exact.why_not(task)


def test_the_commands_work_and_the_report_says_what_is_not_known(ran, tmp_path, capsys):
    path, store, _ = ran
    for command in (["plan", str(path)], ["status", str(path), "--store", str(store)]):
        assert main(command) == 0
    assert "no model is exact" in capsys.readouterr().out
    assert main(["report", str(path), "--store", str(store), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "mine" / "report.md").read_text()
    assert "Gibbs log score" in page
    assert "the law that made these rows is not known" in page


#: Of what a report is read in.
SHOWN = (".html", ".md", ".csv", ".tex", ".svg")
CRITERIA = """
[[criteria]]
id = "better"
claim = "mine"
statement = "The energy predicts better"
kind = "difference"
metric = "gibbs_log_score"
arms = ["energy"]
against = ["density"]
tasks = ["data"]
above = 0.0

[[gates]]
metric = "gibbs_log_score"
above = 1000.0
"""


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("answer_distance_median", "takes the manifold"),
        ("likelihood_gap", "takes the law"),
        ("error_rate", "is of labels"),
    ],
)
def test_a_criterion_that_own_rows_give_no_value_is_refused_before_anything_is_trained(tmp_path, metric, said):
    path = write(tmp_path)
    path.write_text(path.read_text() + CRITERIA.replace("gibbs_log_score", metric, 1))
    with pytest.raises(ValueError, match=rf"criteria\.better: on data it has no value: {metric} {said}"):
        check_feasible(load_study(path), "quick")


def test_a_criterion_that_own_rows_give_a_value_is_let_through(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text() + CRITERIA)
    (held,) = check_feasible(load_study(path), "quick")
    assert held.problem == ""


#: A thickness of 0 in any of the ways in which a report names one.
_ZERO = re.compile(r"(?:ε|thickness|varepsilon\$?|noise)[\s:=&|\\]*\b0(?:\.0+)?\b(?!\.\d)")


def test_a_report_says_nowhere_that_noise_which_nobody_knows_is_zero(ran, tmp_path):
    path, store, _ = ran
    path = write(tmp_path)
    path.write_text(path.read_text() + CRITERIA)
    shutil.copytree(store, tmp_path / "store")
    frame = evp.run_study(path, store=tmp_path / "store", engine="serial", device="cpu", progress=False)
    assert set(frame["axis"]) == {"noise"}
    assert main(["report", str(path), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "reports")]) == 0
    out = tmp_path / "reports" / "mine"
    texts = {str(each.relative_to(out)): each.read_text() for each in out.rglob("*") if each.suffix in SHOWN}
    assert {name: found[0] for name, text in texts.items() if (found := _ZERO.search(text))} == {}
    assert "on data of unknown noise, the Gibbs density" in texts["index.html"]
    assert "data: what each arm learned, unknown noise" in texts["report.md"]
    assert "at unknown noise, and its gate is at least 1000" in texts["report.md"]
    assert "unknown noise" in texts["tables/criteria.tex"]
    assert texts["tables/data.csv"].splitlines()[1].split(",")[1] == "unknown"
    assert ",unknown," in texts["tables/data_metrics.csv"]
    assert "unknown noise" in next(text for name, text in texts.items() if name.startswith("figures/data_landscapes"))
