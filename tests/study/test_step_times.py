"""What training steps are predicted to take, and where the constants come from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_files import write_study

from ebm_vs_prob.study import plan_study, step_times
from ebm_vs_prob.study.plan_again import step_times_of
from ebm_vs_prob.study.step_times import (
    COMPILED_BY,
    FEWEST_SECONDS,
    OPERATIONS,
    TYPICAL,
    UNCOMPILED,
    WORTH,
    StepTime,
    StepTimes,
    machine,
)
from ebm_vs_prob.study.store import Store

SECONDS = st.floats(1e-12, 1e-2)
TIMES = st.builds(StepTime, launch=SECONDS, unit=SECONDS, multiply_add=SECONDS)
MEASURED = TYPICAL.model_copy(update={"machine": "another", "compile": 3.0})


@given(TIMES, TIMES, st.floats(0, 1e3), st.integers(1, 10**7), st.floats(1, 1e6))
def test_what_pays_once_pays_for_more_steps_and_saves_a_fifth(recorded, compiled, compiling, steps, evaluations):
    times = StepTimes(machine="m", recorded=recorded, compiled=compiled, compile=compiling)
    layers = (3, 32, 1)
    if times.pays([(steps, evaluations)], layers):
        assert times.pays([(2 * steps, evaluations)], layers)
        took, would = (steps * times.seconds(mode, evaluations, layers) for mode in (True, False))
        assert took + times.compiling <= WORTH * would
    assert not times.model_copy(update={"compile": None}).pays([(steps, evaluations)], layers)


def test_a_step_of_more_evaluations_takes_longer_in_proportion():
    time = StepTime(launch=1.0, unit=2.0, multiply_add=3.0)
    assert time.seconds(10.0, (2, 4, 1)) == 1.0 + 10 * (7 * 2.0 + 12 * 3.0)


def test_the_page_predicts_and_counts_as_the_plan_does():
    page = (Path(__file__).parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")
    (formula,) = re.findall(r"^    seconds of a step = (.*)$", page, re.MULTILINE)
    layers, evaluations = (2, 4, 1), 1e5
    names = {"evaluations": evaluations, "units": 7, "products": 12, **TYPICAL.recorded.model_dump()}
    predicted = eval(formula.replace(" x ", " * "), names)
    assert predicted == pytest.approx(TYPICAL.seconds(False, evaluations, layers))
    most = FEWEST_SECONDS / TYPICAL.seconds(False, 0.0, ())
    text = " ".join(page.split())
    for words in (
        f"busy for {FEWEST_SECONDS:g} s: {round(most, -2):,.0f} steps",
        f"as {COMPILED_BY * OPERATIONS:g} times that of the step that is measured",
        f"{TYPICAL.compiling:g} s where that takes {TYPICAL.compile:g}:",
        f"has {OPERATIONS:g} times its operations",
    ):
        assert words in text


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """An empty cache folder, and a probe that says what it is told."""
    said, calls = [MEASURED.model_copy(update={"machine": machine()}).model_dump_json().encode()], []

    def run(command, **options):
        calls.append(command)
        if isinstance(said[0], Exception):
            raise said[0]
        return SimpleNamespace(stdout=said[0])

    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(step_times.subprocess, "run", run)
    monkeypatch.setattr(step_times.shutil, "which", lambda name: None if name.startswith("no-such") else name)
    step_times._measured.cache_clear()
    yield said, calls
    step_times._measured.cache_clear()


def test_constants_are_measured_once_where_they_are_needed(probe):
    _, calls = probe
    assert step_times.step_times(needed=False) == TYPICAL
    assert calls == []
    measured = step_times.step_times(needed=True)
    assert (measured.compile, measured.machine) == (3.0, machine())
    step_times._measured.cache_clear()
    assert step_times.step_times(needed=True) == step_times.step_times(needed=False) == measured
    assert len(calls) == 1


def test_machines_that_share_a_home_are_measured_once_each(probe, monkeypatch):
    said, calls = probe
    for name in ("one", "other", "one", "other"):
        monkeypatch.setattr(step_times, "machine", lambda name=name: name)
        said[0] = MEASURED.model_copy(update={"machine": name}).model_dump_json().encode()
        step_times._measured.cache_clear()
        assert step_times.step_times(needed=True).machine == name
    assert len(calls) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", MEASURED.model_dump_json()], ids=["", "a list", "torn", "another"])
def test_constants_that_are_damaged_or_of_another_machine_are_measured_again(probe, content):
    _, calls = probe
    step_times._file(machine()).parent.mkdir()
    step_times._file(machine()).write_text(content)
    assert step_times.step_times(needed=True).compile == 3.0
    assert len(calls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        OSError("no memory"),
        subprocess.TimeoutExpired("python", 600),
        subprocess.CalledProcessError(1, "python", stderr=b"Traceback\nImportError: no torch"),
    ],
    ids=str,
)
def test_where_nothing_can_be_measured_nothing_is_compiled(probe, caplog, fault):
    said, _ = probe
    said[0] = fault
    assert step_times.step_times(needed=True).compile is None
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("they could not be measured, and nothing is compiled: ")
    assert "\n" not in caplog.messages[1]
    assert not step_times._file(machine()).exists()


def test_a_compiler_that_is_not_there_or_fails_is_asked_for_again(probe, monkeypatch, caplog):
    said, calls = probe
    measured = said[0]
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert step_times.step_times(needed=True).compile is None
    assert calls == []
    assert "no-such-compiler" in caplog.messages[0]
    monkeypatch.delenv("CXX")
    for content, expected in ((UNCOMPILED.model_dump_json().encode(), None), (measured, 3.0)):
        said[0] = content
        step_times._measured.cache_clear()
        assert step_times.step_times(needed=True).compile == expected


def test_the_probe_is_not_led_astray_by_modules_of_the_folder_it_is_called_in(probe):
    _, calls = probe
    step_times.step_times(needed=True)
    assert calls[0][1:3] == ["-P", "-m"]


def test_a_cache_folder_that_cannot_be_written_costs_a_measurement(probe, tmp_path):
    _, calls = probe
    (tmp_path / "cache").write_text("a file")
    for _ in range(2):
        assert step_times.step_times(needed=True).compile == 3.0
    assert len(calls) == 1


@pytest.mark.usefixtures("plugin")
def test_a_plan_measures_only_where_compiling_may_pay(probe, tmp_path):
    _, calls = probe
    for steps, compile, count in ((10, "auto", 0), (10**5, "never", 0), (10**5, "always", 0), (10**5, "auto", 1)):
        arms = {"score": ("denoising_score_matching", "")}
        path = write_study(tmp_path / "rings.toml", arms=arms, seeds=3)
        text = path.read_text().replace("seeds = 3", f'seeds = 3\ncompile = "{compile}"')
        path.write_text(text.replace("steps = 3", f"steps = {steps}"))
        planned = plan_study(path, device="cpu")
        assert planned.conditions[0].steps == steps
        assert len(calls) == count


@pytest.mark.usefixtures("plugin")
def test_a_run_that_is_continued_decides_by_the_constants_of_its_first_plan(tmp_path):
    path, store = write_study(tmp_path / "rings.toml"), Store(tmp_path / "store")
    planned = plan_study(path, device="cpu", times=MEASURED)
    assert step_times_of(store, planned.study, "quick", "cpu") is None
    store.write_plan(planned.to_record())
    for device in ("cpu", "auto"):
        assert step_times_of(store, planned.study, "quick", device) == MEASURED
    assert step_times_of(store, planned.study, "quick", "cuda") is None
    more = plan_study(write_study(path, seeds=4), device="cpu", times=TYPICAL)
    assert step_times_of(store, more.study, "quick", "cpu") is None


@pytest.mark.long
def test_the_probe_measures_this_machine():
    command = [sys.executable, "-m", "ebm_vs_prob.study.step_probe"]
    found = subprocess.run(command, capture_output=True, timeout=600, check=True)
    times = StepTimes.model_validate_json(found.stdout)
    assert times.machine == machine()
    layers, evaluations = (2, 32, 32, 1), 9.0 * 64 * 32
    recorded, compiled = (each.seconds(evaluations, layers) for each in (times.recorded, times.compiled))
    assert 1e-5 < recorded < 1.0  # 3 ms on an Intel Xeon
    if shutil.which(step_times.compiler()) is None:
        assert times.compile is None
        return
    assert compiled < recorded
    assert 0.1 < times.compile < 600
