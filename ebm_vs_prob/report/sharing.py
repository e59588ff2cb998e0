"""JSON in which what occurs again is written once: figures of a page repeat their scales, axes, tooltips and points."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

#: Characters of JSON from which a value that occurs again is worth a place of its own.
_LEAST = 16
#: The only key of what stands for a part, whose place it is; no specification and no data set has such an object.
_REFERENCE = "$"


def fold(value: Any) -> dict[str, Any]:
    """The same JSON as `{"parts": [...], "whole": ...}`: what occurs again is a part, in its places `{"$": index}`.

    A part refers to earlier ones only. `unfold` gives the value back, and so does the script of the page.
    """
    seen: Counter[str] = Counter()
    texts: dict[int, str] = {}

    def count(node: Any) -> None:
        text = texts[id(node)] = _text(node)
        seen[text] += 1
        if seen[text] == 1:  # what is in a repeated value is repeated with it
            for child in _children(node):
                count(child)

    parts: list[Any] = []
    places: dict[str, int] = {}

    def written(node: Any) -> Any:
        text = texts.get(id(node)) or _text(node)
        again = seen[text] > 1 and len(text) >= _LEAST
        if again and text in places:
            return {_REFERENCE: places[text]}
        made = node
        if isinstance(node, dict):
            made = {name: written(child) for name, child in node.items()}
        elif isinstance(node, (list, tuple)):
            made = [written(child) for child in node]
        if not again:
            return made
        places[text] = len(parts)
        parts.append(made)
        return {_REFERENCE: places[text]}

    count(value)
    return {"whole": written(value), "parts": parts}


def unfold(folded: dict[str, Any]) -> Any:
    """The value that was folded.

    Raises:
        KeyError, IndexError, TypeError: it is none.
    """
    parts: list[Any] = []

    def read(node: Any) -> Any:
        if isinstance(node, dict):
            return parts[node[_REFERENCE]] if node.keys() == {_REFERENCE} else {k: read(v) for k, v in node.items()}
        return [read(child) for child in node] if isinstance(node, list) else node

    for part in folded["parts"]:
        parts.append(read(part))
    return read(folded["whole"])


def _text(node: Any) -> str:
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"))


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, (list, tuple)) else []
