"""One spelling rule, stated in CONTRIBUTING.md: British, except where a library already names the thing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What torch, Pyro, NumPy, SciPy, pydantic, matplotlib and Python call their own, and plain words that only look alike.
KNOWN = [
    "size",
    "sizes",
    "normalizer",
    "normalizers",
    "optimizer",
    "optimizers",
    "materialize",
    "minimize",
    "optimize",
    "normalize",
    "quantize",
    "finalize",
    "vectorize",
    "vectorized",
    "capitalize",
    "serializer",
    "canonicalization",
    "rasterized",
    "prize",
    "seized",
]
AMERICAN = re.compile(r"\w*(iz(e|es|ed|er|ers|ing|ation|ations)|yz(e|es|ed|ing)|avior)")


def american(text: str) -> list[str]:
    """Words in American spelling that no library names; parts of names in snake or camel case are words."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}
    return sorted(
        word for word in words if AMERICAN.fullmatch(word) and not word.endswith("size") and word not in KNOWN
    )


@pytest.mark.parametrize("folder", ["ebm_vs_prob", "docs"])
def test_spelling_is_british(folder):
    found = {}
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".pyi", ".md") and (words := american(path.read_text(encoding="utf-8"))):
            found[str(path.relative_to(ROOT))] = words
    assert found == {}


def test_american_words_are_found():
    assert american("a regularized loss, LevelizedModel, analyze_it") == ["analyze", "levelized", "regularized"]
    assert american("step_size, NormalizerWarning, optimizer, normalised") == []
