"""Published reports as the site has them: names on their pages lead to the site's pages of what they name.

In a report that is read alone they lead to its own list of names, because the pages of the site are not beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ebm_vs_prob.study import load_study
from ebm_vs_prob.study.published import reports_below

_FOLDERS = {"method-of": "methods", "task-of": "tasks", "metric": "metrics"}
_ID = rf"({'|'.join(_FOLDERS)})-([^\"]+)"
_NAMED = re.compile(rf'href="#{_ID}"')
_TERM = re.compile(rf'<dt id="{_ID}">(.*?)</dt>')
_CLAIM_IN_REPORT = re.compile(r'href="(?:\.\./)+index\.html#(C\d+)"')
_CLAIM_IN_OVERVIEW = re.compile(r"<h2>(C\d+)\. ")
_STUDY = re.compile(r"· study (\w+) ·")


def link_reports(site: Path) -> None:
    """Rewrite the pages of all reports in a site that is built, and the page over them."""
    anchors = set(re.findall(r'id="(\w+)"', (site / "metrics.html").read_text(encoding="utf-8")))
    exists = partial(_exists, site, anchors)
    for report, _ in reports_below(site / "reports"):
        page, up = report / "index.html", "../" * len(report.relative_to(site).parts)
        page.write_text(link_report(page.read_text(encoding="utf-8"), exists, kinds_of(report), up), "utf-8")
    overview = site / "reports" / "index.html"
    overview.write_text(link_overview(overview.read_text(encoding="utf-8"), exists), "utf-8")


def kinds_of(report: Path) -> dict[str, str]:
    """The registered task behind each name that the study of a report's folder gives to its tasks."""
    return {grid.name: grid.kind for grid in load_study(report / "study.toml").tasks}


def _exists(site: Path, anchors: set[str], place: str) -> bool:
    """Whether the site has a page, of metrics the row of one."""
    page, _, anchor = place.partition("#")
    return (site / page).is_file() and (not anchor or anchor in anchors)


def link_report(html: str, exists: Callable[[str], bool], kinds: dict[str, str], up: str = "../../") -> str:
    """A report's page with its methods, tasks, metrics, claims and study led to their pages, where `exists` says so.

    Args:
        up: leads from the page to the site's root.
    """

    def place(kind: str, name: str) -> str:
        found = f"metrics.html#{name}" if kind == "metric" else f"{_FOLDERS[kind]}/{kinds.get(name, name)}.html"
        return f"{up}{found}" if exists(found) else ""

    def named(match: re.Match[str]) -> str:
        to = place(match[1], match[2])
        return f'href="{to}"' if to else match[0]

    def term(match: re.Match[str]) -> str:
        to = place(match[1], match[2])
        return f'<dt id="{match[1]}-{match[2]}"><a href="{to}">{match[3]}</a></dt>' if to else match[0]

    def claim(match: re.Match[str]) -> str:
        return f'href="{up}claims/{match[1]}.html"' if exists(f"claims/{match[1]}.html") else match[0]

    def study(match: re.Match[str]) -> str:
        to = f"studies/{match[1]}.html"
        return f'· study <a href="{up}{to}">{match[1]}</a> ·' if exists(to) else match[0]

    return _STUDY.sub(study, _CLAIM_IN_REPORT.sub(claim, _TERM.sub(term, _NAMED.sub(named, html))), count=1)


def link_overview(html: str, exists: Callable[[str], bool]) -> str:
    """The page over all reports with each claim led to its page."""

    def claim(match: re.Match[str]) -> str:
        to = f"claims/{match[1]}.html"
        return f'<h2><a href="../{to}">{match[1]}</a>. ' if exists(to) else match[0]

    return _CLAIM_IN_OVERVIEW.sub(claim, html)
