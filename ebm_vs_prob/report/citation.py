"""BibTeX for a study: the package, the lecture, and the libraries and methods that its results used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .posterior_sources import Entry
from .sources import ALWAYS, METHODS, TASKS
from .tables import to_latex_text

if TYPE_CHECKING:
    import pandas as pd


def bibtex(study: Any, results: pd.DataFrame) -> str:
    """BibTeX entries of the package at its version, the study, and the sources of what appears in the results.

    Args:
        study: has `name`, `title` and `claims`.
        results: the tidy table of `load_results`; its `method` and `task` columns choose the entries.
    """
    from ..core.version import __version__

    package: Entry = (
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
    entries = [package, *ALWAYS]
    for column, sources in (("method", METHODS), ("task", TASKS)):
        present = set(results[column].dropna())
        entries += [entry for name, found in sources.items() if name in present for entry in found]
    # Two methods may rest on one paper.
    return "\n".join(_entry(*entry) for entry in {key: (kind, key, text) for kind, key, text in entries}.values())


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    body = "".join(f"  {name:<13}= {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{body}}}\n"
