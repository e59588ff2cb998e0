"""What a user does with results on the command line: shrink, report, verify, compare, cite, check."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from study_files import DENSITY_CRITERION, registered_plugin, write_study

from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.cli.report_places import find_report, place_of, scale_to_read
from ebm_vs_prob.study import Store, load_results, load_study, study_status
from ebm_vs_prob.study.identifiers import file_from, is_identifier, write_result

ARMS = {"plain": ("ring", ""), "broken": ("ring", 'fault = "raise", fault_seed = 0')}


@pytest.fixture(scope="module")
def plugin():
    with registered_plugin() as module:
        yield module


@pytest.fixture(scope="module")
def study(plugin, tmp_path_factory):
    """A study file that was run into the store beside it."""
    path = write_study(tmp_path_factory.mktemp("results") / "rings.toml", seeds=3)
    assert main(["run", str(path), *where(path)[:2], "--engine", "serial", "--device", "cpu"]) == 0
    return path


def too_long(text):
    """Lines beyond 80 columns, but for those with a link, which is never broken."""
    return [line for line in text.splitlines() if len(line) > 80 and "://" not in line]


def where(study):
    return "--store", str(study.parent / "store")


@pytest.fixture
def call(capsys):
    """Run the command line: its exit code, stdout and stderr."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_run_can_be_shrunk_and_its_scale_serves_every_command(study, call):
    serial = ("--engine", "serial", "--device", "cpu", *where(study))
    code, out, err = call("run", study, "--seeds", "1", "--at", "0.1", *serial)
    assert code == 0
    scale = re.search(r"at (quick-shrunk-[0-9a-f]{8}): 1 done", out)
    assert scale is not None
    assert err.splitlines()[0] == f"planning the trials of {study} at {scale[1]}"
    assert call("status", study, "--scale", scale[1], *where(study))[1].splitlines()[0].endswith("1 trials: 1 done")
    assert call("run", study, "--scale", scale[1], *serial)[0] == 0
    assert "shrunk, never for citing" in call("cite", study, "--scale", scale[1], *where(study))[1]


def test_the_report_of_a_shrunk_run_is_checked_cited_and_read_without_its_store(study, call, tmp_path):
    out, elsewhere = tmp_path / "reports", ("--store", str(tmp_path / "none"))
    code, said, _ = call("run", study, "--seeds", "1", "--engine", "serial", "--device", "cpu", *where(study))
    assert code == 0
    scale = re.search(r"quick-shrunk-[0-9a-f]{8}", said)[0]
    page = Path(call("report", study, "--scale", scale, *where(study), "--out", out)[1].strip())
    result = json.loads((page.parent / "result.json").read_text())["id"]
    for what in ((result,), (study, "--scale", scale)):
        code, said, _ = call("verify", *what, *elsewhere, "--reports", out)
        assert (code, said.splitlines()[0]) == (0, f"result {result}")
    assert result in call("cite", study, "--scale", scale, *elsewhere, "--reports", out)[1]
    frame = load_results(study, scale, page.parent / "records.zip")
    assert set(frame["seed"]) == {0}
    assert set(study_status(study, scale, study.parent / "store")["status"]) == {"done"}


def test_of_a_file_in_the_folder_of_a_report_the_scale_is_the_reports(study, tmp_path):
    out, nothing = tmp_path / "reports", Store(tmp_path / "store")
    folder = out / "quick-shrunk-01234567" / "rings"
    folder.mkdir(parents=True)
    shutil.copy(study, folder / "study.toml")
    copied = load_study(folder / "study.toml")
    assert scale_to_read(copied, nothing, out) == "quick"
    write_result(folder / "result.json", {"study": "rings", "scale": "quick-shrunk-01234567", "file": "study.toml"})
    assert scale_to_read(copied, nothing, tmp_path) == "quick-shrunk-01234567"
    assert find_report("rings", "quick-shrunk-01234567", tmp_path, copied.path) == folder
    write_result(folder / "result.json", {"study": "lines", "scale": "quick-shrunk-01234567", "file": "study.toml"})
    assert scale_to_read(copied, nothing, out) == "quick"


