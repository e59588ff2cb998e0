"""What the site has beside the pages in docs/: generated pages, the documents at the top of the repository, reports.

Links in a page lead where they lead in the repository, so that it reads well in either place. In the site a study is
its page in place of its file, and a report its HTML page in place of its Markdown.
"""

from __future__ import annotations

import posixpath
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import registered
from generated import pages
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from published import link_reports

from ebm_vs_prob.report import write_all
from ebm_vs_prob.study.claims import REGISTER

ROOT = registered.ROOT
#: Documents that do not lie in docs/, by their place in the site.
ELSEWHERE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "benchmarks.md": "benchmarks/README.md"}
#: What gives its room to a page: the first has no siblings, and wide tables stand on the others.
_HIDDEN = {"index.md": ["navigation"], "methods.md": ["toc"], "studies.md": ["toc"]}
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
_NAMED = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
_FIRST_CELL = re.compile(r"^\| `[^|]*\|", re.MULTILINE)
_CLAIM = re.compile(r"^\| (C\d+) \|", re.MULTILINE)
_TABLE, _HEAD, _TAG = (
    re.compile(r"<table>.*?</table>", re.DOTALL),
    re.compile(r"<th\b[^>]*>(.*?)</th>"),
    re.compile("<[^>]+>"),
)
_CODE = re.compile(r"(?<=>)[^<]*(?=</code>)")
_FETCHED = re.compile(
    r"<(?:script|img|iframe|link(?![^>]*rel=\"?(?:canonical|next|prev)))\b[^>]*(?:src|href)=\"?https?:"
)


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation."""
    sections = {next(iter(section)): next(iter(section.values())) for section in config.nav}
    sections["Claims"].extend({name: f"claims/{name}.md"} for name in REGISTER)
    for family, names in groupby(registered.methods().values(), lambda method: method.family):
        sections["Methods"].append({registered.FAMILIES[family]: [{m.name: f"methods/{m.name}.md"} for m in names]})
    sections["Tasks"].extend({name: f"tasks/{name}.md"} for name in registered.tasks())
    sections["Studies"].extend({name: f"studies/{name}.md"} for name in registered.studies())
    sections["Reference"].extend({name: f"reference/{name}.md"} for name in registered.areas())
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, the documents from elsewhere, and the published reports as they are."""
    made = pages() | {place: (ROOT / source).read_text(encoding="utf-8") for place, source in ELSEWHERE.items()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    copied = [path for path in (ROOT / "reports").rglob("*") if path.is_file() and path.suffix != ".md"]
    for path in [*copied, ROOT / "LICENSE", ROOT / "CITATION.cff", *(ROOT / "benchmarks").glob("*.json")]:
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Turn links of the repository into those of the site, and names in tables into links."""
    place = page.file.src_uri
    if place in _HIDDEN:
        page.meta["hide"] = _HIDDEN[place]
    source = ELSEWHERE.get(place, f"docs/{place}")

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        if not (ROOT / target).exists():
            return match[1]
        return posixpath.relpath(in_site(target), posixpath.dirname(place) or ".")

    def linked(match: re.Match[str]) -> str:
        target = f"{place.removesuffix('.md')}/{match[1]}.md"
        return f"| [`{match[1]}`]({target}) |" if files.get_file_from_path(target) else match[0]

    text = _LINK.sub(led, markdown)
    if place in ("methods.md", "tasks.md"):
        return _NAMED.sub(linked, text)
    if place == "metrics.md":
        return _FIRST_CELL.sub(lambda row: re.sub(r"`(\w+)`", r"`\1`{ #\1 }", row[0]), text)
    return _CLAIM.sub(r"| [\1](claims/\1.md) |", text) if "/" not in place else text


def in_site(target: str) -> str:
    """Where a file of the repository stands in the site."""
    for place, source in ELSEWHERE.items():
        if target == source:
            return place
    if target.startswith("studies/"):
        return str(Path(target).with_suffix(".md"))
    if target.startswith("reports/") and target.endswith("/report.md"):
        return target.replace("report.md", "index.html")
    return target.removeprefix("docs/")


def on_page_content(html: str, **_: Any) -> str:
    """Give each cell of a table the head of its column, which narrow screens show beside it.

    Names in it may break after an underscore, and a bar that is escaped within code, as it must be there, is a bar.
    """

    def labelled(table: re.Match[str]) -> str:
        heads = [_TAG.sub("", head) for head in _HEAD.findall(table[0])]
        rows = []
        for row in table[0].split("<tr>"):
            labels = iter(heads)
            rows.append(re.sub(r"<td", lambda _, labels=labels: f'<td data-label="{next(labels, "")}"', row))
        return "<tr>".join(rows)

    def breakable(code: re.Match[str]) -> str:
        return code[0].replace("\\|", "|").replace("_", "_<wbr>")

    return _TABLE.sub(lambda table: _CODE.sub(breakable, labelled(table)), html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would fetch something from elsewhere."""
    if found := _FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} would fetch something from a network: {found[0]}")
    return output


def on_post_build(config: Any) -> None:
    """Put the script that draws the figures of reports beside them, and lead what they name to its page."""
    write_all(Path(config.site_dir) / "reports")
    link_reports(Path(config.site_dir))
