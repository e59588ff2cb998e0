# ruff: noqa: RUF001
"""The page over all reports of a folder: the lecture's claims, what each study found, and which of them decides."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import invalid
from ..core.text import printable
from ..study.claims import LECTURE, REGISTER
from ..study.published import read_verdicts, reports_below
from .style import SIGNS
from .words import Said, claim_in_words, claim_says

#: What a page over all reports is told from another page by, of which its folder may be the place.
_TITLE = "<title>The lecture's claims, tested</title>"
#: What the two sides of a qualified claim are called on its badge.
_SIDES = {"supported": "holds", "refuted": "does not"}


@dataclass(frozen=True)
class Found:
    """What one study found of one claim, at one scale; `place` is its report's path below the page's folder."""

    study: str
    scale: str
    place: str
    title: str
    verdict: str
    caveat: str
    said: tuple[Said, ...]
    reason: str
    home: bool

    @property
    def number(self) -> str:
        """Its number with its name, as on a badge; of a qualified claim that of each side."""
        if self.verdict == "qualified" and self.said:
            return "; ".join(f"{_SIDES[each.verdict]}: {each.number}" for each in self.said)
        return self.said[0].number if self.said else self.reason


def _study(folder: Path) -> tuple[str, dict[str, str]]:
    """Title and labels of arms of the study behind a report: from the file beside it, else from that of its name."""
    from ..study.files import load_study

    for given in (folder / "study.toml", folder.name):
        if isinstance(given, Path) and not given.is_file():
            continue
        with suppress(Exception):  # a study of plugins that are not here, or one that has changed: its name says enough
            study = load_study(given)
            return study.title, {arm.name: arm.title for arm in study.arms}
    return folder.name.replace("_", " "), {}


def gather_findings(out: Path) -> dict[str, list[Found]]:
    """What the reports below a folder found, by claim; its home study first, then by name, the largest scale first."""
    found: dict[str, list[Found]] = {}
    for folder, scale in reports_below(out):
        path = folder / "verdicts.json"
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            verdicts = read_verdicts(path)
            title, labels = _study(folder)
            for claim in (v for v in verdicts if v.scope == "claim"):
                parts = [v for v in verdicts if v.claim == claim.claim and v.scope == "comparison"]
                again = [v for v in verdicts if v.claim == claim.claim and v.scope == "variant"]
                known = REGISTER.get(claim.claim)
                said = tuple(claim_says(claim, parts, labels, again))
                home = known is not None and known.home == folder.name
                text = claim_in_words(claim.claim, parts)
                found.setdefault(claim.claim, []).append(
                    Found(folder.name, scale, folder.relative_to(out).as_posix(), title if known else text or title,
                          claim.verdict, claim.caveat, said, claim.reason, home)
                )  # fmt: skip
    return {claim: sorted(each, key=lambda f: (not f.home, f.study)) for claim, each in found.items()}


def reconcile(claim: str, found: Sequence[Found]) -> tuple[str, str]:
    """The verdict on a claim and one sentence for it: its home study decides, the others are said beside it."""
    home = REGISTER[claim].home
    if not found:
        return "unstudied", f"There is no report of its home study, {home}, in this folder."
    deciding = [each for each in found if each.home]
    others = [*deciding[1:], *(each for each in found if not each.home)]
    beside = "; ".join(f"{each.study}{f' at {each.scale}' if each.home else ''} {_found_it(each)}" for each in others)
    if not deciding:
        return (
            "elsewhere",
            f"Not decided: there is no report of its home study, {home}, in this folder. Beside it: {beside}.",
        )
    first = deciding[0]
    sentence = " ".join(each.sentence for each in first.said) or f"{first.reason}."
    also = f" Beside it: {beside}." if beside else ""
    return first.verdict, f"{first.verdict.capitalize()} by {home}: {sentence}{also}"


def _found_it(each: Found) -> str:
    verb = {"undecided": "leaves it undecided", "qualified": "finds it qualified"}.get(
        each.verdict, f"finds it {each.verdict}"
    )
    return f"{verb} ({each.number})"


def check_place(out: Path) -> None:
    """Raise a `ValueError` where a folder has an `index.html` that is no page over reports, and would be lost."""
    path = out / "index.html"
    if path.is_file() and _TITLE not in path.read_text(encoding="utf-8", errors="replace"):
        raise invalid("out", str(out), "a folder for reports alone: its index.html is another page, which stays")


def write_overview(out: Path) -> Path:
    """Write the page over all reports of a folder; returns its path, `index.html`."""
    from .page import html

    findings = gather_findings(out)
    claims = []
    for name, claim in REGISTER.items():
        verdict, sentence = reconcile(name, findings.get(name, ()))
        claims.append({"id": name, "claim": claim, "verdict": verdict, "sentence": printable(sentence),
                       "found": findings.get(name, [])})  # fmt: skip
    own = [{"id": name, "found": each} for name, each in findings.items() if name not in REGISTER]
    counts = {verdict: sum(c["verdict"] == verdict for c in claims) for verdict in (*SIGNS, "elsewhere", "unstudied")}
    decided_here = any(each.home for found in findings.values() for each in found)
    text = html().get_template("overview.html.j2").render(
        claims=claims,
        own=own,
        folded=bool(own) and not decided_here,
        counts={verdict: count for verdict, count in counts.items() if count},
        studies=sorted({each.study for found in findings.values() for each in found}),
        tags=sorted({tag for claim in REGISTER.values() for tag in claim.tags}),
        symbols={**SIGNS, "elsewhere": "–", "unstudied": "–"},
        words={"elsewhere": "not decided", "unstudied": "not in this folder"},
        lecture=LECTURE,
    )  # fmt: skip
    path = out / "index.html"
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return path
