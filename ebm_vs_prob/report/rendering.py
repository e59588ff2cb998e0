"""How specifications of Vega-Lite become pictures: inline SVG that follows the page's colours, files, the script."""

from __future__ import annotations

import hashlib
import html
import json
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version as distribution_version
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import write_atomically
from ..core.caches import cache_folder, make_private
from .style import INK

if TYPE_CHECKING:
    from pathlib import Path

#: Of Vega-Lite, that of the schema which Altair writes.
VERSION = "6.4"

#: Rows by name: `{"columns": [...], "rows": [[...], ...]}`, kept once a page and shared by its figures.
Datasets = Mapping[str, Mapping[str, Sequence[Any]]]

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
#: Ink is `currentColor`: inline SVG takes the page's, a file of its own says which.
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor", "titleColor": "currentColor", "domainColor": "currentColor",
        "tickColor": "currentColor", "gridColor": "currentColor", "domainOpacity": 0.45, "tickOpacity": 0.45,
        "gridOpacity": 0.13, "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "titlePadding": 4,
        "labelLimit": 240, "titleLimit": 320,
    },
    "legend": {
        "labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 11.5, "titleFontSize": 11.5,
        "titleFontWeight": "normal", "orient": "bottom", "columns": 2, "labelLimit": 310, "symbolSize": 70,
    },
    "header": {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 11.5, "labelLimit": 160,
               "labelPadding": 4},
    "title": {"color": "currentColor", "fontSize": 12, "anchor": "start", "fontWeight": "bold", "limit": 330,
              "frame": "group", "offset": 6},
    "text": {"color": "currentColor"},
    "rule": {"color": "currentColor"},
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A figure of a report: a specification that scripts draw, and a still drawing where there is one.

    Args:
        name: unique in the report; names its file and its place in the page.
        title: what it shows.
        description: the same with its numbers, for who cannot see it.
        caption: how it is to be read.
        spec: of Vega-Lite, its data named; None where there is only the still drawing.
        svg: the still drawing, inline; "" where nothing is drawn without scripts.
        file: of the still drawing, in `figures/`.
    """

    name: str
    title: str
    description: str
    caption: str = ""
    spec: Mapping[str, Any] | None = field(default=None, repr=False)
    svg: str = field(default="", repr=False)
    file: str = ""


def part(chart: Any, rows: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """An Altair chart of one mark as a part of a specification, with rows of its own where they are given.

    Parts are put together as the dictionaries that they are: Altair's own composition copies every part each time.
    """
    found: dict[str, Any] = chart.to_dict(validate=False)
    found = {name: value for name, value in found.items() if name not in ("$schema", "config", "data", "datasets")}
    return found if rows is None else {**found, "data": {"values": list(rows)}}


def specification(composed: Mapping[str, Any], description: str = "", **parameters: Any) -> dict[str, Any]:
    """A whole specification in the house style; `parameters` are what a reader sets."""
    spec: dict[str, Any] = {**composed, "config": CONFIG}
    if description:
        spec["description"] = description
    if parameters:
        spec["params"] = [{"name": name, "value": value} for name, value in parameters.items()]
    return spec


def wrapped(label: str, width: int) -> list[str]:
    """A label in lines of at most so many characters."""
    return textwrap.wrap(label, width) or [label]


def in_lines(labels: Sequence[str], width: int) -> str:
    """The same as an expression of Vega, for labels of an axis or a header."""
    lines = json.dumps({label: wrapped(label, width) for label in labels}, ensure_ascii=False)
    return f"{lines}[datum.label]"


def rows_of(dataset: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a data set, each with its names."""
    return [dict(zip(dataset["columns"], row, strict=True)) for row in dataset["rows"]]


def to_svg(spec: Mapping[str, Any], datasets: Datasets, name: str, title: str, description: str) -> str:
    """Inline SVG with title and description; ids are distinct between figures of different names."""
    import vl_convert

    used = set(_names(spec))
    whole = {**spec, "datasets": {key: rows_of(datasets[key]) for key in sorted(used) if key in datasets}}
    svg = vl_convert.vegalite_to_svg(whole, vl_version=VERSION)
    return _inline(svg[svg.index("<svg") :], name, title, description)


