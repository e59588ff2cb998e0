"""Tasks and methods of a user, in modules of their own beside the study's file, from the run to the verdict."""

from __future__ import annotations

import io
import json
import shlex
import sys
from typing import Annotated

import pytest
from pydantic import Field
from study_files import write_study

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.core.registry import METHODS, TASKS
from ebm_vs_prob.report import write_report
from ebm_vs_prob.study import Store, load_study, plan_study
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.plugins import import_plugins
from ebm_vs_prob.study.provenance import mixture
from ebm_vs_prob.tasks.circle import Circle

TASK = """
import ebm_vs_prob as evp
from ebm_vs_prob.tasks.circle import Circle
from own_helper import SUMMARY

@evp.register_task
class OwnCircle(Circle):
    name = "own_circle"
    summary = SUMMARY
"""
METHOD = """
import ebm_vs_prob as evp
from ebm_vs_prob.core.registry import METHODS

@evp.register_method
class {class_name}(METHODS.get("{base}")):
    name = "{name}"
    summary = "a method of a user"
"""
STUDY = """
schema = 1
name = "own"
title = "Own"
claims = ["C17"]
plugins = ["own_task", "own_energy", "own_density"]

[scales.quick]
seeds = 10
network = { hidden = [4] }
budget = { steps = 3, batch_size = 8, examples = 32 }
evaluation = { test_examples = 16, inputs = 2, starts = 2, samples = 8, max_steps = 3 }

[[tasks]]
name = "own_circle"
along = { thickness = [0.1] }
"""
ARM = '\n[[arms]]\nname = "{0}"\nmethod = "{0}"\n'
ARMS = ("own_energy", "own_density", "mean_squared_error", "mixture_density")
CRITERION = """
[[criteria]]
id = "own-cheap"
claim = "C17"
statement = "It takes less than a day"
kind = "value"
metric = "seconds"
arms = ["own_energy"]
tasks = ["own_circle"]
at = [0.1]
below = 86400.0
"""
MODULES = ("own_task", "own_helper", "own_energy", "own_density")


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own_helper.py").write_text('SUMMARY = "a task of a user"\n')
    (tmp_path / "own_task.py").write_text(TASK)
    for name, base in (("own_energy", "denoising_score_matching"), ("own_density", "mixture_density")):
        text = METHOD.format(class_name=name.title().replace("_", ""), base=base, name=name)
        (tmp_path / f"{name}.py").write_text(text)
    path = tmp_path / "own.toml"
    path.write_text(STUDY + "".join(ARM.format(name) for name in ARMS) + CRITERION)
    before = list(sys.path)
    yield path
    assert sys.path == before
    for name in MODULES:
        sys.modules.pop(name, None)
    for registry, names in ((TASKS, ["own_circle"]), (METHODS, ["own_energy", "own_density"])):
        for name in names:
            if name in {entry.name for entry in registry.entries()}:
                registry.unregister(name)


@pytest.mark.parametrize("engine", ["serial", pytest.param("local", marks=pytest.mark.slow)])
def test_a_study_of_own_tasks_and_methods_ends_with_a_verdict(own, tmp_path, engine):
    store = tmp_path / "results"
    workers = 1 if engine == "local" else None
    frame = evp.run_study(own, engine=engine, workers=workers, device="cpu", store=store, progress=False)
    assert set(frame["status"]) == {"done"}
    assert frame.groupby("method")["plugins"].first().nunique() == 3
    assert mixture(frame) == ""
    verdicts = judge(load_study(own), frame, range(10))
    assert [verdict.verdict for verdict in verdicts] == ["supported", "supported"]
    done = frame[(frame["metric"] == "curvature_p95") & (frame["arm"] == "own_energy")].iloc[3]
    model = evp.open_model(own, done["trial"], store=store)
    assert (model.num_replicates, model.seeds) == (1, (done["seed"],))
    page = write_report(own, scale="quick", store=store, out=tmp_path / "reports")
    assert "own_energy" in page.read_text(encoding="utf-8")


