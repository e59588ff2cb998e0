# ruff: noqa: RUF001
"""How a report looks: colours and markers of the arms, labels and scales of the metrics, numbers with uncertainties."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..study.statistics import Estimate, geometric_estimate, mean_estimate

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

#: Text and axes of figures; in the page it becomes `currentColor`, so that it follows the light or dark scheme.
INK = "#1b1f24"

#: Okabe and Ito's palette, which stays apart under colour blindness: blues for ebm, reds for prob, greys for control.
FAMILY_COLOURS = {
    "ebm": ("#0072b2", "#56b4e9", "#009e73", "#3f6fb5"),
    "prob": ("#d55e00", "#e69f00", "#cc79a7", "#a8431a"),
    "control": ("#6b7280", "#9aa0a8", "#7d6f64", "#b0a08f"),
}
MARKERS = "osD^vPX<>hp*"


@dataclass(frozen=True)
class Look:
    """How one arm is drawn."""

    name: str
    label: str
    family: str
    colour: str
    marker: str


def looks(arms: Iterable[Any], results: pd.DataFrame) -> dict[str, Look]:
    """A look for each arm, in the study's order: the colour says the family, the marker the arm."""
    family_of = results.drop_duplicates("arm").set_index("arm")["family"].to_dict()
    used = dict.fromkeys(FAMILY_COLOURS, 0)
    found: dict[str, Look] = {}
    for index, arm in enumerate(arms):
        family = str(family_of.get(arm.name, "control"))
        family = family if family in FAMILY_COLOURS else "control"
        colour = FAMILY_COLOURS[family][used[family] % len(FAMILY_COLOURS[family])]
        used[family] += 1
        found[arm.name] = Look(arm.name, arm.label or arm.name, family, colour, MARKERS[index % len(MARKERS)])
    return found


@dataclass(frozen=True)
class MetricLook:
    """How one metric is shown. `log` metrics are summarised by the geometric mean, others by the mean."""

    label: str
    group: str
    log: bool = False


GROUPS = {
    "answers": "Answers and samples",
    "density": "Density and coverage",
    "sharpness": "Sharpness",
    "descent": "Descent, by step rule",
    "decisions": "Decisions",
    "digits": "Conditional generation",
    "other": "Other measures",
    "cost": "Cost",
}

_METRICS = {
    "answer_distance_median": MetricLook("Distance of answers, median", "answers", log=True),
    "answer_distance_p95": MetricLook("Distance of answers, 95 %", "answers", log=True),
    "sample_distance_median": MetricLook("Distance of samples, median", "answers", log=True),
    "sample_distance_p95": MetricLook("Distance of samples, 95 %", "answers", log=True),
    "answer_distance_median_in_thickness": MetricLook("Distance of answers in ε, median", "answers", log=True),
    "answer_distance_p95_in_thickness": MetricLook("Distance of answers in ε, 95 %", "answers", log=True),
    "sample_distance_median_in_thickness": MetricLook("Distance of samples in ε, median", "answers", log=True),
    "sample_distance_p95_in_thickness": MetricLook("Distance of samples in ε, 95 %", "answers", log=True),
    "decoded_distance_max": MetricLook("Distance of decoded points, largest", "answers", log=True),
    "decoded_coverage": MetricLook("Answers with a decoded point nearby", "answers"),
    "error_rate": MetricLook("Wrong answers", "decisions"),
    "hamming_distance": MetricLook("Wrong symbols", "decisions"),
    "excess_error": MetricLook("Lost against the Bayes answer", "decisions"),
    "expected_calibration_error": MetricLook("Calibration error", "decisions"),
    "likelihood_gap": MetricLook("Likelihood gap to the truth", "density"),
    "gibbs_gap": MetricLook("Gibbs density's gap to the truth", "density"),
    "log_score": MetricLook("Log score", "density"),
    "tube_mass": MetricLook("Samples inside the tube", "density"),
    "sublevel_precision": MetricLook("Precision of the sublevel set", "density"),
    "sublevel_coverage": MetricLook("Coverage of the sublevel set", "density"),
    "angle_kuiper": MetricLook("Kuiper distance of angles", "density"),
    "angle_ks": MetricLook("KS distance of angles", "density"),
    "curvature_p95": MetricLook("Raw curvature", "sharpness", log=True),
    "gradient_norm_p95": MetricLook("Raw gradient norm", "sharpness", log=True),
    "sharpness_curvature": MetricLook("Scale-free curvature", "sharpness", log=True),
    "sharpness_gradient": MetricLook("Scale-free gradient norm", "sharpness", log=True),
    "training_gradient_max": MetricLook("Largest gradient in training", "sharpness", log=True),
    "training_gradient_max_scaled": MetricLook("Largest gradient in training times σ²", "sharpness", log=True),
    "training_gradient_late": MetricLook("Largest gradient in late training", "sharpness", log=True),
    "training_gradient_late_scaled": MetricLook("Largest gradient in late training times σ²", "sharpness", log=True),
    "learned_thickness": MetricLook("Learned thickness", "sharpness", log=True),
    "weight_norm": MetricLook("Weight norm", "sharpness", log=True),
    "descent_success_line_search": MetricLook("Success, line search", "descent"),
    "descent_success_fixed": MetricLook("Success, fixed step", "descent"),
    "descent_success_scaled": MetricLook("Success, step scaled by ε", "descent"),
    "descent_steps_line_search": MetricLook("Steps, line search", "descent"),
    "descent_steps_fixed": MetricLook("Steps, fixed step", "descent"),
    "descent_steps_scaled": MetricLook("Steps, step scaled by ε", "descent"),
    "energy_score": MetricLook("Energy score", "digits"),
    "precision": MetricLook("Precision", "digits"),
    "recall": MetricLook("Recall", "digits"),
    "consistency": MetricLook("Consistency with x", "digits"),
    "singletons": MetricLook("Singletons left out", "digits"),
    "multiply_adds": MetricLook("Multiply-adds", "cost", log=True),
    "energy_evaluations": MetricLook("Energy evaluations", "cost", log=True),
    "seconds": MetricLook("Seconds", "cost", log=True),
}