def _names(spec: Any) -> list[str]:
    """Of the data sets that a specification uses."""
    if isinstance(spec, Mapping):
        own = [spec["data"]["name"]] if isinstance(spec.get("data"), Mapping) and "name" in spec["data"] else []
        return own + [name for key, part in spec.items() if key != "datasets" for name in _names(part)]
    return [name for part in spec for name in _names(part)] if isinstance(spec, (list, tuple)) else []


def _inline(svg: str, name: str, title: str, description: str) -> str:
    prefix = f"f{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    head, _, body = svg.partition(">")
    box = re.search(r'viewBox="([^"]*)"', head)
    width, height = re.search(r' width="([\d.]+)"', head), re.search(r' height="([\d.]+)"', head)
    size = "".join(f' {side}="{found[1]}"' for side, found in (("width", width), ("height", height)) if found)
    # Only attributes of tags are changed, never what is said in text, whose "<" and ">" Vega escapes.
    body = _marks_once(re.sub(r"<[^<>]*>", lambda tag: _short(_renamed(tag[0], prefix)), body), prefix)
    said = f'<title id="{prefix}-t">{html.escape(title)}</title><desc id="{prefix}-d">{html.escape(description)}</desc>'
    labelled = f'role="img" aria-labelledby="{prefix}-t {prefix}-d"'
    view = f' viewBox="{box[1]}"' if box else ""
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {spaces}{size}{view} {labelled}>{said}{body}"


def _renamed(tag: str, prefix: str) -> str:
    tag = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", tag)
    tag = re.sub(r' id="', f' id="{prefix}', tag)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", tag)


def _short(tag: str) -> str:
    """Coordinates to a tenth of a pixel."""
    return re.sub(
        r' (d|x|y|x1|x2|y1|y2|transform|width|height)="[^"]*"',
        lambda found: re.sub(r"(-?\d+\.\d)\d+", r"\1", found[0]),
        tag,
    )


def _marks_once(body: str, prefix: str) -> str:
    """Marks that differ in their place alone are drawn once and used again: of points there are hundreds."""
    mark = re.compile(r'<path transform="translate\((-?[\d.]+),(-?[\d.]+)\)"((?: [\w-]+="[^"]*")+)/>')
    counts = Counter(found[3] for found in mark.finditer(body))
    names = {look: f"{prefix}m{i}" for i, look in enumerate(look for look, n in counts.items() if n > 2)}

    def used(found: re.Match[str]) -> str:
        name = names.get(found[3])
        return f'<use xlink:href="#{name}" x="{found[1]}" y="{found[2]}"/>' if name else found[0]

    drawn = "".join(f'<path id="{name}"{look}/>' for look, name in names.items())
    return (f"<defs>{drawn}</defs>" if drawn else "") + mark.sub(used, body)


def standalone(svg: str) -> str:
    """The SVG as a file of its own: dark ink on white."""
    style = f'style="background:#fff;color:{INK};font-family:sans-serif"'
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace("<svg ", f"<svg {style} ", 1) + "\n"


@lru_cache(maxsize=1)
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed in one file that needs no network; `window.vegaEmbed` draws a specification.

    It takes seconds to put together, so it is kept among the caches of the user.
    """
    import vl_convert

    path: Path = cache_folder() / "scripts" / f"vega-{distribution_version('vl-convert-python')}-{VERSION}.js"
    with suppress(OSError, ValueError):
        digest, _, kept = path.read_text(encoding="utf-8").partition("\n")
        if digest == f"// {hashlib.sha256(kept.encode()).hexdigest()}":
            return kept
    bundle: Any = vl_convert.javascript_bundle  # its types ask for a snippet of code, which it does without
    made: str = bundle(vl_version=VERSION)
    with suppress(OSError):
        make_private(path.parent)
        write_atomically(path, f"// {hashlib.sha256(made.encode()).hexdigest()}\n{made}".encode())
    return made
