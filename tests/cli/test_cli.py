"""The command line: every command on a small study, JSON for programs, and errors in one line."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_files import registered_plugin, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.cli import commands as cli
from ebm_vs_prob.cli import options
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.study import Store, plan_study
from ebm_vs_prob.study.step_times import TYPICAL

COMMANDS = ("list", "show", "plan", "run", "status", "report", "verify", "compare", "cite", "check", "challenge")

STUDY = """
schema = 1
name = "small"
title = "A study small enough to run in a test"
claims = ["C17"]

[scales.quick]
seeds = 2
network = { hidden = [8] }
budget = { steps = 30, batch_size = 16, examples = 64 }
evaluation = { test_examples = 16, inputs = 4, starts = 2, samples = 8, max_steps = 5 }

[[tasks]]
name = "circle"
along = { thickness = [0.3, 0.1] }

[[arms]]
name = "mixture_density"
method = "mixture_density"

[[arms]]
name = "regression"
method = "mean_squared_error"

[[criteria]]
id = "C17-regression"
claim = "C17"
statement = "Regression averages the answers away"
kind = "ratio"
metric = "answer_distance_median"
arms = ["regression"]
against = ["mixture_density"]
tasks = ["circle"]
at = [0.1]
above = 3.0
"""


#: What `report` says of this study on stderr while it makes it.
MAKING = [
    "reading the results",
    "making the tables",
    "drawing the figures of the claims",
    "drawing the figures of circle, task 1 of 1",
    "writing the page, its tables and its records",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study file whose trials have been run into the store beside it."""
    folder = tmp_path_factory.mktemp("cli")
    path = folder / "small.toml"
    path.write_text(STUDY, encoding="utf-8")
    assert main(["run", str(path), "--engine", "serial", "--device", "cpu", "--store", str(folder / "store")]) == 0
    return path


