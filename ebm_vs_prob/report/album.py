"""Pictures of one report as they are made: each once, its data shared with the others, its still drawing as a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .rendering import Datasets, Picture, standalone, to_svg


class Album:
    """Makes the figures of a report.

    Args:
        folder: of the files of still drawings; None draws none.

    Attributes:
        specs: of Vega-Lite by figure, as the page's script draws them.
        data: data sets by name, which the specifications share.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.specs: dict[str, Mapping[str, Any]] = {}
        self.data: dict[str, Mapping[str, Any]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        title: str,
        spec: Mapping[str, Any] | None,
        description: str,
        caption: str = "",
        still: tuple[Mapping[str, Any], Datasets] | None = None,
        live: bool = True,
    ) -> Picture:
        """A figure; `still` is drawn now, and what is not `live` is shown so to every reader."""
        name = re.sub(r"[^\w-]+", "-", name)
        svg, file = "", "" if still is None else f"{name}.svg"
        if still is not None and self.folder is not None:
            svg = to_svg(*still, name, title, description)
            (self.folder / file).write_text(standalone(svg), encoding="utf-8")
        if spec is not None and live:
            self.specs[name] = spec
        return Picture(name, title, description, caption, spec if live else None, svg, file)