def test_a_changed_helper_of_one_task_is_another_version_of_its_code(own, tmp_path):
    from ebm_vs_prob.study import provenance

    plan_study(own, device="cpu")
    kind = TASKS.get("own_circle")
    before = provenance.plugin_digests(kind)
    (tmp_path / "own_helper.py").write_text('SUMMARY = "another"\n')
    provenance._digest_of_sources.cache_clear()
    after = provenance.plugin_digests(kind)
    assert list(before) == list(after) == ["own_task"]
    assert before != after
    assert provenance.plugin_digests(METHODS.get("mixture_density"), TASKS.get("circle")) == {}


def test_a_plugin_that_another_module_hides_is_refused(own, tmp_path):
    (tmp_path / "colorsys.py").write_text("")
    own.write_text(own.read_text().replace('"own_task"', '"colorsys", "own_task"'))
    with pytest.raises(ValueError, match=r"colorsys.*is hidden by"):
        plan_study(own, device="cpu")


def test_a_failed_run_says_where_and_exits_with_one(own, tmp_path, capsys):
    module = tmp_path / "own_energy.py"
    broken = '\n    @classmethod\n    def train(cls, model):\n        raise RuntimeError("broken here")\n'
    module.write_text(module.read_text() + broken)
    line = module.read_text().count("\n")
    own.write_text(STUDY.replace("seeds = 10", "seeds = 2") + ARM.format("own_energy") + CRITERION)
    store = tmp_path / "its results"
    assert main(["run", str(own), "--engine", "serial", "--device", "cpu", "--store", str(store)]) == 1
    expected = f"RuntimeError: broken here (own_energy.py, line {line}, in train)"
    said = capsys.readouterr().err
    assert expected in said
    assert main(shlex.split(said.partition("why trials failed: ebm-vs-prob")[2])) == 0
    assert expected in capsys.readouterr().out
    frame = evp.load_results(own, store=store)
    failed = Store(store).read(frame.loc[frame["status"] == "failed", "trial"].iloc[0])
    assert f'own_energy.py", line {line}' in failed["traceback"]


def test_a_task_whose_thickness_can_only_be_zero_is_evaluated():
    class SharpCircle(Circle):
        name = "sharp_circle"
        summary = "a circle without noise"

        class Options(Circle.Options):
            thickness: Annotated[float, Field(ge=0, le=0)] = 0.0

    budget = evp.Budget(steps=2, batch_size=8, examples=32)
    model = evp.fit("mixture_density", SharpCircle(), seeds=[0], budget=budget, network=evp.Network(hidden=(4,)))
    evaluation = evp.Evaluation(test_examples=16, inputs=2, starts=2, samples=8, max_steps=3)
    table = evp.evaluate(model, SharpCircle(), evaluation).set_index("metric")
    assert table.loc["sublevel_precision"].isna()["value"]
    assert table.loc["sublevel_coverage", "value"] >= 0


FAILING = {
    "def f(:": r"SyntaxError: invalid syntax in .*bad\.py, line 2",
    "raise RuntimeError('a\\x1b\\nb')": r"RuntimeError: a\\x1b b in .*bad\.py, line 2",
    "raise SystemExit(3)": r"SystemExit: 3 in .*bad\.py, line 2",
    "exit()": r"SystemExit: None in .*bad\.py, line 2",
    "raise KeyboardInterrupt": r"KeyboardInterrupt: in .*bad\.py, line 2",
    "f = lambda: f(); f()": r"RecursionError: .* in .*bad\.py, line 2",
    "import no_such_module": r"No module named 'no_such_module' in .*bad\.py, line 2",
    "import bad_helper": r"FileNotFoundError: .* in .*bad_helper\.py, line 1",
}


