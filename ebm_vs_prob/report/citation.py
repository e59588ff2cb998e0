"""What a study cites: the package, the lecture, the libraries and methods that its results used, what decides it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..core.bibliography import Entry, cited
from ..core.registry import METHODS, TASKS
from ..study.scales import caveat
from .glossary import registered
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

    A name in the results that is no longer registered has no entries.

    Args:
        study: has `name`, `title`, `tasks`, `criteria` and `gates`.
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
    kinds = {grid.kind for grid in study.tasks if grid.name in run}
    for present, registry in ((set(results["method"].dropna().unique()), METHODS), (kinds, TASKS)):
        known = registered(registry)
        found += [Entry(**paper) for name, told in known.items() if name in present for paper in told["papers"]]
    for metric in dict.fromkeys(each.metric for each in (*study.criteria, *study.gates)):
        found += cited(metric_look(metric).references)
    # Two of them may rest on one paper.
    return list({entry.key: entry for entry in found}.values())
