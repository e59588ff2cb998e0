"""What the site has pages of: methods, tasks, studies, claims and public names, as the package registers them."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import ebm_vs_prob as evp
import ebm_vs_prob.testing
from ebm_vs_prob.core.spaces import Box, Labels
from ebm_vs_prob.report.overview import Found, gather_findings
from ebm_vs_prob.study import list_studies, load_study
from ebm_vs_prob.study.schema import Study

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
FAMILIES = {"ebm": "Energy-based", "prob": "Probabilistic", "control": "Controls"}

sys.path.insert(0, str(DOCS))  # the generators of tables stand beside the pages
import study_file  # noqa: E402, F401
import tables  # noqa: E402


@cache
def tasks() -> dict[str, Any]:
    """Every task of the package at its defaults; its class where it needs to be given something, as `data` does."""
    found = {}
    for kind in tables.own(evp.list_tasks()):
        needs_rows = kind.name == "data"
        found[kind.name] = kind if needs_rows else evp.get_task(kind.name)
    return found


@cache
def methods() -> dict[str, Any]:
    """Every method of the package by name, energy-based ones first."""
    found = tables.own(evp.list_methods())
    return {m.name: m for m in sorted(found, key=lambda m: (list(FAMILIES).index(m.family), m.name))}


@cache
def studies() -> dict[str, Study]:
    """Every study of the package by name."""
    return {name: load_study(name) for name in list_studies()}


@cache
def findings() -> dict[str, list[Found]]:
    """What the published reports say, by claim."""
    return gather_findings(ROOT / "reports")


@cache
def mathematics() -> dict[str, str]:
    """The statement of each claim, from `mathematics.md`."""
    text = (Path(__file__).parent / "mathematics.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## (C\d+)\n", text, flags=re.MULTILINE)
    return {name: said.strip() for name, said in zip(parts[::2], parts[1::2], strict=True)}


def why_not(method: Any, name: str) -> str | None:
    """Why a method declines a task at its defaults. Rows of a user's own have no law, else what their kind says."""
    task = tasks()[name]
    if not isinstance(task, type):
        return method.why_not(task)
    if method.principle == "exact":
        return "nobody knows the law of a user's rows"
    return None if {Box, Labels} & set(method.y_spaces) else "rows have real answers or labels"


@cache
def areas() -> dict[str, list[str]]:
    """The public names by area of the package, with their places: those of `ebm_vs_prob/__init__.pyi`."""
    text = (ROOT / "ebm_vs_prob" / "__init__.pyi").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as \2$", text, re.MULTILINE):
        found.setdefault(module.split(".")[0], []).append(f"ebm_vs_prob.{module}.{name}")
    found["testing"] = [f"ebm_vs_prob.testing.{name}" for name in ebm_vs_prob.testing.__all__]
    return found