_NAMES = ("Gibbs", "Kuiper", "Hamming")


def metric_look(name: str) -> MetricLook:
    """How a metric is shown; one that is not known is shown under its own name. `metric@step` names its step."""
    stem, _, step = name.partition("@")
    look = _METRICS.get(stem, MetricLook(stem.replace("_", " "), "other"))
    if not step:
        return look
    label = (
        look.label.replace("step scaled by ε", f"step {step} (ε/ε₀)²")
        if stem.endswith("_scaled")
        else f"{look.label} {step}"
    )
    return MetricLook(label, look.group, look.log)


def in_words(name: str) -> str:
    """A metric's label inside a sentence: its first letter small, but for an abbreviation or a name."""
    label = metric_look(name).label
    first = label.split(" ", 1)[0]
    return label if first.isupper() or first.split("'")[0] in _NAMES else label[:1].lower() + label[1:]


def quantity(kind: str, metric: str) -> str:
    """What a criterion of a kind is about: `ratio of distance of answers, median`; a value is the metric itself."""
    of = {"slope": "slope in ln ε of ", "value": "", "difference": "difference in ", "ratio": "ratio of "}
    return of[kind] + in_words(metric)


def in_order(names: Iterable[str]) -> list[str]:
    """Metrics in the order of this module, steps ascending, unknown ones last."""
    order = list(_METRICS)

    def place(name: str) -> tuple[int, float, str]:
        stem, _, step = name.partition("@")
        return (order.index(stem) if stem in order else len(order), float(step or 0), name)

    return sorted(names, key=place)


def summarise(values: ArrayLike, name: str) -> Estimate:
    """The interval over seeds that is shown for a metric: geometric where the metric is positive and spans decades."""
    if metric_look(name).log:
        estimate = geometric_estimate(values)
        if math.isfinite(estimate.value):
            return estimate
    return mean_estimate(values)


def minus(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−")


def plain(value: float, digits: int = 3) -> str:
    """A number in few digits: 1.23, 0.0123, 1.2×10⁵."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if -4 <= exponent < 5:
        return minus(f"{value:.{max(0, digits - 1 - exponent)}f}")
    mantissa = f"{value / 10**exponent:.{digits - 1}f}".rstrip("0").rstrip(".")
    return minus(mantissa) + "×10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def places(half_width: float) -> int:
    """Decimals that show two significant digits of an uncertainty."""
    return max(0, 1 - math.floor(math.log10(half_width))) if half_width > 0 else 3


def interval(low: float, high: float) -> str:
    """`[low, high]` with as many decimals as its width warrants; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    if max(abs(low), abs(high)) >= 1e4 or 0 < max(abs(low), abs(high)) < 1e-3:
        return f"[{plain(low)}, {plain(high)}]"
    decimals = min(places((high - low) / 2), 4)
    return minus(f"[{low:.{decimals}f}, {high:.{decimals}f}]")


def with_interval(value: float, low: float, high: float) -> str:
    """`value [low, high]` in matching decimals."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return plain(value)
    if max(abs(low), abs(high)) >= 1e4 or 0 < max(abs(low), abs(high)) < 1e-3:
        return f"{plain(value)} {interval(low, high)}"
    decimals = min(places((high - low) / 2), 4)
    return f"{minus(f'{value:.{decimals}f}')} {interval(low, high)}"


def p_value(p: float) -> str:
    """A p-value as it is printed."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
