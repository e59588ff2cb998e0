"""Quantities measured against a task's truth, each defined once: see `docs/metrics.md`."""

from .catalogue import METRICS, Metric, describe
from .evaluate import evaluate
from .options import Evaluation

__all__ = ["METRICS", "Evaluation", "Metric", "describe", "evaluate"]
