"""Every metric by name: how it is called and shown, in which direction it is better, and one line of what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.errors import unknown

#: `exact`: the nearer to the value of the exact model, the better; `none`: a cost or a description.
Better = Literal["lower", "higher", "exact", "none"]
#: `log`: positive and spanning decades, so summarised by the geometric mean; `share`: between 0 and 1.
Scale = Literal["linear", "log", "share"]
Group = Literal["answers", "density", "sharpness", "descent", "decisions", "digits", "cost", "other"]
#: What a value on rows of a user's own takes: these `alone`, of a task `without x`, a `manifold` too; or there is none.
OnRows = Literal["alone", "without x", "manifold", "no"]


@dataclass(frozen=True)
class Metric:
    """All that is said of a metric anywhere but its formula, which `docs/metrics.md` has.

    `label` names it in tables and figures, `group` the figure that it stands in, `references` keys of references.bib,
    `on_rows` what a value of it on data of a user's own takes, of whose law nothing is known.
    """

    name: str
    label: str
    unit: str
    group: Group
    scale: Scale
    better: Better
    summary: str
    references: tuple[str, ...] = ()
    on_rows: OnRows = "no"


#: In the order in which reports show them.
_ALL = (
    Metric("answer_distance_median", "Distance of answers, median", "data units",
           "answers", "log", "exact", "distance of answers to the answer set, median", on_rows="manifold"),
    Metric("answer_distance_p95", "Distance of answers, 95 %", "data units",
           "answers", "log", "exact", "distance of answers to the answer set, 95 % quantile", on_rows="manifold"),
    Metric("sample_distance_median", "Distance of samples, median", "data units",
           "answers", "log", "exact", "distance of samples to the answer set, median", on_rows="manifold"),
    Metric("sample_distance_p95", "Distance of samples, 95 %", "data units",
           "answers", "log", "exact", "distance of samples to the answer set, 95 % quantile", on_rows="manifold"),
    Metric("best_sample_distance_median", "Distance of best samples, median", "data units",
           "answers", "log", "exact", "distance of the sample of least energy among a few to the answer set, median",
           on_rows="manifold"),
    Metric("best_sample_distance_p95", "Distance of best samples, 95 %", "data units",
           "answers", "log", "exact", "distance of the sample of least energy to the answer set, 95 % quantile",
           on_rows="manifold"),
    Metric("answer_distance_median_in_thickness", "Distance of answers in ε, median", "thickness",
           "answers", "log", "exact", "the median distance of answers over ε"),
    Metric("answer_distance_p95_in_thickness", "Distance of answers in ε, 95 %", "thickness",
           "answers", "log", "exact", "the 95 % quantile of answer distances over ε"),
    Metric("sample_distance_median_in_thickness", "Distance of samples in ε, median", "thickness",
           "answers", "log", "exact", "the median distance of samples over ε"),
    Metric("sample_distance_p95_in_thickness", "Distance of samples in ε, 95 %", "thickness",
           "answers", "log", "exact", "the 95 % quantile of sample distances over ε"),
    Metric("best_sample_distance_median_in_thickness", "Distance of best samples in ε, median", "thickness",
           "answers", "log", "exact", "the median distance of best samples over ε"),
    Metric("best_sample_distance_p95_in_thickness", "Distance of best samples in ε, 95 %", "thickness",
           "answers", "log", "exact", "the 95 % quantile of best samples' distances over ε"),
    Metric("decoded_distance_max", "Distance of decoded points, largest", "data units",
           "answers", "log", "lower", "distance to the answer set of what a latent decodes to, largest"),
    Metric("decoded_precision", "Decoded points near an answer", "share",
           "answers", "share", "higher", "points that a latent decodes to that are near an answer"),
    Metric("decoded_coverage", "Answers with a decoded point nearby", "share",
           "answers", "share", "higher", "answers with something near that a latent decodes to"),
    Metric("decoded_agreement", "Decoded points and answers near each other", "share",
           "answers", "share", "higher", "the smaller share: a latent decodes to all answers and to them only"),
    Metric("error_rate", "Wrong answers", "share",
           "decisions", "share", "lower", "discrete answers that are wrong", on_rows="alone"),
    Metric("hamming_distance", "Wrong symbols", "share",
           "decisions", "share", "exact", "symbols of discrete answers that are wrong", on_rows="alone"),
    Metric("hamming_distance_long", "Wrong symbols on strips thrice as long", "share",
           "decisions", "share", "exact", "symbols that are wrong on strips three times as long as those of training"),
    Metric("wrong_answers", "Answers that are not right", "share",
           "decisions", "share", "lower", "discrete answers that are none of the right ones"),
    Metric("wrong_draws", "Draws that are not right", "share",
           "decisions", "share", "exact", "draws of the model that are none of the right answers"),
    Metric("excess_error", "Probability lost against the Bayes answer", "share",
           "decisions", "share", "lower", "posterior probability that the answers lose against the Bayes answer"),
    Metric("expected_calibration_error", "Calibration error", "share",
           "decisions", "share", "exact", "gap of confidence and accuracy, over 15 bins",
           ("guo2017calibration",), on_rows="alone"),
    Metric("minimised_answers", "Answers that minimising changes", "share",
           "decisions", "share", "none", "answers that are others where a segmentation is minimised, not summed"),
    Metric("minimised_excess_error", "Errors that minimising adds", "1",
           "decisions", "linear", "none", "wrong answers with the segmentation minimised less those with it summed"),
    Metric("regret", "Regret of decisions", "cost",
           "decisions", "linear", "lower", "expected cost of the model's decisions above that of the Bayes decisions",
           ("elmachtoub2023estimate",)),
    Metric("regret_switched", "Regret once costs are switched", "cost",
           "decisions", "linear", "lower", "regret where, after training, either mistake costs what the other did",
           ("elmachtoub2023estimate",)),
    Metric("likelihood_gap", "Likelihood gap to the truth", "nats",
           "density", "linear", "lower", "mean of log p - log q over held-out data"),
    Metric("gap_per_symbol", "Gibbs density's gap for each symbol", "nats",
           "density", "linear", "lower", "gap to the truth of exp(-beta E) / Z over strings, over their length"),
    Metric("gibbs_gap", "Gibbs density's gap to the truth", "nats",
           "density", "linear", "lower", "mean of log p - log q, q = exp(-beta E) / Z at a fitted beta",
           ("guo2017calibration",)),
    Metric("gibbs_gap_unit_beta", "Gibbs density's gap at β = 1", "nats",
           "density", "linear", "lower", "mean of log p - log q, q = exp(-E) / Z, which a density is itself"),
    Metric("gibbs_gap_input_beta", "Gibbs density's gap at the best β of each x", "nats",
           "density", "linear", "lower", "the least divergence from the truth at each x that any beta(x) could have"),
    Metric("learned_share", "Share of the nats learned", "1",
           "density", "linear", "higher", "of the nats from a uniform law to the truth, those that the density has"),
    Metric("excess", "Gap beyond the price of smoothing", "nats",
           "density", "linear", "lower", "gap at a fitted beta less what the method's own smoothing costs by law"),
    Metric("excess_unit_beta", "Gap beyond the price of smoothing, β = 1", "nats",
           "density", "linear", "lower", "gap at beta = 1 less what the method's own smoothing costs by law"),
    Metric("log_score", "Log score", "nats",
           "density", "linear", "higher", "mean log-density of held-out data", ("good1952rational",), on_rows="alone"),
    Metric("gibbs_log_score", "Gibbs density's log score", "nats",
           "density", "linear", "higher", "mean of log q, q = exp(-beta E) / Z at a fitted beta, of a density too",
           ("good1952rational",), on_rows="alone"),
    Metric("gibbs_log_score_unit_beta", "Gibbs density's log score at β = 1", "nats",
           "density", "linear", "higher", "mean of log q, q = exp(-E) / Z, which a density is itself",
           ("good1952rational",), on_rows="alone"),
    Metric("squared_error", "Squared error", "task units^2",
           "density", "log", "lower", "mean squared distance of a regression's answer from held-out ones",
           on_rows="alone"),
    Metric("tube_mass", "Samples inside the tube", "share",
           "density", "share", "exact", "samples within the truth's 99 % tube"),
    Metric("sublevel_precision", "Precision of the sublevel set", "share",
           "density", "share", "higher", "volume of {F <= tau} that lies in the truth's tube"),
    Metric("sublevel_coverage", "Coverage of the sublevel set", "share",
           "density", "share", "exact", "noise-free answers that lie in {F <= tau}"),
    Metric("stein_discrepancy_samples", "Stein discrepancy of samples", "1",
           "density", "linear", "lower", "squared kernel Stein discrepancy of samples from the exact score",
           ("liu2016stein", "chwialkowski2016kernel", "gorham2017measuring")),
    Metric("stein_discrepancy_data", "Stein discrepancy of data", "1",
           "density", "linear", "lower", "squared kernel Stein discrepancy of held-out answers from the model's score",
           ("liu2016stein", "chwialkowski2016kernel", "gorham2017measuring"), on_rows="without x"),
    Metric("two_sample_accuracy", "Samples told from the truth", "share",
           "density", "share", "exact", "accuracy of nearest neighbours that tell samples from draws of the truth",
           ("lopezpaz2017revisiting",), on_rows="without x"),
    Metric("angle_kuiper", "Kuiper distance of angles", "1",
           "density", "linear", "lower", "Kuiper distance of the angles of samples on the manifold from the truth",
           ("kuiper1960tests",)),
    Metric("angle_ks", "KS distance of angles", "1",
           "density", "linear", "lower", "Kolmogorov-Smirnov distance of the angles of samples, cut at ±π"),
    Metric("branch_kl", "KL of branch weights", "nats",
           "density", "linear", "lower", "KL from the weights of the answer set's branches to those of samples",
           ("wenliang2020blindness", "zhang2022healing")),
    Metric("branch_kl_density", "KL of branch weights, by density", "nats",
           "density", "linear", "lower", "KL from the weights of branches to those under exp(-beta E) / Z, beta fitted",
           ("wenliang2020blindness", "zhang2022healing")),
    Metric("branch_kl_density_unit_beta", "KL of branch weights, by density at β = 1", "nats",
           "density", "linear", "lower", "KL from the weights of branches to those under exp(-E) / Z",
           ("wenliang2020blindness", "zhang2022healing")),
    Metric("curvature_p95", "Raw curvature", "1/unit^2",
           "sharpness", "log", "exact", "95 % quantile of the largest curvature of F at the data", on_rows="alone"),
    Metric("gradient_norm_p95", "Raw gradient norm", "1/unit",
           "sharpness", "log", "exact", "95 % quantile of |∇F| at held-out data, normalised models", on_rows="alone"),
    Metric("resolution", "Resolution", "data units",
           "sharpness", "log", "exact", "width tau of the blur in the valley: its curvature in nats is 1/(ε² + tau²)"),
    Metric("sharpness_curvature", "Scale-free curvature", "1/unit^2",
           "sharpness", "log", "none", "95 % quantile of the largest curvature over the same depth", on_rows="alone"),
    Metric("sharpness_gradient", "Scale-free gradient norm", "1/unit",
           "sharpness", "log", "none", "95 % quantile of the gradient norm over the depth of the energy",
           on_rows="alone"),
    Metric("dimension_error_score", "Error of the dimension, by score", "1",
           "sharpness", "linear", "exact", "distance of the dimension that the density's fall with noise tells from d",
           ("kamkari2024geometric",)),
    Metric("dimension_error_curvature", "Error of the dimension, by curvature", "1",
           "sharpness", "linear", "lower", "distance of the number of directions that hardly curve from d",
           ("stanczuk2024diffusion",)),
    Metric("training_gradient_max", "Largest gradient in training", "1",
           "sharpness", "log", "none", "largest norm of the loss's gradient in training", on_rows="alone"),
    Metric("training_gradient_max_scaled", "Largest gradient in training times σ²", "1",
           "sharpness", "log", "none", "largest norm of the gradient times the square of the thickness learned so far",
           on_rows="alone"),
    Metric("training_gradient_late", "Largest gradient in late training", "1",
           "sharpness", "log", "none", "largest norm of the loss's gradient in the last half of training",
           on_rows="alone"),
    Metric("training_gradient_late_scaled", "Largest gradient in late training times σ²", "1",
           "sharpness", "log", "none", "that of the last half times the square of the thickness learned so far",
           on_rows="alone"),
    Metric("learned_thickness", "Learned thickness", "task units",
           "sharpness", "log", "exact", "thickness that the model learned", on_rows="alone"),
    Metric("weight_norm", "Weight norm", "1",
           "sharpness", "log", "none", "Euclidean norm of all weights", on_rows="alone"),
    Metric("descent_success_line_search", "Success by line search", "share",
           "descent", "share", "higher", "starts that end near an answer, by line search", on_rows="manifold"),
    Metric("answer_success", "Success of the best start", "share",
           "descent", "share", "higher", "inputs whose end point of least energy is near an answer",
           on_rows="manifold"),
    Metric("best_sample_success", "Success of the best sample", "share",
           "descent", "share", "higher", "draws of least energy among a few that are near an answer",
           on_rows="manifold"),
    Metric("spurious_ends", "Spurious ends", "share",
           "descent", "share", "lower", "starts that converge, but not near an answer", on_rows="manifold"),
    Metric("chance_success", "Success by chance", "share",
           "descent", "share", "none", "uniform points that are near an answer", on_rows="manifold"),
    Metric("critical_step", "Critical step", "unit^2",
           "descent", "log", "none", "largest fixed step, F in nats, by which nine starts of ten end near an answer",
           on_rows="manifold"),
    Metric("episode_success", "Success of episodes", "share",
           "descent", "share", "higher", "episodes in which the model's answers, taken as actions, reach the goals",
           ("florence2021implicit",)),
    Metric("energy_score", "Energy score", "task units",
           "digits", "linear", "lower", "energy score of samples against held-out answers that share x",
           ("gneiting2007strictly",), on_rows="alone"),
    Metric("precision", "Precision", "share",
           "digits", "share", "higher", "samples as near a held-out answer as that is to its neighbour",
           ("kynkaanniemi2019improved",), on_rows="alone"),
    Metric("recall", "Recall", "share",
           "digits", "share", "higher", "held-out answers with a sample as near as their neighbour",
           ("naeem2020reliable",), on_rows="alone"),
    Metric("consistency", "Consistency with x", "share",
           "digits", "share", "higher", "samples that reduce to their x"),
    Metric("singletons", "Singletons left out", "count",
           "digits", "linear", "none", "inputs left out because one held-out answer alone has them", on_rows="alone"),
    Metric("multiply_adds", "Multiply-adds", "count",
           "cost", "log", "none", "multiply-adds spent in training", on_rows="alone"),
    Metric("energy_evaluations", "Energy evaluations", "count",
           "cost", "log", "none", "energy evaluations spent in training", on_rows="alone"),
    Metric("answer_numbers", "Numbers computed for an answer", "count",
           "cost", "log", "none", "numbers that tensor operations compute while one discrete answer is found",
           on_rows="alone"),
    Metric("seconds", "Seconds", "s",
           "cost", "log", "none", "wall time of training, shared over the batch", on_rows="alone"),
    Metric("elbo_gap", "ELBO gap to the likelihood", "nats",
           "other", "linear", "lower", "mean of log q - ELBO over held-out data, of models with a guide",
           on_rows="alone"),
    Metric("latent_coefficient", "Coefficient of ln β at data", "1",
           "other", "linear", "exact", "growth in ln β of β (F_β - F_inf) over a latent, at data and β = 1000",
           on_rows="alone"),
    Metric("latent_coefficient_cusp", "Coefficient of ln β at the cusps", "1",
           "other", "linear", "exact", "growth in ln β of β (F_β - F_inf) at the cusps, at β = 1000"),
    Metric("latent_coefficient_cusp_cold", "Coefficient of ln β at the cusps, β = 10000", "1",
           "other", "linear", "exact", "growth in ln β of β (F_β - F_inf) at the cusps, at β = 10000"),
    Metric("latent_averaged_hot", "Way from minimum to average, β = .01", "1",
           "other", "linear", "exact", "(F_β - F_inf) / (mean of E - F_inf) over a latent, at held-out data",
           on_rows="alone"),
    Metric("latent_averaged_cold", "Way from minimum to average, β = 10000", "1",
           "other", "linear", "exact", "(F_β - F_inf) / (mean of E - F_inf) at β = 10000", on_rows="alone"),
    Metric("posterior_ess_min", "Effective sample size, smallest", "draws",
           "other", "linear", "higher", "smallest bulk effective sample size of functions along chains of weights",
           ("vehtari2021rank",), on_rows="alone"),
    Metric("posterior_r_hat_max", "R-hat of chains, largest", "1",
           "other", "linear", "lower", "largest R-hat of functions followed along chains of weights",
           ("vehtari2021rank",), on_rows="alone"),
)  # fmt: skip

#: Metrics by name.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def describe(name: str) -> Metric:
    """The metric of that name.

    Raises:
        LookupError: an unknown name.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]