@pytest.fixture
def call(capsys):
    """Run the command line: its exit code, stdout and stderr."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_parses(command, call):
    code, out, _ = call(command, "--help")
    assert code == 0
    example = re.search(r"Example: ebm-vs-prob (.*)", out)
    assert example is not None
    arguments = example[1].split(" > ")[0].split()
    assert arguments[0] == command
    parsed = cli.typer.main.get_command(cli.app).commands[command].make_context(command, arguments[1:])  # type: ignore[attr-defined]
    assert parsed.params


def test_the_commands_are_those_documented(call):
    code, out, _ = call("--help")
    assert code == 0
    assert tuple(re.findall(r"^  (\w+)  ", out.partition("Commands:")[2], re.MULTILINE)) == COMMANDS
    assert call()[:2] == (0, out)


def test_the_choices_are_those_that_a_run_takes():
    from ebm_vs_prob.study.engines import ENGINES
    from ebm_vs_prob.study.plan import DEVICES

    assert tuple(options.Engine) == ENGINES
    assert tuple(options.Device) == DEVICES


@pytest.mark.parametrize("kind", ["tasks", "methods", "studies"])
def test_list_names_everything(kind, call):
    _, everything, _ = call("list", "--json")
    code, out, _ = call("list", kind, "--json")
    assert code == 0
    rows = json.loads(out)
    assert rows == json.loads(everything)[kind]
    _, table, _ = call("list", kind)
    lines = table.splitlines()[2:]
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]


def test_list_methods_says_what_they_are(call):
    rows = {row["name"]: row for row in json.loads(call("list", "methods", "--json")[1])}
    assert rows["denoising_score_matching"]["family"] == "ebm"
    assert rows["denoising_score_matching"]["options"]["sigma"] == 0.1
    assert rows["mixture_density"]["normalised"] is True
    assert rows["mixture_density"]["twin"] is None
    assert rows["gibbs_maximum_likelihood"]["twin"] == "importance_sampled_likelihood"


def test_plan_counts_trials_and_runs_nothing(study, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("plan", study, "--device", "cpu", "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["trials"] == 2 * 2 * 2
    assert sum(row["trials"] for row in summary["batches"]) == summary["trials"]
    assert list(tmp_path.iterdir()) == []
    code, out, _ = call("plan", study, "--device", "cpu")
    assert code == 0
    assert "trials: 8" in out


def test_plan_decides_by_the_constants_of_a_run_that_would_be_continued(study, call, tmp_path):
    measured = TYPICAL.model_copy(update={"machine": "another"})
    Store(tmp_path).write_plan(plan_study(study, device="cpu", times=measured).to_record())
    code, out, _ = call("plan", study, "--device", "cpu", "--store", tmp_path, "--json")
    assert code == 0
    assert json.loads(out)["step_times"] == measured.model_dump()


def test_a_finished_study_runs_nothing_again(study, call):
    store = study.parent / "store"
    records = {path: path.stat().st_mtime_ns for path in (store / "shards").iterdir()}
    code, out, _ = call("run", study, "--engine", "serial", "--device", "cpu", "--store", store)
    assert code == 0
    assert "8 done" in out
    assert {path: path.stat().st_mtime_ns for path in (store / "shards").iterdir()} == records


def test_status_has_every_trial_with_its_state(study, call, tmp_path):
    code, out, _ = call("status", study, "--store", study.parent / "store", "--json")
    assert code == 0
    trials = json.loads(out)
    assert len(trials) == 8
    assert {trial["status"] for trial in trials} == {"done"}
    assert {(trial["arm"], trial["setting"], trial["seed"]) for trial in trials} == {
        (arm, thickness, seed)
        for arm in ("mixture_density", "regression")
        for thickness in (0.3, 0.1)
        for seed in (0, 1)
    }
    code, out, _ = call("status", study, "--store", tmp_path / "empty")
    assert code == 0
    assert out.splitlines()[0] == f"{study} at quick: 8 trials: 8 pending"


def test_report_prints_its_path_and_with_json_the_verdicts(call, monkeypatch, tmp_path):
    def write_report(study, scale, store, out, progress, below):
        progress("reading the results")
        folder = out / study.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "verdicts.json").write_text(json.dumps([{"claim": "C11", "scale": scale, "store": str(store)}]))
        (folder / "result.json").write_text(json.dumps({"id": "evp-0123456789abcdef"}))
        return folder / "index.html"

    monkeypatch.setattr("ebm_vs_prob.report.write_report", write_report)
    where = ("thin_manifold", "--scale", "full", "--store", "there", "--out", tmp_path)
    page = tmp_path / "thin_manifold" / "index.html"
    assert call("report", *where) == (0, f"{page}\n", "reading the results\n")
    code, out, err = call("report", *where, "--json")
    assert (code, err) == (0, "reading the results\n")
    verdicts = [{"claim": "C11", "scale": "full", "store": "there"}]
    assert json.loads(out) == {"result": "evp-0123456789abcdef", "report": str(page), "verdicts": verdicts}


def test_report_of_all_writes_the_page_over_the_reports_that_are_there(call, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "verdicts.json").write_text("[]", encoding="utf-8")
    assert call("report", "--all", "--out", tmp_path) == (0, f"{tmp_path / 'index.html'}\n", "")
    assert "The lecture's claims, tested" in (tmp_path / "index.html").read_text(encoding="utf-8").replace("&#39;", "'")
    for arguments in ((), ("thin_manifold", "--all")):
        assert_one_line_error(*call("report", *arguments, "--out", tmp_path), "a study", "--all")
    typo = tmp_path / "typo"
    assert_one_line_error(*call("report", "--all", "--out", typo), f"out = '{typo}'", "a folder with reports")
    assert not typo.exists()


@pytest.mark.slow
def test_report_of_a_study_that_was_run(study, call, tmp_path):
    code, out, said = call("report", study, "--store", study.parent / "store", "--out", tmp_path, "--json")
    assert code == 0
    assert said.splitlines() == MAKING
    written = json.loads((tmp_path / "small" / "verdicts.json").read_text(encoding="utf-8"))
    assert json.loads(out)["verdicts"] == written
    assert "undecided" in out  # two seeds are too few for a verdict
    assert (tmp_path / "small" / "index.html").stat().st_size > 0


def test_cite_prints_bibtex(study, call):
    code, out, _ = call("cite", study)
    assert code == 0
    assert len(re.findall(r"^@\w+\{[\w:.-]+,", out, re.MULTILINE)) >= 2
    assert out.count("{") == out.count("}")
    code, as_json, _ = call("cite", study, "--json")
    assert json.loads(as_json)["bibtex"].strip() == out.strip()


SCORED = """primary = true

