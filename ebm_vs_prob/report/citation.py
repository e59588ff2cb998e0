"""BibTeX for a study: the package, the lecture, and the libraries and methods that its results used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.bibliography import Entry, cited
from ..core.registry import METHODS, TASKS
from ..study.schema import caveat
from .escaping import to_latex_text
from .glossary import registered

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


def bibtex(study: Any, results: pd.DataFrame) -> str:
    """BibTeX entries of the package at its version, the study, and the sources of what appears in the results.

    A name in the results that is no longer registered has no entries.

    Args:
        study: has `name`, `title` and `claims`.
        results: the tidy table of `load_results`; its `method` and `task` columns choose the entries, and its `scale`
            what is said beside them.
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
    entries = [package, *cited(ALWAYS)]
    run = set(results["task"].unique())
    kinds = {grid.kind for grid in study.tasks if grid.name in run}
    for present, registry in ((set(results["method"].dropna().unique()), METHODS), (kinds, TASKS)):
        known = registered(registry)
        entries += [Entry(**paper) for name, told in known.items() if name in present for paper in told["papers"]]
    # Two methods may rest on one paper.
    return "\n".join(str(entry) for entry in {entry.key: entry for entry in entries}.values())
