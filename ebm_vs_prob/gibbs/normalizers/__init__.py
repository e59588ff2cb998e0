"""What normalises exp(-beta E): every normaliser, and the names by which `GibbsBoltzmann` knows them."""

from __future__ import annotations

from collections.abc import Callable

from ...core.errors import invalid, unknown
from .annealing import AnnealedImportanceSampling, Bracket, bidirectional_monte_carlo
from .enumeration import Enumeration, Messages
from .importance import ImportancePartition, ImportanceSampling
from .pareto import pareto_k
from .partition import Normalizer
from .quadrature import Quadrature

NORMALIZERS: dict[str, Callable[[], Normalizer]] = {
    "quadrature": Quadrature,
    "importance": ImportanceSampling,
    "annealed": AnnealedImportanceSampling,
    "enumeration": Enumeration,
    "messages": Messages,
}


def normalizer_of(given: str | Normalizer) -> Normalizer:
    """The normaliser itself, or the one of that name with its defaults.

    Raises:
        UnknownName: no such name.
        ValueError: neither a name nor a normaliser.
    """
    if isinstance(given, str):
        if given not in NORMALIZERS:
            raise unknown("normalizer", given, NORMALIZERS)
        return NORMALIZERS[given]()
    if not callable(getattr(given, "partition", None)):
        raise invalid("normalizer", given, f"one of {', '.join(NORMALIZERS)}, or an object with partition(target)")
    return given


__all__ = [
    "NORMALIZERS",
    "AnnealedImportanceSampling",
    "Bracket",
    "Enumeration",
    "ImportancePartition",
    "ImportanceSampling",
    "Messages",
    "Quadrature",
    "bidirectional_monte_carlo",
    "normalizer_of",
    "pareto_k",
]
