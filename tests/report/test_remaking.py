# ruff: noqa: RUF001
"""A page is made again from the records: as it was written nothing differs, and a number that was changed is found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from study_files import registered_plugin, write_study

from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.core.atomic_files import host
from ebm_vs_prob.report import overview, write_all, write_report
from ebm_vs_prob.report.challenged import PAGE, PLAIN
from ebm_vs_prob.report.escaping import read_script_data, script_data
from ebm_vs_prob.report.remaking import page_differences
from ebm_vs_prob.report.same_texts import same_text
from ebm_vs_prob.report.sharing import fold, unfold
from ebm_vs_prob.study import load_study, run_study
from ebm_vs_prob.study.published import reports_below
from ebm_vs_prob.study.standard_panels import CHALLENGER, SCALE, keep_panel, panel

CRITERION = """
[[criteria]]
id = "density"
claim = "C11"
statement = "It has density where the data are"
kind = "value"
metric = "gibbs_log_score"
arms = ["plain"]
tasks = ["circle"]
at = [0.3, 0.1]
above = -3.0
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A study that was run, and the folder of its report."""
    folder = tmp_path_factory.mktemp("remade")
    with registered_plugin():
        study = load_study(write_study(folder / "rings.toml", seeds=4, thickness="0.3, 0.1", extra=CRITERION))
        run_study(study, engine="serial", device="cpu", store=folder / "store", progress=False)
        page = write_report(study, store=folder / "store", out=folder / "reports")
        yield study, folder / "store", page.parent


@pytest.fixture
def report(published, tmp_path):
    """A copy of the report, to be tampered with, and what is found of it."""
    study, store, folder = published
    copy = tmp_path / "reports" / study.name
    shutil.copytree(folder, copy)
    return copy, lambda: page_differences(study, "quick", store, copy)


def test_a_report_as_it_was_written_is_that_of_the_records(report):
    _, differences = report
    assert differences() == []


def test_a_report_replaces_an_earlier_one_whole_and_is_signed_before_the_index(published, tmp_path, monkeypatch):
    study, store, _ = published
    told = []
    monkeypatch.setattr(overview, "write_overview", lambda out: told.extend(reports_below(out)))
    folder = write_report(study, store=store, out=tmp_path).parent
    assert told == [(folder, "quick")]
    assert json.loads((folder / "result.json").read_text())["scale"] == "quick"
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("of no report")
    (folder / "tables" / "earlier.csv").write_text("of an earlier report")
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed, alive = (tmp_path / f".report-rings.{host()}.{pid}.x" for pid in (ended.pid, os.getpid()))
    for left in (killed, alive):
        left.mkdir()
    rename = Path.rename

    def stopped(path, target):
        assert {each.relative_to(folder): each.read_bytes() for each in folder.rglob("*") if each.is_file()} == before
        moved.append(path)
        return rename(path, target)

    moved = []
    monkeypatch.setattr(Path, "rename", lambda path, to: stopped(path, to) if path == folder else rename(path, to))
    write_report(study, store=store, out=tmp_path)
    assert moved == [folder]
    assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, "assets", "rings"]
    after = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert after == before.keys() - {Path("tables/earlier.csv")}


def test_a_page_that_is_no_index_over_reports_is_not_replaced(published, tmp_path):
    study, store, _ = published
    page = tmp_path / "index.html"
    page.write_text("<title>My documents</title>")
    for write in (lambda: write_report(study, store=store, out=tmp_path), lambda: write_all(tmp_path)):
        with pytest.raises(ValueError, match=r"^out = .* its index\.html is another page"):
            write()
    assert page.read_text() == "<title>My documents</title>"
    assert list(tmp_path.iterdir()) == [page]
    page.unlink()
    (tmp_path / "rings").mkdir()
    (tmp_path / "rings" / "verdicts.json").write_text("[]")
    assert write_all(tmp_path) == write_all(tmp_path) == page


def changed_data(text):
    """A page, one number in the data of its figures 1 % larger."""
    start = text.index('id="report-data">') + len('id="report-data">')
    data = unfold(read_script_data(text[start : text.index("</script>", start)]))
    row = next(row for row in data["data"]["curves-circle"]["rows"] if row[1] == "gibbs_log_score")
    place = max(k for k, value in enumerate(row) if isinstance(value, float))
    row[place] *= 1.01
    return text[:start] + script_data(fold(data)) + text[text.index("</script>", start) :]


def changed_figure(text):
    """A page, one number that a figure brings itself 1 % larger."""
    start = text.index('id="report-data">') + len('id="report-data">')
    data = unfold(read_script_data(text[start : text.index("</script>", start)]))

    def tamper(spec):
        parts = spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ()
        for part in parts:
            if isinstance(part, dict) and isinstance(part.get("values"), list):
                for row in part["values"]:
                    for name, value in row.items():
                        if isinstance(value, float) and value:
                            row[name] = value * 1.01
                            return True
            if tamper(part):
                return True
        return False

    assert tamper(data["specs"]["criterion_density"])
    return text[:start] + script_data(fold(data)) + text[text.index("</script>", start) :]


def first(pattern, put):
    """A change of the first place where a pattern is found."""

    def change(text):
        changed, count = re.subn(pattern, put, text, count=1, flags=re.DOTALL)
        assert count == 1
        return changed

    return change


TAMPERED = {
    "its result": (first(r'id="result">evp-\w+<', 'id="result">evp-0123456789abcdef<'), "the page is of evp-0123"),
    "no result": (first(r'<td id="result">evp-\w+</td>', "<td></td>"), "a result that it does not name"),
    "data of a figure": (changed_data, "the page's data, data, curves-circle"),
    "a figure's own data": (changed_figure, "the page's data, figures, criterion_density"),
    "a cell": (first(r"<td([^>]*)>(−\d+\.\d+) \[−", r"<td\1>−9\2 [−"), "in the report, '−"),
    "hover": (first(r'title="(-?)\d+\.\d+, 95 %', r'title="\g<1>77.7, 95 %'), "77.7"),
    "seeds": (first(r"<td([^>]*)>4 of 4<", r"<td\1>5 of 5<"), "'5 of 5' in the report, '4 of 4' by the records"),
    "a verdict": (first(r"(class=\"badge )undecided(\".*?</span>) undecided", r"\1supported\2 supported"), "supported"),
    "no page": (None, "its page cannot be read"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_page_that_was_tampered_with_is_found(report, what):
    folder, differences = report
    change, told = TAMPERED[what]
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8")
    page.unlink()
    if change is not None:
        assert change(text) != text
        page.write_text(change(text), encoding="utf-8")
    assert any(told in difference for difference in differences())


@pytest.mark.parametrize("name", ["circle_metrics.csv", "circle_seeds.csv", "criteria.csv"])
def test_a_table_that_was_tampered_with_is_found(report, name):
    folder, differences = report
    path = folder / "tables" / name
    path.write_text(first(r"(\d\.\d)(\d)", lambda m: f"{m[1]}{9 - int(m[2])}9")(path.read_text(encoding="utf-8")))
    assert [each.partition(", row")[0] for each in differences()] == [f"tables/{name}"]
    path.unlink()
    assert any(each.startswith(f"tables/{name} cannot be read") for each in differences())


@pytest.mark.parametrize("name", ["tables/criteria.tex", "tables/circle.tex", "report.md"])
def test_a_text_that_was_tampered_with_is_found(report, name):
    folder, differences = report
    path = folder / name
    text = path.read_text(encoding="utf-8")
    path.write_text(first(r"(\d\.\d)(\d)(?=[ ,\]])", lambda m: f"{m[1]}{9 - int(m[2])}9")(text), encoding="utf-8")
    told = differences()
    assert len(told) == 1
    assert told[0].startswith(path.name)
    path.write_text(text + "one line more\n" if name.endswith(".tex") else f"one line more\n{text}", encoding="utf-8")
    assert differences() == [f"{path.name} has other lines"]


@pytest.mark.parametrize(
    ("published", "made"), [("0.0e9", "0.137"), ("1.5e400", "0.137"), ("0.1e1", "0.137"), ("1.5e" + "9" * 50, "1.5")]
)
def test_a_published_number_does_not_choose_its_own_tolerance(published, made):
    assert not same_text(published, made)
    assert same_text("0.138", "0.137")


def test_whole_numbers_are_counts_and_are_not_rounded():
    assert not same_text("28080000000001 multiply-adds", "28080000000000 multiply-adds")
    assert same_text("seeds −20", "seeds −20")


def test_a_report_without_its_verdicts_or_of_no_markup_is_not_verified(published, report, capsys):
    study, store, _ = published
    folder, differences = report
    page = folder / "index.html"
    page.write_text("<![" + page.read_text(encoding="utf-8"), encoding="utf-8")
    assert differences()[0].startswith("its page cannot be read")
    (folder / "verdicts.json").unlink()
    assert main(["verify", str(study.path), "--store", str(store), "--reports", str(folder.parent)]) == 1
    assert "verdicts.json is missing" in capsys.readouterr().out


def test_one_unit_of_the_last_digit_is_rounding(report):
    folder, differences = report
    page = folder / "index.html"
    change = first(r"<td([^>]*)>(−\d+\.\d*)(\d) \[−", lambda m: f"<td{m[1]}>{m[2]}{min(int(m[3]) + 1, 8)} [−")
    page.write_text(change(page.read_text(encoding="utf-8")), encoding="utf-8")
    assert differences() == []


@pytest.fixture(scope="module")
def challenged(tmp_path_factory):
    """A challenge that was run, one seed of it for a few steps, and the folder of its report."""
    folder = tmp_path_factory.mktemp("challenged")
    study = keep_panel(folder / "panel", panel("hinge")[1], "hinge")
    scale = study.at(SCALE)
    own = {"seeds": 2, "arms": (*(arm.name for arm in study.arms[:2]), CHALLENGER), "tasks": ("circle",)}
    budget = {**scale.budget, "steps": 3, "examples": 64}
    small = study.model_copy(update={"scales": {SCALE: scale.model_copy(update={**own, "budget": budget})}})
    run_study(small, SCALE, engine="serial", device="cpu", store=folder / "store", progress=False)
    write_report(small, SCALE, store=folder / "store", out=folder / "reports")
    return small, folder / "store", folder / "reports" / small.name


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        (PAGE, r"\b(?:wins|ties|fails|undecided|too few seeds)\b(?=\s*\d)", "in the report"),
        (PAGE, r"<tr><td", "has other texts"),
        (PLAIN, r"\| (?:wins|ties|fails|undecided|too few seeds) \|", "in the report"),
    ],
)
def test_a_challenge_that_was_tampered_with_is_found(challenged, tmp_path, name, what, said):
    study, store, folder = challenged
    copy = tmp_path / study.name
    shutil.copytree(folder, copy)
    text = (copy / name).read_text(encoding="utf-8")
    changed = "<tr><td>one more</td><td" if said.startswith("has") else "| beats all |"
    (copy / name).write_text(re.sub(what, changed, text, count=1), encoding="utf-8")
    told = page_differences(study, SCALE, store, copy)
    assert len(told) == 1
    assert told[0].startswith(name)
    assert said in told[0]


def test_a_challenge_as_it_was_written_is_that_of_the_records_and_has_both_pages(challenged, tmp_path):
    study, store, folder = challenged
    assert page_differences(study, SCALE, store, folder) == []
    copy = tmp_path / study.name
    shutil.copytree(folder, copy)
    (copy / PAGE).unlink()
    (copy / PLAIN).unlink()
    told = page_differences(study, SCALE, store, copy)
    assert [each.partition(":")[0] for each in told] == [f"{PAGE} cannot be read", f"{PLAIN} cannot be read"]


def test_verify_says_what_was_tampered_with(published, report, capsys):
    study, store, _ = published
    folder, _ = report
    common = (str(study.path), "--store", str(store), "--reports", str(folder.parent))
    assert main(["verify", *common]) == 0
    assert "4 trials" not in capsys.readouterr().out
    page = folder / "index.html"
    page.write_text(changed_data(page.read_text(encoding="utf-8")), encoding="utf-8")
    assert main(["verify", *common]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("other than published: the page's data, data, curves-circle")
    assert said[-1] == "not verified: rings at quick"