[[criteria]]
id = "C17-log-score"
claim = "C17"
statement = "A mixture has density where the data are"
kind = "value"
metric = "gibbs_log_score"
arms = ["mixture_density"]
tasks = ["circle"]
at = [0.1]
above = -3.0

[[criteria]]
id = "C17-branches"
claim = "C17"
statement = "It gives each branch its weight"
kind = "value"
metric = "branch_kl"
arms = ["mixture_density"]
tasks = ["three_curves"]
at = [0.1]
below = 0.1

[[tasks]]
name = "three_curves"
along = { thickness = [0.1] }
"""


def test_cite_names_the_papers_of_the_metrics_that_decide_at_its_scale(call, tmp_path):
    path = tmp_path / "small.toml"
    text = STUDY.replace("[scales.quick]", '[scales.quick]\ntasks = ["circle"]')
    path.write_text(f"{text}{SCORED}", encoding="utf-8")
    code, out, _ = call("cite", path, "--store", tmp_path / "store", "--reports", tmp_path / "reports")
    assert code == 0
    keys = re.findall(r"^@\w+\{([^,]+),", out, re.MULTILINE)
    assert "good1952rational" in keys
    assert "wenliang2020blindness" not in keys


def assert_one_line_error(code, out, err, *words):
    assert code != 0
    assert out == ""
    assert re.fullmatch(r"ebm-vs-prob: error: [^\n]+\n", err), err
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], ["lst"]),
        (["list", "task"], ["task", "methods", "studies"]),
        (["run"], ["STUDY"]),
        (["run", "thin_manifold", "--engine", "slurm"], ["--engine", "slurm", "serial", "dask"]),
        (["run", "thin_manifold", "--workers", "0"], ["--workers"]),
        (["run", "thin_manifold", "--workers", "two"], ["--workers"]),
        (["run", "thin_manifold", "--device", "tpu"], ["--device", "tpu", "cuda"]),
        (["run", "thin_manifold", "--scal", "quick"], ["--scal"]),
        (["run", "thin_manifold", "surplus"], ["surplus"]),
        (["run", "thin_manifold", "--engine", "serial", "--scale", "huge"], ["huge", "quick", "full"]),
        (["plan", "thin_manifolds"], ["thin_manifolds", "did you mean 'thin_manifold'"]),
        (["plan", "no/such/file.toml"], ["no/such/file.toml"]),
        (["plan", "thin_manifold", "--scale", "quik"], ["quik", "did you mean 'quick'"]),
        (["status", "thin_manifolds"], ["did you mean 'thin_manifold'"]),
        (["cite", "thin_manifolds"], ["did you mean 'thin_manifold'"]),
        (["report", "thin_manifolds"], ["did you mean 'thin_manifold'"]),
    ],
)
def test_error_is_one_line_on_stderr(arguments, words, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line_error(*call(*arguments), *words)


def test_report_of_a_study_that_was_not_run_says_what_to_do(study, call, tmp_path):
    code, out, said = call("report", study, "--store", tmp_path / "an empty one", "--out", tmp_path / "out")
    said = said.removeprefix(f"{MAKING[0]}\n")
    assert_one_line_error(code, out, said, "small")
    assert not (tmp_path / "out" / "small" / "index.html").exists()
    advice = shlex.split(said.partition("ebm-vs-prob run")[2])
    assert advice == [str(study), "--scale", "quick", "--store", str(tmp_path / "an empty one")]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"mean_squared_error"', '"mean_square_error"', ["mean_square_error", "did you mean 'mean_squared_error'"]),
        ("seeds = 2", "seeds = 0", ["seeds", "0"]),
        ("hidden = [8]", "hiden = [8]", ["hiden", "hidden"]),
        ("thickness = [0.3, 0.1]", "thickness = [0.1, -0.1]", ["thickness", "-0.1"]),
        ("schema = 1", "schema = 1 1", ["small.toml"]),
    ],
)
def test_mistake_in_a_study_file_is_answered_with_the_file(before, after, words, call, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(STUDY.replace(before, after, 1), encoding="utf-8")
    assert_one_line_error(*call("plan", path, "--device", "cpu"), "small.toml", *words)


@settings(max_examples=20)
@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3))
def test_any_arguments_end_without_a_traceback(arguments):
    process_safe = [argument.replace("\0", "") for argument in arguments]
    assert main(["plan", *process_safe, "--scale"]) == 2


def test_a_choice_that_there_is_not_is_told_plainly(capsys):
    assert main(["list", "method"]) == 2
    assert capsys.readouterr().err.startswith("ebm-vs-prob: error: Invalid value for 'kind': 'method' is not one of")


def test_unexpected_error_is_one_line_too(call, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("ebm_vs_prob.study.plan_study", fail, raising=False)
    monkeypatch.delenv(cli.TRACEBACK_VARIABLE, raising=False)
    assert_one_line_error(
        *call("plan", "thin_manifold"), "RuntimeError", "first line second line", cli.TRACEBACK_VARIABLE
    )
    monkeypatch.setenv(cli.TRACEBACK_VARIABLE, "1")
    with pytest.raises(RuntimeError, match="first line"):
        main(["plan", "thin_manifold"])


def test_interrupt_ends_with_one_line_and_130(call, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ebm_vs_prob.study.plan_study", interrupt, raising=False)
    code, out, err = call("plan", "thin_manifold")
    assert_one_line_error(code, out, err, "interrupted")
    assert code == 128 + signal.SIGINT


@contextmanager
def signals_deadly(number):
    """As in a process of its own, but that a signal which is not looked after is an error and not the end of all."""

    def unanswered(*_):
        raise AssertionError("the signal was not answered")

    before = signal.signal(number, unanswered)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself these signals elsewhere")
@pytest.mark.parametrize(
    ("name", "word"), [("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up")]
)
def test_a_signal_ends_a_command_in_order_and_further_ones_change_nothing(name, word, call, monkeypatch):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    ended = []

    def struck(*arguments, **options):
        try:
            os.kill(os.getpid(), number)
            pytest.fail("the signal did not come through")
        finally:
            for _ in range(3):  # an impatient user
                os.kill(os.getpid(), number)
            ended.append("in order")

    monkeypatch.setattr("ebm_vs_prob.study.plan_study", struck, raising=False)
    with signals_deadly(number):
        code, out, err = call("plan", "thin_manifold")
    assert_one_line_error(code, out, err, f"{word}; the same command continues where it stopped")
    assert code == 128 + number
    assert ended == ["in order"]
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so(call, monkeypatch):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        monkeypatch.setattr("ebm_vs_prob.study.plan_study", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        code, _, err = call("plan", "thin_manifold")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert code == 1  # what was planned is None
    assert "terminated" not in err


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "ebm_vs_prob.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_the_process_returns_the_exit_code():
    good, bad = command("--version"), command("plan")
    assert (good.returncode, good.stderr) == (0, "")
    assert re.fullmatch(r"ebm-vs-prob \d+\.\d+\.\d+\n", good.stdout)
    assert_one_line_error(bad.returncode, bad.stdout, bad.stderr, "STUDY")


#: A plugin as those are that call C libraries: it writes to the streams of the process.
RAW = """
import os
import study_plugin