@pytest.mark.parametrize(
    "option",
    [
        *(("--seeds", "9"), ("--arms", "plane"), ("--at", "0.2"), ("--at", "thin")),
        *(("--arms", ""), ("--tasks", " , "), ("--at", ",")),
    ],
)
def test_what_cannot_be_shrunk_to_is_an_error_in_one_line(study, call, option):
    code, out, err = call("run", study, *option, "--engine", "serial", *where(study))
    assert (code, out) == (1, "")
    assert re.fullmatch(r"ebm-vs-prob: error: [^\n]+\n", err)


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        ("--thickness", "thin", "--at / --thickness = 'thin' is not valid: expected numbers with commas between them"),
        ("--at", " ,", "--at / --thickness = ' ,' is not valid: expected numbers with commas between them"),
        ("--arms", " ,", "--arms = ' ,' is not valid: expected names with commas between them, or no such option"),
    ],
)
def test_a_list_that_is_none_is_told_by_its_own_option_and_what_that_takes(study, call, option, given, said):
    code, out, err = call("plan", study, option, given, *where(study))
    assert (code, out) == (1, "")
    assert err.startswith(f"ebm-vs-prob: error: {said}")


def test_an_identifier_is_of_one_scale_and_takes_none(call):
    code, out, err = call("verify", "evp-0123456789abcdef", "--scale", "quick")
    assert (code, out) == (2, "")
    assert "an identifier" in err
    assert "--scale" in err


SIGN_OF_LIFE = """
import sys
import typer
said = []
long = ("torch", "pandas")
typer.echo = lambda text="", **options: said.append((text, [name for name in long if name in sys.modules]))
from ebm_vs_prob.cli.commands import main
main({arguments!r})
print(said[0])
"""


def test_a_run_says_that_it_plans_before_it_imports_what_takes_long(study):
    arguments = ["run", str(study), "--engine", "serial", "--device", "cpu", *where(study)]
    done = subprocess.run(
        [sys.executable, "-c", SIGN_OF_LIFE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])},
    )
    assert done.stdout.splitlines()[-1] == str((f"planning the trials of {study} at quick", []))


def test_status_counts_by_arm_and_says_where_failures_came_from(plugin, call, tmp_path):
    path = write_study(tmp_path / "rings.toml", arms=ARMS, seeds=2, thickness="0.1")
    assert call("run", path, "--engine", "serial", "--device", "cpu", *where(path))[0] == 1
    code, out, _ = call("status", path, *where(path))
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{path} at quick: 4 trials: 3 done, 1 failed"
    assert "broken\t1\t1\t0" in lines
    assert any(re.search(r"^broken\tcircle\t0\.1\t0\t.*study_plugin\.py, line \d+", line) for line in lines)
    assert "Trials" not in lines
    assert sum("\tcircle\t" in line for line in call("status", path, "--rows", *where(path))[1].splitlines()) >= 4


def test_a_result_is_verified_by_its_identifier_and_by_its_study(study, call, tmp_path):
    out = tmp_path / "reports"
    code, printed, _ = call("report", study, *where(study), "--out", out, "--json")
    assert code == 0
    result = json.loads(printed)
    assert is_identifier(result["result"])
    for what in (result["result"], study):
        code, said, _ = call("verify", what, *where(study), "--reports", out, "--rerun", "1")
        assert code == 0
        assert said.splitlines()[0] == f"result {result['result']}"
        assert "verdicts, page and tables as published, this code reproduces 1 of 1" in said.splitlines()[-1]
    assert result["result"] in call("cite", study, *where(study))[1]
    moved = tmp_path / "rings.toml"  # what is decided by another criterion is another result
    moved.write_text(study.read_text() + DENSITY_CRITERION)
    cited = call("cite", moved, *where(study))[1]
    assert re.search("result evp-", cited)
    assert result["result"] not in cited
    write_result(Path(result["report"]).parent / "result.json", {"id": "evp-0123456789abcdef", "scale": "quick"})
    code, said, _ = call("verify", study, *where(study), "--reports", out, "--json")
    assert code == 1
    assert json.loads(said)["verified"] is False


