"""Every metric by name: unit, the direction in which it is better, and one line of what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.errors import unknown

#: `exact`: the nearer to the value of the exact model, the better; `none`: a cost or a description.
Better = Literal["lower", "higher", "exact", "none"]


@dataclass(frozen=True)
class Metric:
    """A metric's name, unit, better direction and summary. Definitions and sources: `docs/metrics.md`."""

    name: str
    unit: str
    better: Better
    summary: str


_ALL = (
    Metric("log_score", "nats", "higher", "mean log-density of held-out data"),
    Metric("likelihood_gap", "nats", "lower", "mean of log p - log q over held-out data"),
    Metric("gibbs_gap", "nats", "lower", "the same of exp(-beta E) / Z where the model is an unnormalised energy"),
    Metric("error_rate", "share", "lower", "discrete answers that are wrong"),
    Metric("hamming_distance", "share", "lower", "symbols of discrete answers that are wrong"),
    Metric("excess_error", "share", "lower", "posterior probability that the answers lose against the Bayes answer"),
    Metric("expected_calibration_error", "share", "exact", "gap of confidence and accuracy, over 15 bins"),
    Metric("answer_distance_median", "data units", "lower", "distance of answers to the answer set, median"),
    Metric("answer_distance_p95", "data units", "lower", "distance of answers to the answer set, 95 % quantile"),
    Metric("answer_distance_median_in_thickness", "thickness", "lower", "the median distance of answers over ε"),
    Metric("answer_distance_p95_in_thickness", "thickness", "lower", "the 95 % quantile of answer distances over ε"),
    Metric("sample_distance_median", "data units", "exact", "distance of samples to the answer set, median"),
    Metric("sample_distance_p95", "data units", "exact", "distance of samples to the answer set, 95 % quantile"),
    Metric("sample_distance_median_in_thickness", "thickness", "exact", "the median distance of samples over ε"),
    Metric("sample_distance_p95_in_thickness", "thickness", "exact", "the 95 % quantile of sample distances over ε"),
    Metric(
        "decoded_distance_max", "data units", "lower", "distance to the answer set of what a latent decodes to, largest"
    ),
    Metric("decoded_coverage", "share", "higher", "answers with something near that a latent decodes to"),
    Metric("elbo_gap", "nats", "lower", "mean of log q - ELBO over held-out data, of models with a guide"),
    Metric("tube_mass", "share", "exact", "samples within the truth's 99 % tube"),
    Metric("sublevel_precision", "share", "higher", "volume of {F <= tau} that lies in the truth's tube"),
    Metric("sublevel_coverage", "share", "higher", "noise-free answers that lie in {F <= tau}"),
    Metric("angle_kuiper", "1", "lower", "Kuiper distance of the angles of samples on the manifold from the truth"),
    Metric("angle_ks", "1", "lower", "Kolmogorov-Smirnov distance of the same, cut at ±π"),
    Metric("descent_success_line_search", "share", "higher", "starts that end near an answer, by line search"),
    Metric("descent_steps_line_search", "steps", "lower", "steps that line search takes, mean"),
    Metric("descent_success_fixed", "share", "higher", "starts that end near an answer, by a fixed step"),
    Metric("descent_steps_fixed", "steps", "lower", "steps that a fixed step takes, mean"),
    Metric("descent_success_scaled", "share", "higher", "starts that end near an answer, by a step scaled by ε²"),
    Metric("descent_steps_scaled", "steps", "lower", "steps that a step scaled by ε² takes, mean"),
    Metric("sharpness_gradient", "1/unit", "none", "95 % quantile of the gradient norm over the depth of the energy"),
    Metric("sharpness_curvature", "1/unit^2", "none", "95 % quantile of the largest curvature over the same depth"),
    Metric("gradient_norm_p95", "1/unit", "exact", "95 % quantile of |∇F| at held-out data, normalised models"),
    Metric("curvature_p95", "1/unit^2", "exact", "95 % quantile of the largest curvature of F there"),
    Metric("training_gradient_max", "1", "none", "largest norm of the loss's gradient in training"),
    Metric("training_gradient_max_scaled", "1", "none", "the same times the square of the thickness learned so far"),
    Metric("training_gradient_late", "1", "none", "largest norm of that gradient in the last half of training"),
    Metric("training_gradient_late_scaled", "1", "none", "the same times the square of the thickness learned so far"),
    Metric("learned_thickness", "data units", "exact", "thickness that the model learned"),
    Metric("posterior_r_hat_max", "1", "lower", "largest R-hat of functions followed along chains of weights"),
    Metric("posterior_ess_min", "draws", "higher", "smallest bulk effective sample size of the same"),
    Metric("weight_norm", "1", "none", "Euclidean norm of all weights"),
    Metric("energy_evaluations", "count", "none", "energy evaluations spent in training"),
    Metric("multiply_adds", "count", "none", "multiply-adds spent in training"),
    Metric("seconds", "s", "none", "wall time of training, shared over the batch"),
    Metric("energy_score", "data units", "lower", "energy score of samples against held-out answers that share x"),
    Metric("precision", "share", "higher", "samples as near a held-out answer as that is to its neighbour"),
    Metric("recall", "share", "higher", "held-out answers with a sample as near as their neighbour"),
    Metric("consistency", "share", "higher", "samples that reduce to their x"),
    Metric("singletons", "count", "none", "inputs left out because one held-out answer alone has them"),
)

#: Metrics by name; those of a step grid without their `@step`.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def describe(name: str) -> Metric:
    """The metric of that name; `descent_success_fixed@0.1` is described by `descent_success_fixed`.

    Raises:
        LookupError: an unknown name.
    """
    stem = name.partition("@")[0]
    if stem not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[stem]