train = study_plugin.Ring.train.__func__

def loud(cls, model):
    for number in (0, 1, 2):
        try:
            os.write(number, b"noise")
        except OSError:
            pass
    print("x" * 100_000)
    return train(cls, model)

print("x" * 100_000)
study_plugin.Ring.train = classmethod(loud)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize("streams", ["0<&- 1>&- 2>&-", "1>/dev/full 2>&1", "2>&1 | true"])
def test_closed_streams_and_those_that_nobody_reads_end_no_run(tmp_path, streams):
    path = write_study(tmp_path / "rings.toml", seeds=1, thickness="0.1")
    path.write_text(path.read_text().replace('"study_plugin"', '"study_plugin", "raw_plugin"'))
    (tmp_path / "raw_plugin.py").write_text(RAW)
    run = f"{shlex.quote(sys.executable)} -m ebm_vs_prob.cli run rings.toml --engine serial --device cpu {streams}"
    subprocess.run(
        ["bash", "-c", run],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])},
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    with registered_plugin():
        table = evp.load_results(path, store=tmp_path / "results")
    assert list(table["status"].unique()) == ["done"]
    (lock,) = (tmp_path / "results").rglob("run.lock")
    assert lock.read_bytes() == b""


@pytest.mark.slow
def test_a_reader_that_leaves_causes_no_complaint():
    listing = subprocess.Popen(
        [sys.executable, "-m", "ebm_vs_prob.cli", "list", "tasks", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    with listing.stderr:
        assert listing.stderr.read() == b""
    assert listing.wait(timeout=60) == 1


def reported(study, out):
    return "report", study, "--store", study.parent / "store", "--out", out


@pytest.mark.parametrize("path", ["x" * 5000, "/dev/null", "/dev/null/x", "/proc/x/y", "x/" * 1000])
@pytest.mark.parametrize("option", ["store", "out"])
def test_a_folder_that_cannot_be_is_refused_by_its_option_in_one_short_line(study, call, option, path):
    serial = ("run", study, "--engine", "serial", "--device", "cpu", "--store", path)
    code, _, said = call(*serial) if option == "store" else call(*reported(study, path))
    assert code == 1
    said = said.removeprefix(f"planning the trials of {study} at quick\n").removeprefix(f"{MAKING[0]}\n")
    assert said.startswith(f"ebm-vs-prob: error: {option} = ")
    assert "is not valid: expected a folder, or a path where one can be made: " in said
    assert said.count("\n") == 1
    assert len(said) < 600


def test_a_report_that_cannot_be_written_is_told_with_the_path(study, call, tmp_path):
    where = tmp_path / "small"
    where.write_text("of one's own")
    code, _, said = call(*reported(study, tmp_path))
    assert code == 1
    assert said.endswith(f"\nebm-vs-prob: error: the report cannot be written: '{where}': Not a directory\n")
    assert where.read_text() == "of one's own"


def test_show_has_everything_of_a_study_by_its_file(call, study):
    code, out, _ = call("show", study)
    assert code == 0
    said = out.splitlines()
    assert said[:2] == ["study small", "summary: A study small enough to run in a test"]
    assert f"path: {study}" in said
    for line in (
        "quick: seeds 2, steps 30",
        "circle: thickness 0.3, 0.1",
        "regression: mean_squared_error",
        "C17-regression (C17, primary): Regression averages the answers away; ratio of answer_distance_median above 3",
    ):
        assert f"  {line}" in said
    (found,) = json.loads(call("show", study, "--json")[1])
    assert [row["arm"] for row in found["arms"]] == ["mixture_density", "regression"]
    assert [row["above"] for row in found["criteria"]] == [3.0]


def test_show_tells_of_a_file_and_few_names(call, study, monkeypatch):
    monkeypatch.chdir(study.parent)
    code, _, err = call("show", study.stem)
    assert code == 1
    assert "did you mean the file 'small.toml'?" in err
    assert len(err) < 500
    assert call("show", "missing.toml")[2].endswith("unknown study 'missing.toml': there is no such file\n")