def test_two_stores_are_compared(study, call, tmp_path):
    shutil.copytree(study.parent / "store", tmp_path / "store")
    code, out, _ = call("compare", study.parent / "store", tmp_path / "store", "--json")
    assert code == 0
    assert {(each["study"], tuple(each["flips"])) for each in json.loads(out)} == {("rings", ())}
    code, out, _ = call("compare", study.parent / "store", tmp_path / "store", "--scale", "quick")
    assert "no verdict flipped" in out
    page = tmp_path / "pages" / "compared.html"
    code, out, _ = call("compare", study.parent / "store", tmp_path / "store", "--out", page)
    assert (code, out) == (0, f"{page}\n")
    assert "no verdict flipped" in page.read_text(encoding="utf-8")
    code, out, _ = call("compare", study.parent / "store", tmp_path / "store", "--out", page, "--json")
    told = json.loads(out)
    assert (code, told["page"], {each["study"] for each in told["studies"]}) == (0, str(page), {"rings"})
    code, out, err = call("compare", study.parent / "store", tmp_path / "store", "--out", tmp_path)
    assert (code, out) == (1, "")
    assert "--out = " in err


@pytest.mark.parametrize(
    ("form", "words"), [("bibtex", "@software{"), ("apa", "Holm, S. (1979)"), ("cff", "cff-version")]
)
def test_citations_come_in_three_forms(study, call, form, words):
    code, out, _ = call("cite", study, "--format", form)
    assert code == 0
    assert words in out


def test_a_report_lies_over_none_of_another_scale_and_of_no_other_study(study, tmp_path):
    loaded, out = load_study(study), tmp_path / "reports"
    assert place_of(loaded, "quick", out) == ("", "")
    (out / "rings").mkdir(parents=True)
    result = {"id": "evp-0123456789abcdef", "study": "rings", "scale": "quick"}
    write_result(out / "rings" / "result.json", {**result, "file": file_from(out / "rings", loaded)})
    assert place_of(loaded, "quick", out)[0] == ""
    below, said = place_of(loaded, "full", out)
    assert below == "full"
    assert "of scale quick" in said
    assert place_of(loaded, "quick-shrunk-01234567", out)[0] == "quick-shrunk-01234567"
    copied = tmp_path / "copy" / "rings.toml"
    copied.parent.mkdir()
    shutil.copy(study, copied)
    with pytest.raises(ValueError, match="a name of its own"):
        place_of(load_study(copied), "quick", out)


def test_a_copy_of_a_published_study_does_not_overwrite_its_report(tmp_path):
    out = tmp_path / "reports"
    (out / "thin_manifold").mkdir(parents=True)
    own = load_study("thin_manifold")
    assert place_of(own, "quick", out)[0] == ""
    copied = tmp_path / "mine.toml"
    shutil.copy(own.path, copied)
    with pytest.raises(ValueError, match=r"name = 'thin_manifold'.*a name of its own"):
        place_of(load_study(copied), "quick", out)


