"""Papers in the forms that people and programs read: author and year, APA, and the Citation File Format."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from ..core.bibliography import Entry
from .latex import ACCENTS, symbols_of

_COMBINING = {command: accent for accent, command in ACCENTS.items()}
_ACCENT = re.compile(r"\{?\\(['\"`^~=.]|[cvurH](?=\{))\{?(\\?[a-zA-Z])\}?\}?")
_PLACES = {"doi": "https://doi.org/", "url": "", "eprint": "https://arxiv.org/abs/"}

#: What the Citation File Format 1.2.0 calls a kind of entry; any other is "generic".
_CFF_TYPES = {
    "article": "article",
    "book": "book",
    "incollection": "generic",
    "inproceedings": "conference-paper",
    "software": "software",
    "techreport": "report",
}


def plain(latex: str) -> str:
    """BibTeX text as Unicode: accents composed, braces gone."""

    def accent(match: re.Match[str]) -> str:
        return unicodedata.normalize("NFC", match[2].replace("\\i", "i") + _COMBINING[match[1]])

    latex = re.sub(r"\$\\widehat\{(\w)\}\$", "\\1\u0302", latex).replace("{\\i}", "\u0131")
    text = _ACCENT.sub(accent, symbols_of(latex))
    text = re.sub(r"\\([&%$#_])", r"\1", text)
    return text.replace("{", "").replace("}", "").replace("--", "\u2013")


def link(paper: Entry) -> str:
    """Where a paper is found on the web; "" where its entry does not say, or says what a browser would run."""
    place = next((start + paper.fields[name] for name, start in _PLACES.items() if name in paper.fields), "")
    return place if re.match(r"https?://", place) else ""


def short(paper: Entry) -> str:
    """Family names and year: `Hinton 2002`, or `Florence et al. 2021` of more than three authors."""
    names = [family for family, _ in _people(paper)]
    together = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    who = f"{names[0]} et al." if len(names) > 3 or "others" in names else together
    return f"{who} {paper.fields.get('year', 'n.d.')}"


def apa(paper: Entry) -> str:
    """One reference as the seventh edition of the APA's manual has it, on one line and without italics."""
    people = [f"{family}, {_initials(given)}" if given else family for family, given in _people(paper)]
    if people[-1:] == ["others"]:
        people[-1] = "et al."
    last = people[-1] if people[-1] == "et al." or len(people) == 1 else f"& {people[-1]}"
    who = ", ".join([*people[:-1], last])
    title, fields = plain(paper.fields["title"]), {name: plain(value) for name, value in paper.fields.items()}
    version = f" (Version {fields['version']})" if "version" in fields else ""
    number = f"({fields['number']})" if "number" in fields else ""
    volume = f", {fields['volume']}{number}" if "volume" in fields else ""
    pages = f", {fields['pages']}" if "pages" in fields else ""
    where = ""
    if "journal" in fields:
        where = f" {fields['journal']}{volume}{pages}."
    elif "booktitle" in fields:
        of_pages = f" (pp. {fields['pages']})" if "pages" in fields else ""
        where = f" In {fields['booktitle']}{of_pages}."
    published = next((fields[name] for name in ("publisher", "institution", "howpublished") if name in fields), "")
    kind = " [Computer software]" if paper.kind == "software" else ""
    end = "" if title.endswith((".", "?", "!")) else "."
    text = f"{who} ({fields.get('year', 'n.d.')}). {title}{version}{kind}{end}{where}"
    text += f" {published}." if published else ""
    text += f" {fields['note']}." if paper.kind == "software" and "note" in fields else ""
    return re.sub(r"\s+", " ", f"{text} {link(paper)}").strip()


def cff(papers: Sequence[Entry]) -> str:
    """A file in the Citation File Format 1.2.0, which is YAML: of the first entry, with the others as references."""
    work, *behind = papers
    lines = [
        "cff-version: 1.2.0",
        'message: "If you use these results, please cite this work and the papers behind it."',
        *_mapping(_as_cff(work) | {"type": "software"}, ""),
    ]
    if behind:
        lines.append("references:")
        for paper in behind:
            first, *rest = _mapping({"type": _CFF_TYPES.get(paper.kind, "generic"), **_as_cff(paper)}, "    ")
            lines += [f"  - {first.strip()}", *rest]
    return "\n".join(lines) + "\n"


def _people(paper: Entry) -> list[tuple[str, str]]:
    """Family and given names; of a name in braces, which is an organisation's, the whole and nothing."""
    found = []
    for name in paper.fields.get("author", paper.fields.get("editor", "{Anonymous}")).split(" and "):
        family, _, given = ("", "", "") if name.startswith("{") and name.endswith("}") else name.partition(",")
        found.append((plain(family.strip()) or plain(name), plain(given.strip())))
    return found


def _initials(given: str) -> str:
    return " ".join("-".join(f"{part[0]}." for part in name.split("-") if part) for name in given.split())


def _as_cff(paper: Entry) -> dict[str, Any]:
    fields = {name: plain(value) for name, value in paper.fields.items()}
    authors: list[dict[str, str]] = [
        {"family-names": family, "given-names": given} if given else {"name": family}
        for family, given in _people(paper)
        if family != "others"
    ]
    found: dict[str, Any] = {"title": fields["title"], "authors": authors}
    for name, ours in (("version", "version"), ("journal", "journal"), ("doi", "doi")):
        if ours in fields:
            found[name] = fields[ours]
    for name in ("year", "volume"):
        if fields.get(name, "").isdigit():
            found[name] = int(fields[name])
    if "booktitle" in fields:
        found["collection-title"] = fields["booktitle"]
    if "pages" in fields and re.fullmatch(r"\d+\u2013\d+", fields["pages"]):
        found["start"], found["end"] = map(int, fields["pages"].split("\u2013"))
    if link(paper) and "doi" not in fields:
        found["url"] = link(paper)
    if "note" in fields:
        found["notes" if paper.kind != "software" else "abstract"] = fields["note"]
    if paper.kind == "software":
        found.pop("year", None)  # the format has a date of release there, which a study has not
    return found


def _mapping(values: dict[str, Any], indent: str) -> list[str]:
    """Lines of a YAML mapping; text is quoted as JSON, which YAML 1.2 reads as it is."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list):
            lines.append(f"{indent}{name}:")
            for each in value:
                first, *rest = _mapping(each, f"{indent}    ")
                lines += [f"{indent}  - {first.strip()}", *rest]
        else:
            lines.append(f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}")
    return lines
