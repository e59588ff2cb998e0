"""The code in README.md, CONTRIBUTING.md and the pages of docs/ runs as it stands, and what they name exists."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic_core import PydanticUndefined

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import COMMANDS, app, main
from ebm_vs_prob.core.options import Options
from ebm_vs_prob.core.registry import METHODS, TASKS
from ebm_vs_prob.metrics import METRICS
from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.study.claims import CLAIMS, REGISTER

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
DOCUMENTS = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING} | {f"docs/{n}.md": text for n, text in PAGES.items()}
TABLES = runpy.run_path(str(ROOT / "docs" / "tables.py"))

OWN_TASKS = [kind for kind in evp.list_tasks() if kind.__module__.startswith("ebm_vs_prob.") and kind.has_truth]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def execute(text: str, name: str, given: dict[str, object] | None = None) -> dict[str, object]:
    """Run all Python blocks of a document in one namespace, as a reader would, after those that left `given`."""
    namespace: dict[str, object] = {"__name__": name, **(given or {})}
    for number, block in enumerate(blocks(text, "python")):
        exec(compile(block, f"{name}, block {number}", "exec", dont_inherit=True), namespace)
    return namespace


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty working folder whose modules can be imported; what they register is forgotten afterwards."""
    tasks, methods = {task.name for task in evp.list_tasks()}, {method.name for method in evp.list_methods()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for registry, known in ((TASKS, tasks), (METHODS, methods)):
        for entry in registry.entries():
            if entry.name not in known:
                registry.unregister(entry.name)
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def save_files(text: str, folder: Path) -> None:
    """Save the blocks that carry a file's name under it, as a reader would."""
    for name, content in re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(content, encoding="utf-8")


def readme_up_to_its_study(folder: Path) -> tuple[dict[str, object], str]:
    """Run the README up to its study, which is saved; returns the names it left, and what is left to run."""
    before, heading, study = README.partition("## A study on your own CSV\n")
    assert heading
    save_files(study, folder)
    return execute(before, "README.md"), study


def test_readme_runs_up_to_its_study_of_both_families(folder):
    namespace, _ = readme_up_to_its_study(folder)
    assert namespace["table"].shape[0] > 0  # type: ignore[attr-defined]
    plan = plan_study("points.toml", device="cpu")
    assert len(plan.trials) == 2 * 10
    assert {METHODS.get(arm.method).family for arm in load_study("points.toml").arms} == {"ebm", "prob"}


@pytest.mark.slow
def test_readme_leads_from_a_csv_to_a_verdict_and_its_citation(folder, capsys):
    namespace, study = readme_up_to_its_study(folder)
    (commands,) = blocks(study, "sh")
    said: dict[str, str] = {}
    for line in commands.splitlines():
        program, command, *arguments = shlex.split(line, comments=True)
        assert program == "ebm-vs-prob"
        assert main([command, *arguments]) == 0, line
        said[command] = capsys.readouterr().out
    assert list(said) == ["plan", "run", "status", "report", "verify", "compare", "cite"]
    assert "20 trials: 20 done" in said["status"]
    assert Path(said["report"].strip()) == Path("reports/points/index.html")
    assert "as published" in said["verify"]
    assert said["compare"].splitlines()[-1] == "no verdict flipped"
    assert "evp-" in said["cite"]
    after = execute(study, "README.md, after the run", namespace)
    assert after["model"].method.name == "denoising_score_matching"  # type: ignore[attr-defined]


def test_readme_is_short():
    assert len(README.splitlines()) < 150


@pytest.mark.uses_global_generator  # GibbsBoltzmann.sample without a generator, as a Pyro user calls it
def test_page_on_python_runs(folder):
    namespace = execute(PAGES["python"], "python.md")
    assert namespace["table"].shape[0] > 0  # type: ignore[attr-defined]


def first_hour(folder: Path) -> str:
    """The first hour up to its study: files saved, data made; returns what is left to run, once there are results."""
    save_files(PAGES["first_hour"], folder)
    before, after = blocks(PAGES["first_hour"], "python")
    namespace: dict[str, object] = {}
    exec(compile(before, "first_hour.md", "exec", dont_inherit=True), namespace)
    return after


def test_first_hour_leads_to_a_study(folder):
    first_hour(folder)
    assert len(plan_study("points.toml", device="cpu").trials) == 3 * 10


@pytest.mark.slow
def test_first_hour_leads_to_a_page_and_a_citation(folder, capsys):
    after = first_hour(folder)
    for command in ("check my_ranking.py", "plan points.toml", "run points.toml"):
        assert main(command.split()) == 0
    capsys.readouterr()
    assert main(["report", "points.toml", "--json"]) == 0
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    assert {each["verdict"] for each in verdicts} == {"supported"}
    assert (folder / "reports" / "points" / "index.html").exists()
    namespace: dict[str, object] = {"evp": evp}
    exec(compile(after, "first_hour.md, after the run", "exec", dont_inherit=True), namespace)
    assert namespace["model"].method.name == "pairwise_ranking"  # type: ignore[attr-defined]
    assert main(["verify", "points.toml"]) == 0
    capsys.readouterr()
    assert main(["cite", "points.toml", "--format", "bibtex"]) == 0
    cited = capsys.readouterr().out
    assert "ma2018noise" in cited
    assert "evp-" in cited


@pytest.mark.slow
def test_the_method_of_the_first_hour_can_challenge_the_strongest_of_each_family(folder, capsys):
    first_hour(folder)
    small = ("--engine", "serial", "--device", "cpu", "--seeds", "2", "--steps", "20", "--at", "0.1")
    assert main(["challenge", "my_ranking.py", *small, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"] == "pairwise_ranking"
    page = Path(told["page"])
    assert page.parent.name.startswith("challenge_pairwise_ranking-")
    assert (page.parent / "my_ranking.py").read_bytes() == Path("my_ranking.py").read_bytes()
    assert "-shrunk-" in page.parent.parent.name
    assert (page.parent / "index.html").exists()
    assert {each["family"] for each in told["rounds"]} == {"ebm", "prob"}
    assert {each["outcome"] for each in told["rounds"]} <= {"wins", "ties", "fails", "no value", "too few seeds"}
    assert told["result"] in page.read_text(encoding="utf-8")
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    assert "pairwise_ranking" in text
    for each in told["rounds"]:
        assert each["rival"] in text


@pytest.mark.uses_global_generator  # pages that run a Pyro model as a Pyro user does
@pytest.mark.parametrize(
    "page", ["your_data", "your_network", "your_energy_based_method", "your_probabilistic_method", "failures"]
)
def test_pages_on_what_is_yours_run(page, folder):
    save_files(PAGES[page], folder)
    execute(PAGES[page], f"{page}.md")


@pytest.mark.parametrize(
    ("page", "name"), [("your_network", "ring_score"), ("your_probabilistic_method", "heavy_tails")]
)
def test_methods_of_the_pages_keep_the_rules(page, name, folder):
    save_files(PAGES[page], folder)
    assert main(["check", f"{name}.py"]) == 0


def test_inference_page_runs():
    namespace = execute(PAGES["inference"], "inference.md")
    assert namespace["answer"].tolist() == [0, 0]  # type: ignore[attr-defined]


@pytest.mark.uses_global_generator  # a Pyro model that is run as a Pyro user runs it
def test_normalizers_page_runs():
    namespace = execute(PAGES["normalizers"], "normalizers.md")
    assert float(namespace["bracket"].gap) > 0  # type: ignore[attr-defined]


def test_objectives_page_runs():
    namespace = execute(PAGES["objectives"], "objectives.md")
    assert namespace["blind"].status[0].ok  # type: ignore[attr-defined]


@pytest.mark.uses_global_generator  # as a Pyro user runs a model
@pytest.mark.slow
@pytest.mark.parametrize("page", ["latent_variables", "posteriors", "tasks", "reproducibility"])
def test_longer_pages_run(page):
    execute(PAGES[page], f"{page}.md")


def test_every_page_with_code_is_run_by_a_test():
    here = Path(__file__)
    elsewhere = {"baselines": here.parent / "comparison" / "test_comparison.py"}
    for page in (page for page, text in PAGES.items() if blocks(text, "python")):
        assert re.search(f'"{page}(?:[.]md)?"', elsewhere.get(page, here).read_text(encoding="utf-8")), page


def test_the_page_on_verdicts_lists_every_claim():
    rows = re.findall(r"^\| (C\d+) \| (.+) \|$", PAGES["verdicts"], re.MULTILINE)
    assert dict(rows) == CLAIMS


def test_contributing_examples_run_and_keep_the_rules(tmp_path):
    try:
        execute(CONTRIBUTING, "CONTRIBUTING.md")
        (study,) = [block for block in blocks(CONTRIBUTING, "toml") if block.startswith("schema")]
        path = tmp_path / "two_points.toml"
        path.write_text(study, encoding="utf-8")
        assert load_study(path).name == "two_points"
        assert len(plan_study(path, device="cpu").trials) == 2 * 2 * 10
    finally:
        TASKS.unregister("two_points")
        METHODS.unregister("noise_classifier")


@pytest.mark.parametrize("name", TABLES["PAGES"])
def test_tables_are_what_is_registered(name):
    page, table = TABLES["PAGES"][name]
    text = page.read_text(encoding="utf-8")
    assert TABLES["written"](name, text) == text, "run python docs/tables.py"
    assert not set("{}\\") & set(table())  # no LaTeX is left


@pytest.mark.parametrize("entry", [*evp.list_tasks(), *evp.list_methods()], ids=lambda entry: entry.name)
def test_tables_have_every_task_and_method(entry):
    is_method = entry in evp.list_methods()
    _, table = TABLES["PAGES"]["methods" if is_method else "tasks"]
    (row,) = re.findall(rf"^\| `{entry.name}` \|.*$", table(), re.MULTILINE)
    if is_method:
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2:4] == [entry.family, entry.principle]


def rows_below(text: str, header: str) -> list[list[str]]:
    """The rows, in cells, of every table with that header."""
    tables = re.findall(rf"^{re.escape(header)}\n\|[-|]+\|\n((?:\|.*\n)*)", text, re.MULTILINE)
    return [re.split(r" *(?<!\\)\| *", row.strip("| ")) for table in tables for row in table.splitlines()]


def names_in(cell: str) -> list[str]:
    """What a cell names as code."""
    return re.findall(r"`(\w+)`", cell)


def test_the_page_on_metrics_has_unit_and_direction_of_each_as_the_catalogue_has_them():
    told: dict[str, tuple[str, str]] = {}
    for cell, unit, better, *_ in rows_below(PAGES["metrics"], "| metric | unit | better | definition |"):
        if cell.startswith("the same with"):  # of all distances above it
            (suffix,) = names_in(cell)
            told |= {f"{name}{suffix}": (unit, told[name][1]) for name in list(told) if f"{name}{suffix}" in METRICS}
            continue
        better = "exact" if better.startswith("near the exact model's") else better.partition(",")[0]
        told |= dict.fromkeys(names_in(cell), (unit, better))
    assert told == {name: (metric.unit.replace("^2", "²"), metric.better) for name, metric in METRICS.items()}


def section_tables(page: str, header: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Sections of a page by their text, with the rows of the tables of options in them."""
    for section in PAGES[page].split("\n## ")[1:]:
        rows = rows_below(section, header)
        if rows:
            yield section, rows


def assert_defaults(options: type[Options], names: list[str], defaults: str) -> None:
    """Options exist and have the defaults that a cell tells, one for each, or nothing where there is none to tell."""
    words = {"none": None, "None": None, "no": False, "yes": True}
    told = [word.strip('`"') for word in defaults.split(", ")]
    for name, word in zip(names, told * len(names) if len(told) < len(names) else told, strict=True):
        default = options.model_fields[name].get_default(call_default_factory=True)
        if not word:
            assert default in (PydanticUndefined, None, "", ()), name
        elif isinstance(default, int | float) and not isinstance(default, bool):
            assert float(word) == default, name
        else:
            assert words.get(word, word) == default, name


def test_tables_of_options_of_tasks_are_what_the_tasks_have():
    seen = []
    for section, rows in section_tables("tasks", "| option | default | meaning |"):
        (name, *_) = names_in(section.splitlines()[0])
        options, told = TASKS.get(name).Options, []
        for cell, defaults, *_ in rows:
            assert_defaults(options, names_in(cell), defaults)
            told += names_in(cell)
        assert sorted(told) == sorted(options.model_fields), name
        seen.append(name)
    assert {"circle", "particle", "manifold", "segmentation"} <= set(seen)


def test_tables_of_options_of_objectives_are_what_the_methods_have():
    seen, methods = [], {method.name for method in evp.list_methods()}
    for section, rows in section_tables("objectives", "| option | meaning | default |"):
        name = next(name for name in names_in(section) if name in methods)
        for cell, _, defaults in rows:
            assert_defaults(METHODS.get(name).Options, names_in(cell), defaults)
        seen.append(name)
    assert len(seen) == 4


def test_the_table_of_options_of_own_data_is_what_the_task_has():
    rows, options = rows_below(PAGES["your_data"], "| option | default | meaning |"), TASKS.get("data").Options
    for cell, defaults, *_ in rows:
        assert_defaults(options, names_in(cell), defaults)
    assert sorted(name for cell, *_ in rows for name in names_in(cell)) == sorted(options.model_fields)


def test_tables_link_the_report_of_the_largest_scale(tmp_path):
    for place in ("circles", "full/circles", "full-shrunk-01234567/circles", "full-shrunk-01234567/lines"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "verdicts.json").write_text("[]", encoding="utf-8")
    (tmp_path / "circles" / "result.json").write_text('{"scale": "standard"}', encoding="utf-8")
    assert TABLES["published"]("circles", tmp_path) == tmp_path / "full" / "circles"
    assert TABLES["published"]("lines", tmp_path) is None


def test_readme_has_the_verdict_of_every_claim():
    rows = re.findall(r"^\| (C\d+) \| .*\| (.*) \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == list(CLAIMS)
    for name, said in rows:
        report = TABLES["published"](REGISTER[name].home)
        found = json.loads((report / "verdicts.json").read_text(encoding="utf-8")) if report else []
        verdicts = [each["verdict"] for each in found if each["scope"] == "claim" and each["claim"] == name]
        assert (said != "not published yet") == bool(verdicts)
        assert all(verdict in said for verdict in verdicts)


@pytest.mark.parametrize("kind", OWN_TASKS, ids=lambda kind: kind.name)
def test_what_a_task_says_is_exactly_known_is_what_it_answers(kind):
    task = evp.get_task(kind.name)
    for quantity, lacking in (
        (lambda: task.reference.log_prob(*task.sample(2)), {"no density"}),
        (task.reference.entropy, {"no density", "no entropy"}),
    ):
        try:
            quantity()
        except evp.NoExactReference:
            assert any(words in task.truth for words in lacking)
        else:
            assert task.truth
            assert not any(words in task.truth for words in lacking)
    assert ("angle" in task.truth) == hasattr(task.reference, "angle")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_and_links_exist(document):
    text, beside = DOCUMENTS[document], (ROOT / document).parent
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    paths = re.findall(r"`((?:ebm_vs_prob|studies|docs|tests|benchmarks)/[\w./-]*)`", text)
    missing = [link for link in links if "://" not in link and not (beside / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_make_targets_exist(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", DOCUMENTS[document], re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


#: Command lines in the documents: lines of a block, texts between backticks, rows of a table that tell of a command.
COMMAND_LINES = (r"^ebm-vs-prob ([a-z]+)(.*)$", r"`ebm-vs-prob\s+([a-z]+)([^`]*)`", r"^\| `ebm-vs-prob ([a-z]+)(.*)$")


def options_in(text: str) -> list[str]:
    """The long options that a text names."""
    return re.findall(r"(?<![\w-])--[a-z][\w-]*", text)


def options_of(command: str) -> set[str]:
    """The options that a command takes."""
    found = typer.main.get_command(app).commands[command]
    return {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_commands_in_the_documents_parse(capsys):
    for command in set(re.findall(r"ebm-vs-prob\s([a-z]+)", "\n".join(DOCUMENTS.values()))):
        assert main([command, "--help"]) == 0


def test_options_of_command_lines_in_the_documents_are_those_of_the_command():
    told = {
        (command, option)
        for text in DOCUMENTS.values()
        for pattern in COMMAND_LINES
        for command, rest in re.findall(pattern, text, re.MULTILINE)
        for option in options_in(rest)
    }
    assert {("run", "--retry-outdated"), ("verify", "--rerun"), ("cite", "--format"), ("compare", "--out")} <= told
    assert [(command, option) for command, option in sorted(told) if option not in options_of(command)] == []


def test_options_on_the_page_of_the_command_line_are_those_of_some_command():
    known = {"--help"}.union(*(options_of(command) for command in COMMANDS))
    assert set(options_in(PAGES["command_line"])) - known == set()


def test_contributing_needs_only_public_names():
    modules = re.findall(r"^(?:from|import) (ebm_vs_prob\S*)", "\n".join(blocks(CONTRIBUTING, "python")), re.MULTILINE)
    assert set(modules) == {"ebm_vs_prob", "ebm_vs_prob.testing"}