def test_list_has_a_line_each_that_fits_80_columns(call, monkeypatch):
    monkeypatch.setattr("ebm_vs_prob.cli.output.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    for kind in ("tasks", "methods", "studies"):
        rows = json.loads(call("list", kind, "--json")[1])
        lines = call("list", kind)[1].splitlines()
        assert len(lines) == 2 + len(rows)
        assert max(map(len, lines)) <= 80


def test_status_fits_80_columns_with_its_failures_and_rows(plugin, call, tmp_path, monkeypatch):
    path = write_study(tmp_path / "rings.toml", arms=ARMS, seeds=2, thickness="0.1")
    assert call("run", path, "--engine", "serial", "--device", "cpu", *where(path))[0] == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ebm_vs_prob.cli.output.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call("status", "rings.toml", "--rows", "--store", "store")
    assert code == 0
    assert {"By arm", "Failures", "Trials"} <= set(out.splitlines())
    assert too_long(out) == []


def test_what_is_piped_is_one_line_a_row_and_whole(call):
    rows = json.loads(call("list", "methods", "--json")[1])
    lines = call("list", "methods")[1].splitlines()[2:]
    assert [line.split("\t")[-1] for line in lines] == [row["summary"] for row in rows]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("denoising_score_matching", ["method denoising", "twin: none", "sigma = 0.1", "Vincent 2011"]),
        ("circle", ["task circle", "thickness = 0.01", "exact truth"]),
        ("answer_distance_median", ["metric answer_distance_median", "unit: data units"]),
        ("C11", ["claim C11", "thin_manifold"]),
        ("gustafsson_1d", ["task gustafsson_1d", "study gustafsson_1d"]),
    ],
)
def test_show_says_all_that_is_known(call, monkeypatch, name, words):
    code, out, _ = call("show", name)
    assert code == 0
    for word in words:
        assert word in out
    assert json.loads(call("show", name, "--json")[1])[0]["name"] == name
    monkeypatch.setattr("ebm_vs_prob.cli.describing.is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert too_long(call("show", name)[1]) == []


def test_show_names_the_nearest_of_what_it_does_not_know(call):
    code, _, err = call("show", "hinges")
    assert code == 1
    assert "did you mean 'hinge'" in err


METHOD = """
import ebm_vs_prob as evp
from ebm_vs_prob.control.mean_squared_error import MeanSquaredError

@evp.register_method
class {kind}(MeanSquaredError):
    name = "{name}"
    summary = {summary!r}
"""


@pytest.mark.parametrize(("name", "summary", "code"), [("kept_method", "regression", 0), ("broken_method", "", 1)])
def test_check_takes_a_file_that_registers_something(call, tmp_path, name, summary, code):
    from ebm_vs_prob.core.registry import METHODS

    file = tmp_path / f"plugin_{name}.py"
    file.write_text(METHOD.format(kind=name.title(), name=name, summary=summary))
    try:
        found, out, _ = call("check", file)
        assert found == code
        assert out.startswith(f"method {name}: {'broken: ' if code else 'keeps the rules'}")
        assert json.loads(call("check", file, "--json")[1])[0]["kept"] is (code == 0)
    finally:
        METHODS.unregister(name)


RAISING = """
import ebm_vs_prob as evp
from ebm_vs_prob.control.mean_squared_error import MeanSquaredError

@evp.register_method
class Raising(MeanSquaredError):
    name = "a_raising_method"
    summary = "regression"

    @classmethod
    def train(cls, model):
        raise TypeError("of its own")

@evp.register_method
class Kept(MeanSquaredError):
    name = "b_kept_method"
    summary = "regression"
"""


def test_what_an_entry_of_a_file_raises_does_not_end_the_check_of_the_others(call, tmp_path):
    from ebm_vs_prob.core.registry import METHODS

    file = tmp_path / "plugin_raising.py"
    file.write_text(RAISING)
    try:
        code, out, _ = call("check", file)
        assert code == 1
        rows = dict(line.split(": ", 1) for line in out.splitlines())
        assert rows["method a_raising_method"].startswith("broken: TypeError: of its own (")
        assert "plugin_raising.py, line 12)" in rows["method a_raising_method"]
        assert rows["method b_kept_method"].startswith("keeps the rules")
    finally:
        for name in ("a_raising_method", "b_kept_method"):
            METHODS.unregister(name)


def test_check_of_a_study_trains_each_arm_once(plugin, call, tmp_path):
    good = write_study(tmp_path / "rings.toml", seeds=2)
    assert call("check", good)[1].startswith(f"study {good}: keeps the rules")
    bad = write_study(tmp_path / "bad.toml", arms=ARMS, seeds=2)
    code, out, _ = call("check", bad)
    assert code == 1
    assert "one short trial of each arm must be done: broken on circle" in out


def test_check_of_nothing_names_the_nearest(call):
    code, _, err = call("check", "circel")
    assert code == 1
    assert "did you mean 'circle'" in err
