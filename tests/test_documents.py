"""The code in README.md and CONTRIBUTING.md runs as it stands, and what they name exists."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.core.registry import METHODS, TASKS
from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.study.claims import CLAIMS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

OWN_TASKS = [kind for kind in evp.list_tasks() if kind.__module__.startswith("ebm_vs_prob.") and kind.has_truth]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def execute(text: str, name: str) -> dict[str, object]:
    """Run all Python blocks of a document in one namespace, as a reader would."""
    namespace: dict[str, object] = {"__name__": name}
    for number, block in enumerate(blocks(text, "python")):
        exec(compile(block, f"{name}, block {number}", "exec"), namespace)
    return namespace


@pytest.mark.uses_global_generator  # GibbsBoltzmann.sample without a generator, as a Pyro user calls it
def test_readme_quickstart_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = execute(README, "README.md")
    assert namespace["table"].shape[0] > 0  # type: ignore[attr-defined]


def own_data_study(folder: Path) -> Path:
    """The README's section on data of one's own, as a reader follows it: the path of its study, its data beside it."""
    (section,) = re.findall(r"^## Your own data\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    (study,) = blocks(section, "toml")
    (code,) = blocks(section, "python")
    namespace = {"evp": evp, "torch": torch, "budget": evp.Budget(steps=2, examples=20)}
    exec(compile(code, "README.md, your own data", "exec"), namespace)
    (folder / "points.toml").write_text(study, encoding="utf-8")
    return folder / "points.toml"


def test_readme_study_of_own_data_is_planned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(plan_study(own_data_study(tmp_path), device="cpu").trials) == 2 * 10


@pytest.mark.slow
def test_readme_study_of_own_data_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own_data_study(tmp_path)
    assert main(["run", "points.toml"]) == 0
    assert main(["report", "points.toml", "--json"]) == 0
    verdicts = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert {each["verdict"] for each in verdicts} == {"supported"}


def test_page_on_own_data_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    execute((ROOT / "docs" / "your_data.md").read_text(encoding="utf-8"), "your_data.md")


def test_inference_page_runs():
    namespace = execute((ROOT / "docs" / "inference.md").read_text(encoding="utf-8"), "inference.md")
    assert namespace["answer"].tolist() == [0, 0]  # type: ignore[attr-defined]


@pytest.mark.uses_global_generator  # a Pyro model that is run as a Pyro user runs it
def test_normalizers_page_runs():
    namespace = execute((ROOT / "docs" / "normalizers.md").read_text(encoding="utf-8"), "normalizers.md")
    assert float(namespace["bracket"].gap) > 0  # type: ignore[attr-defined]


def test_objectives_page_runs():
    namespace = execute((ROOT / "docs" / "objectives.md").read_text(encoding="utf-8"), "objectives.md")
    assert namespace["blind"].status[0].ok  # type: ignore[attr-defined]


@pytest.mark.uses_global_generator  # as a Pyro user runs a model
@pytest.mark.slow
@pytest.mark.parametrize("page", ["latent_variables", "posteriors"])
def test_pages_on_latents_and_posteriors_run(page):
    execute((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), f"{page}.md")


def test_the_page_on_verdicts_lists_every_claim():
    rows = re.findall(
        r"^\| (C\d+) \| (.+) \|$", (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8"), re.MULTILINE
    )
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


def test_readme_tables_are_what_is_registered():
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    assert tables["written"](README) == README, "run python docs/tables.py"
    assert not set("{}\\") & set(tables["tasks"]() + tables["methods"]())  # no LaTeX is left
    assert tables["plain"](r"Fran{\c{c}}oise Bak{\i}r, G{\"o}khan Souli{\'e}") == "Françoise Bak\u0131r, Gökhan Soulié"


@pytest.mark.parametrize("entry", [*evp.list_tasks(), *evp.list_methods()], ids=lambda entry: entry.name)
def test_readme_tables_have_every_task_and_method(entry):
    (row,) = re.findall(rf"^\| `{entry.name}` \|.*$", README, re.MULTILINE)
    if entry in evp.list_methods():
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2:4] == [entry.family, entry.principle]


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


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_named_files_and_links_exist(text):
    links = re.findall(r"\]\(([^)#]+)\)", text)
    paths = re.findall(r"`((?:ebm_vs_prob|studies|docs|tests|benchmarks)/[\w./-]*)`", text)
    missing = [name for name in [*links, *paths] if "://" not in name and not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_named_make_targets_exist(text):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_commands_in_the_readme_parse(capsys):
    for command in set(re.findall(r"ebm-vs-prob ([a-z]+)", README)):
        assert main([command, "--help"]) == 0


def test_contributing_needs_only_public_names():
    modules = re.findall(r"^(?:from|import) (ebm_vs_prob\S*)", "\n".join(blocks(CONTRIBUTING, "python")), re.MULTILINE)
    assert set(modules) == {"ebm_vs_prob", "ebm_vs_prob.testing"}
