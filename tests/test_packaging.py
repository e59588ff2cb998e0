"""What surrounds the code: pinned versions, metadata that agree, make targets, a wheel that is complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ebm_vs_prob as evp
from ebm_vs_prob.report.citation import entries
from ebm_vs_prob.report.citation_styles import cff
from ebm_vs_prob.study import load_study

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = {
    "test-portable",
    "study",
    "report",
    "test",
    "test-slow",
    "test-long",
    "test-faults",
    "check",
    "docs",
    "benchmark",
    "clean",
}


def pins() -> dict[str, Version]:
    """The pinned version of every distribution in the constraints."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert requirement.url is None, requirement
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def needed(names: list[str]) -> set[str]:
    """The distributions that these requirements pull in here, transitively, without the package itself."""
    pending, seen = [Requirement(name) for name in names], set()
    while pending:
        requirement = pending.pop()
        extras = requirement.extras or {""}
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": e}) for e in extras):
            continue
        name = canonicalize_name(requirement.name)
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        for line in distribution(name).requires or []:
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                inner.marker = None
                pending.append(inner)
    return {name for name, _ in seen} - {"ebm-vs-prob"}


def test_everything_that_an_install_pulls_in_is_pinned():
    assert needed(["ebm-vs-prob[dev]"]) - set(pins()) == set()
    assert {"hatchling", "editables"} <= set(pins())  # the build backend, which make installs first


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the constraints are those of Python 3.11")
def test_the_pins_are_the_versions_that_are_tested():
    installed = {canonicalize_name(d.metadata["Name"]): Version(d.version).public for d in distributions()}
    differing = {
        name: (str(version), installed[name])
        for name, version in pins().items()
        if name in installed and installed[name] != str(version)
    }
    assert differing == {}


def test_pins_lie_within_the_ranges_and_carry_no_local_tag():
    ranges = [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["test"],
        *PROJECT["optional-dependencies"]["docs"],
        *PROJECT["optional-dependencies"]["dev"],
    ]
    for requirement in map(Requirement, ranges):
        name = canonicalize_name(requirement.name)
        if name != "ebm-vs-prob":
            assert pins()[name] in requirement.specifier, requirement
    assert all(version.local is None for version in pins().values())
    assert pins()["torch"] == Version("2.13.0")


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert evp.__version__ == PROJECT["version"] == citation["version"]
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"


def test_the_citation_file_names_the_package_and_the_lecture_as_every_study_does():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    nothing = pd.DataFrame(columns=["scale", "task", "arm", "method"])
    papers = {entry.key: entry for entry in entries(load_study("thin_manifold"), nothing)}
    said = yaml.safe_load(cff([papers["ebm_vs_prob"], papers["lecun2020energy"]]))
    for name in ("title", "authors", "version"):
        assert citation[name] == said[name]
    (lecture,), (said_lecture,) = citation["references"], said["references"]
    assert said_lecture["url"].startswith("https://")
    assert {name: lecture.get(name) for name in said_lecture} == said_lecture


def test_citation_has_what_the_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert {"message", "title", "authors"} <= set(citation)
    for reference in [citation, *citation["references"]]:
        assert reference["title"]
        assert all({"name"} <= set(author) or {"family-names"} <= set(author) for author in reference["authors"])


def test_licence_is_the_full_text():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def make(*arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
    return done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_lists_its_targets_and_each_can_be_made():
    assert set(re.findall(r"^make ([\w-]+)", make("help"), re.MULTILINE)) == TARGETS
    recipes = {target: make("--dry-run", "--assume-new=constraints.txt", target) for target in TARGETS}
    assert "ebm-vs-prob run thin_manifold --scale quick" in recipes["study"]
    assert "ebm-vs-prob report thin_manifold --scale quick" in recipes["study"]
    assert 'pytest -m "not slow and not long and not faults" -n 2' in recipes["test"]
    assert 'pytest -m "slow and not long and not faults"' in recipes["test-slow"]
    assert 'pytest -m "long and not faults"' in recipes["test-long"]
    assert "EBM_VS_PROB_FAULT_SCALE=500" in recipes["test-faults"]
    assert "mkdocs build --quiet --strict" in recipes["docs"]
    assert "mkdocs build --quiet --strict" in recipes["check"]
    for target in TARGETS - {"clean"}:
        assert "-c constraints.txt" in recipes[target], target


def test_ci_runs_its_targets_in_order():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make ([\w-]+)", script.read_text(encoding="utf-8"), re.MULTILINE) == [
        "test",
        "test-portable",
        "test-slow",
        "test-faults",
        "check",
    ]


def test_pre_commit_hooks_need_no_network():
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repository["repo"] for repository in configuration["repos"]} == {"local"}
    hooks = [hook for repository in configuration["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    tools = {Path(hook["entry"].split()[0]).name for hook in hooks}
    assert {"ruff", "mypy"} == tools
    assert tools <= set(pins())


@pytest.mark.slow
def test_wheel_carries_the_studies_and_works_outside_the_checkout(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".venv", ".git", "results", ".*_cache", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    shutil.rmtree(source)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)
    assert {f"ebm_vs_prob/studies/{path.name}" for path in (ROOT / "studies").glob("*.toml")} <= names
    package = {path for path in (ROOT / "ebm_vs_prob").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT).as_posix() for path in package} - names == set()
    needed = ("py.typed", "__init__.pyi", "core/references.bib", "study/panels/real.toml", "report/templates/page.js")
    assert {f"ebm_vs_prob/{name}" for name in needed} <= names
    assert not any(name.startswith(("tests/", "results/", "reports/", "docs/")) for name in names)
    script = (
        "import ebm_vs_prob, pathlib, sys; from ebm_vs_prob.cli.commands import main; "
        f"assert pathlib.Path(ebm_vs_prob.__file__).is_relative_to({str(site)!r}); "
        "from ebm_vs_prob.study.standard_panels import panel; panel('hinge'); panel('softmax_classifier'); "
        "from ebm_vs_prob.core.bibliography import references; assert references(); "
        "from ebm_vs_prob.report.page import html, markdown; html().get_template('page.html.j2'); "
        "markdown().get_template('page.md.j2'); "
        "sys.exit(main(['plan', 'thin_manifold', '--json']))"
    )
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=outside, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"study": "thin_manifold"' in done.stdout
