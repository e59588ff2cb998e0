"""What a study cites: the package, the lecture, the libraries and methods that its results used, what decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..core.bibliography import Entry, cited
from ..core.registry import METHODS, TASKS, Registry
from ..study.scales import caveat
from .glossary import behind, made_of_tasks, registered
from .latex import to_latex_text
from .style import metric_look

if TYPE_CHECKING:
    import pandas as pd

#: What every study rests on: the question, the libraries, the correction for many comparisons.
ALWAYS = (
    "lecun2020energy",
    "lecun2006tutorial",
    "paszke2019pytorch",
    "bingham2019pyro",
    "kumar2019arviz",
    "virtanen2020scipy",
    "holm1979simple",
)


def bibtex(study: Any, results: pd.DataFrame, identifier: str = "") -> str:
    """The `entries` of a study as BibTeX; arguments are theirs."""
    return as_bibtex(entries(study, results, identifier))


def as_bibtex(papers: Iterable[Entry]) -> str:
    """Entries as a BibTeX file has them."""
    return "\n".join(map(str, papers))


def entries(study: Any, results: pd.DataFrame, identifier: str = "") -> list[Entry]:
    """The package at its version with the study, the sources of what appears in the results and of the metrics that its
    criteria and gates are held to, each paper once.

    A paper that only some values of an option rest on is there where an arm or a task has one of them. A name in the
    results that is no longer registered has no entries.

    Args:
        study: has `name`, `title`, `tasks`, `arms`, `criteria` and `gates`.
        results: the tidy table of `load_results`; its `method` and `task` columns choose the entries, and its `scale`
            what is said beside them.
        identifier: of the results, where there are any, by which `verify` finds them.
    """
    from ..core.version import __version__

    package = Entry(
        "software",
        "ebm_vs_prob",
        {
            "author": "{The ebm-vs-prob developers}",
            "title": "{ebm-vs-prob}: energy-based and probabilistic models on the same tasks, measured against truth",
            "version": __version__,
            "year": "2026",
            "note": f"Study {to_latex_text(study.name)}: {to_latex_text(study.title)}",
        },
    )
    said = caveat(next(iter(results["scale"].dropna().unique()), ""))
    if said:
        package.fields["note"] += f" ({said})"
    if identifier:
        package.fields["note"] += f", result {identifier}"
    found = [package, *cited(ALWAYS)]
    run = set(results["task"].unique())
    methods, arms = (set(results[name].dropna().unique()) for name in ("method", "arm"))
    found += _behind(METHODS, methods, [(arm.method, arm.options) for arm in study.arms if arm.name in arms])
    grids = list(made_of_tasks(grid for grid in study.tasks if grid.name in run))
    found += _behind(TASKS, {kind for kind, _ in grids}, grids)
    for metric in dict.fromkeys(each.metric for each in (*study.criteria, *study.gates)):
        found += cited(metric_look(metric).references)
    # Two of them may rest on one paper.
    return list({entry.key: entry for entry in found}.values())


def _behind(registry: Registry[Any], present: set[str], made: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Entry]:
    """The papers of what is registered under these names, as it was `made`: by name, with options."""
    options: dict[str, list[Mapping[str, Any]]] = {}
    for name, own in made:
        options.setdefault(name, []).append(own)
    return [
        paper
        for name, told in registered(registry).items()
        if name in present
        for paper in behind(told, options.get(name, [{}]))
    ]
