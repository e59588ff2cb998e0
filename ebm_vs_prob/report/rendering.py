"""How figures are made and written: house style, inline SVG that follows the page's colours, small images.

Figures are matplotlib objects without pyplot; nothing here sets a global default.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, Any

from .escaping import shielded
from .style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_XLINK = "http://www.w3.org/1999/xlink"
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
}


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """An empty figure in the house style, sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def house_style() -> Any:
    """The context in which figures are built and written; the caller's matplotlib defaults come back after it."""
    import matplotlib

    return matplotlib.rc_context(_RC)


def to_svg(figure: Figure, name: str) -> str:
    """Inline SVG whose ink is `currentColor`, without a date, ids distinct between figures of different names."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = shielded(svg[svg.index("<svg") :])
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" xmlns:xlink="{_XLINK}">', svg, count=1
    )
    # Only drawn coordinates are shortened: numbers in text are what the reader is told.
    svg = re.sub(r' (d|x|y|transform)="[^"]*"', lambda match: _short(match[0]), svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    prefix = hashlib.sha256(name.encode()).hexdigest()[:6]
    svg = re.sub(r' id="', f' id="f{prefix}', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>f{prefix}", svg)
    return _with_classes(re.sub(r"\n\s*", "\n", svg).replace(INK, "currentColor"), prefix)


def _with_classes(svg: str, prefix: str) -> str:
    """Each distinct style written once, as a class: matplotlib repeats it at every marker."""
    classes: dict[str, str] = {}

    def named(match: re.Match[str]) -> str:
        return f' class="{classes.setdefault(match[1], f"f{prefix}{len(classes)}")}"'

    svg = re.sub(r' style="([^"]*)"', named, svg)
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    return svg.replace("</style>", f"{rules}</style>", 1)


def standalone(svg: str) -> str:
    """The SVG as a file of its own: dark ink on white, sans-serif."""
    style = f'style="background:#fff;color:{INK};font-family:sans-serif"'
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace("<svg ", f"<svg {style} ", 1) + "\n"


def _short(attribute: str) -> str:
    return re.sub(r"(-?\d+\.\d)\d+", r"\1", attribute).replace(" \n", " ").replace("\n", "")


def to_images(figure: Figure, dpi: int = 100) -> tuple[bytes, bytes]:
    """The figure on white, as PNG of few colours and as WebP: both small enough to be kept beside a study."""
    from PIL import Image

    with house_style():
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    image = Image.open(drawn).convert("RGB")
    png, webp = io.BytesIO(), io.BytesIO()
    # Maximum coverage keeps the few pixels of a label in its own colour.
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(png, format="PNG", optimize=True)
    image.save(webp, format="WEBP", quality=80, method=4)
    return png.getvalue(), webp.getvalue()
