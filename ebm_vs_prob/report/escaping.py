"""Text of users and of exceptions as each format of a report takes it: never interpreted, always well-formed."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from .inputs import Inputs


def printable_inputs(inputs: Inputs) -> Inputs:
    """The same inputs without control characters, bidirectional marks or endless text in what results hold of others.

    A study's own text is held to this when it is read.
    """
    results = inputs.results
    for column in results.columns:
        texts = {text for text in results[column].unique() if isinstance(text, str)}
        changed = {text: shown for text in texts if (shown := printable(text)) != text}
        if changed:
            values = [changed.get(value, value) if isinstance(value, str) else value for value in results[column]]
            results = results.assign(**{column: values})
    return replace(
        inputs,
        results=results,
        provenance={printable(n): tuple(map(printable, values)) for n, values in inputs.provenance.items()},
        skipped=tuple({name: printable(text) for name, text in entry.items()} for entry in inputs.skipped),
    )


def script_data(value: Any) -> str:
    """JSON as the text of a script element, packed: numbers of figures take a fourth of their own length so.

    Base64 of gzip, in which nothing ends the element or begins another; `read_script_data` and every browser read it.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode()


def read_script_data(text: str) -> Any:
    """What `script_data` packed.

    Raises:
        ValueError: the text is of nothing that was packed.
    """
    try:
        return json.loads(gzip.decompress(base64.b64decode(text, validate=True)))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"the page's data cannot be read: {error}") from None


def escape_markdown(value: object) -> str:
    """Text on one line, with what means something to Markdown or HTML escaped; `Markup` is left as it is."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", text)


def csv_text(value: Any) -> Any:
    """Text with an apostrophe before what a spreadsheet would run as a formula; anything else as it is."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def to_csv_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose text no spreadsheet runs."""
    return frame.map(csv_text).rename(columns=csv_text)
