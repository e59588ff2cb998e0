"""What is said while a study runs: how far each arm is, what is left, and failures as they come."""

from __future__ import annotations

import pytest
from study_files import write_study

from ebm_vs_prob.study import Store, load_study, plan_study, run_study
from ebm_vs_prob.study.progress import Tally, duration, progress

ARMS = {"plain": ("ring", ""), "broken": ("ring", 'fault = "raise"')}

pytestmark = pytest.mark.usefixtures("plugin")


@pytest.fixture
def study(tmp_path):
    return load_study(write_study(tmp_path / "rings.toml", arms=ARMS, seeds=2, thickness="0.1"))


def test_what_is_left_is_predicted_from_the_work_that_is_done(study):
    planned = plan_study(study, "quick", "cpu")
    keys = [trial.key for trial in planned.trials]
    tally = Tally(planned, keys, now=100.0)
    assert tally.seconds_left(110.0) is None
    tally.ended(keys[0])
    assert tally.seconds_left(110.0) == pytest.approx(30.0)  # one of four trials of equal work took ten seconds
    assert sum(tally.done.values()) == 1
    assert tally.totals == {"plain": 2, "broken": 2}


def test_trials_that_are_there_are_done_from_the_start(study):
    planned = plan_study(study, "quick", "cpu")
    tally = Tally(planned, [planned.trials[0].key], now=0.0)
    assert sum(tally.done.values()) == 3


def test_nothing_is_said_where_nothing_is_shown(study, capsys):
    planned = plan_study(study, "quick", "cpu")
    with progress("rings", planned, [], Store(study.path.parent / "store"), shown=False) as advance:
        advance(planned.trials, True)
    assert capsys.readouterr().err == ""


def test_a_run_without_a_terminal_says_how_far_each_arm_is_and_what_failed(study, tmp_path, capsys):
    run_study(study, engine="serial", device="cpu", store=tmp_path / "store", progress=True)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("rings at quick: 0 of 4 trials (plain 0/2, broken 0/2)")
    assert said[-1].startswith("rings at quick: 4 of 4 trials (plain 2/2, broken 2/2)")
    failures = [line for line in said if line.startswith("failed: broken, trial ")]
    assert failures
    assert all("study_plugin.py, line" in line for line in failures)


@pytest.mark.parametrize(
    ("seconds", "said"), [(3, "3 s"), (119, "119 s"), (600, "10 min"), (9e3, "2 h"), (1e6, "12 days")]
)
def test_durations_are_said_as_people_do(seconds, said):
    assert duration(seconds) == said
