"""The steps of a new user, from data of one's own to a citation, as the README says them: the files are in `new_user/`.

Whatever is a command is called as one, in the folder where the user's files lie.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.core.registry import METHODS, TASKS

FILES = Path(__file__).with_name("new_user")
NAMES = ("own_task", "own_energy", "own_methods")

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the user's files, where commands are called; the data are made."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    rng = np.random.default_rng(0)
    hour = rng.uniform(0, 24, 400)
    height = rng.choice([-1, 1], 400) * (2 + np.sin(hour / 4)) + 0.1 * rng.normal(size=400)
    table = np.stack([hour, height], 1)
    np.savetxt(tmp_path / "points.csv", table, delimiter=",", header="hour,height", comments="")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)
    TASKS.unregister("uneven_points")
    for name in ("uniform_contrast", "one_gaussian"):
        METHODS.unregister(name)


@pytest.fixture
def call(capsys):
    """A command that succeeds: what it writes to stdout."""

    def run(*arguments):
        code = main(list(arguments))
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    return run


def test_from_own_data_and_own_code_to_a_verdict_that_others_can_check(home, call):
    # What is planned, and whether the criteria can be passed and failed.
    planned = json.loads(call("plan", "own.toml", "--json"))
    assert planned["trials"] == 10 * (4 + 3)
    assert [gate["metric"] for gate in planned["gates"]] == ["gibbs_log_score"]

    # A run in processes of their own, which find the plugins and the energy beside the study's file.
    run = [sys.executable, "-m", "ebm_vs_prob.cli", "run", "own.toml", "--workers", "1"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "own.toml at quick: 70 done; results in results"
    assert call("status", "own.toml").splitlines()[0] == "own.toml at quick: 70 trials: 70 done"

    # The page and its verdicts, by a process that has imported nothing of the user's before.
    report = [sys.executable, "-m", "ebm_vs_prob.cli", "report", "own.toml", "--json"]
    told = json.loads(subprocess.run(report, capture_output=True, text=True, check=True).stdout)
    claims = {each["claim"]: each["verdict"] for each in told["verdicts"] if each["scope"] == "claim"}
    assert claims == {"own-answers": "supported", "own-density": "supported"}
    page = Path(told["report"]).read_text(encoding="utf-8")
    for shown in (
        "supported",
        "An energy's answers lie nearer",
        "contrast, my energy: own_energy:Squ",
        "plugin own_energy",
    ):
        assert shown in page.replace("&#39;", "'"), shown
    assert told["result"] in page
    assert "@article{own2026contrast," in Path(told["report"]).with_name("citation.bib").read_text(encoding="utf-8")

    # Others check it: the records, and a trial of each arm trained again.
    assert "verdicts, page and tables as published, the code at hand made them" in call("verify", "own.toml")
    again = json.loads(call("verify", told["result"], "--rerun", "1", "--json"))
    assert again["verified"]
    assert [(each["arm"], each["outcome"]) for each in again["reruns"]] == [("contrast", "same bits")]

    # Another machine's store: here the same one, which runs all trials in one process.
    call("run", "own.toml", "--engine", "serial", "--store", "elsewhere")
    compared = call("compare", "results", "elsewhere")
    assert compared.splitlines()[-2:] == ["2 identical", "no verdict flipped"]

    # How it is cited: with the papers of one's own method, and the result's name.
    bibtex = call("cite", "own.toml", "--format", "bibtex")
    assert "@article{own2026contrast," in bibtex
    assert told["result"] in bibtex
    cff = yaml.safe_load(call("cite", "own.toml", "--format", "cff"))
    assert "A Contrast of My Own" in [paper["title"] for paper in cff["references"]]
    assert "Own, O. (2026). A Contrast of My Own." in call("cite", "own.toml", "--format", "apa")

    # The model behind a record, with one's own energy.
    results = evp.load_results("own.toml")
    trial = results[(results["arm"] == "contrast") & (results["seed"] == 3)]["trial"].iloc[0]
    assert set(json.loads(results.loc[results["trial"] == trial, "plugins"].iloc[0])) == set(NAMES)
    model = evp.open_model("own.toml", trial)
    x, y = model.tasks[0].sample(5, seed=0, split="test")
    assert (model.energy(x, y) >= 0).all()  # a sum of squares, as `own_energy.py` has it
    assert model.seeds == (3,)


def test_a_mistake_of_a_new_user_is_answered_in_one_line(home, capsys):
    study = home / "own.toml"
    text = study.read_text()
    for wrong, right, expected in (
        ("own_energy:SquaredFeatures", "own_energy:SquareFeatures", "did you mean 'own_energy:SquaredFeatures'?"),
        ('"own_task", "own_methods"', '"own_task", "own_method"', "plugins = 'own_method' is not valid"),
        ('method = "one_gaussian"', 'method = "one_gausian"', "did you mean 'one_gaussian'?"),
        ("points.csv", "point.csv", "point.csv"),
        ('y = ["height"]', 'y = ["heigth"]', "did you mean 'height'?"),
        ('method = "mixture_density"', 'method = "mixture_density"\nnetwork = "own_energy:SquaredFeatures"', "train"),
    ):
        study.write_text(text.replace(wrong, right, 1))
        assert main(["run", "own.toml"]) == 1
        said = capsys.readouterr().err.splitlines()
        assert re.match(r"ebm-vs-prob: error: ", said[-1])
        assert expected in said[-1]
