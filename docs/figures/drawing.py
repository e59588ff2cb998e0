"""What the scripts of the tasks' figures share: how a figure is kept."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

COLOURS = 256


def save(figure: Figure, script: str) -> None:
    """Write a figure beside its script and under its name, as a PNG with a palette: half the bytes of one without.

    Args:
        script: the script's `__file__`.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(Path(script).with_suffix(".png"), optimize=True)