@pytest.mark.parametrize("code", FAILING)
def test_a_plugin_that_fails_is_named_with_its_file_and_line(tmp_path, code):
    (tmp_path / "bad.py").write_text(f"x = 1\n{code}\n")
    (tmp_path / "bad_helper.py").write_text("open('/no/such/file')\n")
    with pytest.raises(ValueError, match=rf"^F: plugins = 'bad' is not valid: .*\({FAILING[code]}\)$") as caught:
        import_plugins(["bad"], "F", tmp_path)
    assert "\n" not in str(caught.value)
    assert "bad" not in sys.modules


class NoReader(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("stream", [NoReader, lambda: None], ids=["no reader", "closed"])
def test_a_plugin_that_prints_is_importable_wherever_that_goes(tmp_path, monkeypatch, stream):
    (tmp_path / "talking.py").write_text("import sys\nprint('x' * 10_000, flush=True)\nsys.stdout.close()\n")
    monkeypatch.setattr(sys, "stdout", stream())
    monkeypatch.setattr(sys, "stderr", stream())
    try:
        import_plugins(["talking"], "F", tmp_path)
    finally:
        sys.modules.pop("talking", None)


def test_what_a_plugin_prints_is_not_in_what_a_command_answers(tmp_path, capsys):
    path = write_study(tmp_path / "rings.toml", {"plain": ("hinge", "")})
    path.write_text(path.read_text().replace("study_plugin", "loud_plugin"))
    (tmp_path / "loud_plugin.py").write_text("print('loaded')\n")
    try:
        assert main(["plan", str(path), "--device", "cpu", "--json"]) == 0
    finally:
        sys.modules.pop("loud_plugin", None)
    out, err = capsys.readouterr()
    assert json.loads(out)["trials"] == 6
    assert err == "loaded\n"


HOSTILE = {
    "exec(compile('raise ValueError(1)', 'x', 'exec').replace(co_filename='a\\0b'))": "ValueError: 1 in",
    "exec(compile('raise ValueError(1)', 'x' * 5000, 'exec'))": "ValueError: 1 in",
    "class E(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise E": "E: <E whose text cannot be had",
    "exec('raise KeyboardInterrupt')": "KeyboardInterrupt: in",
    "e = SyntaxError()\ne.filename = 'a\\0' * 9999\nraise e": "SyntaxError: None in a.*characters left out",
    "__file__ = 'a\\0b'": "hidden by a module of Python",
    "__file__ = 'x' * 5000": "hidden by a module of Python",
}


@pytest.mark.parametrize("code", HOSTILE)
def test_a_plugin_whose_failure_is_hard_to_tell_of_is_named(tmp_path, code):
    (tmp_path / "bad.py").write_text(f"x = 1\n{code}\n")
    try:
        with pytest.raises(ValueError, match=rf"^F: plugins = 'bad' is not valid: .*{HOSTILE[code]}") as caught:
            import_plugins(["bad"], "F", tmp_path)
    finally:
        sys.modules.pop("bad", None)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_ctrl_c_during_an_import_is_not_the_plugins(tmp_path):
    (tmp_path / "slow_plugin.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nx = 1\n")
    with pytest.raises(KeyboardInterrupt):
        import_plugins(["slow_plugin"], "F", tmp_path)


def test_two_studies_plugins_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder / "twin.py").write_text("import twin_helper\n")
        (tmp_path / folder / "twin_helper.py").write_text(f"WHO = {folder!r}\n")
        (tmp_path / folder / f"only_{folder}.py").write_text("import twin_helper\n")
    both = rf"{tmp_path}/a/\w+\.py.*{tmp_path}/b/\w+\.py is hidden"
    try:
        import_plugins(["twin"], "A", tmp_path / "a")
        import_plugins(["twin", "only_a"], "A", tmp_path / "a")
        for name in ("twin", "only_b"):
            with pytest.raises(ValueError, match=both):
                import_plugins([name], "B", tmp_path / "b")
        with pytest.raises(ValueError, match=f"only another study's {tmp_path}/a/twin.py has the name"):
            import_plugins(["twin"], "C", tmp_path / "c")
    finally:
        for name in ("twin", "twin_helper", "only_a"):
            sys.modules.pop(name, None)
