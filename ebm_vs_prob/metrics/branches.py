"""How the mass is shared among the branches of an answer set: what a score does not see (Zhang et al. 2022)."""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..gibbs.normalizers.quadrature import Quadrature
from ..models.model import MAX_QUADRATURE_DIM
from ..tasks.reference import HasBranches
from .measurement import Group, Measurement, mean, named, noted
from .observation import Observation, as_numpy

#: Added to the count of samples of each branch: the prior of Krichevsky and Trofimov (Jeffreys' of a multinomial law).
PSEUDO_COUNT = 0.5
#: Weight of a branch under a density below which it counts as this.
LEAST_WEIGHT = 1e-12


def branch_kl(observed: Observation) -> dict[str, Measurement]:
    """KL(true weights || weights of the model's samples), each sample counted with the branch that is nearest.

    Samples are pooled over the inputs, as the true weights are averaged over them, since a single input has few. Half a
    sample is added to each branch, so that an empty one of weight p costs p ln(p (2n + K)) at most, and no infinity. Of
    n samples of the truth the value is about (K - 1) / (2n). Its standard error is that of the shares to first order
    (less (K - 1) / n, which right shares have by chance) and, where that vanishes, sqrt((K - 1) / 2) / n, that of the
    chi-square law. It is too large where a branch is nearly empty. NaN where a sample is not finite.
    """
    references = _references(observed)
    samples = observed.samples.detach().cpu().double()
    value, error = (np.full(observed.replicates, np.nan) for _ in range(2))
    n = samples.shape[1] * samples.shape[2]
    for r, reference in enumerate(references):
        if not bool(samples[r].isfinite().all()):
            continue
        truth = as_numpy(reference.branch_weights(observed.distinct_inputs[r])).mean(axis=0)
        count = np.bincount(_branches(observed, r, samples[r]).flatten().numpy(), minlength=len(truth))
        found = (count + PSEUDO_COUNT) / (n + PSEUDO_COUNT * len(truth))
        value[r] = _divergence(truth, found)
        degrees = len(truth) - 1
        first_order = max(float((truth**2 / found).sum()) - 1.0 - degrees / n, 0.0) / n
        error[r] = np.sqrt(first_order + degrees / (2 * n**2))
    note = "samples that are not finite" if np.isnan(value).any() else ""
    counted = np.where(np.isnan(value), 0, n)
    return noted({"branch_kl": Measurement(value, error, counted, note)}, observed.samples_note)


def branch_kl_density(observed: Observation) -> dict[str, Measurement]:
    """KL(true weights || weights under the model's density) at each input, and of these the mean.

    The density is exp(-beta E) / Z, at beta = 1 and at the fitted one, of a density and of an energy alike, summed over
    the nodes of one quadrature that are nearest to each branch; up to two output dimensions. The nodes are refined for
    the sharper of the two densities, whose cells hold the other as well. A weight below 1e-12 counts as that.
    """
    references = _references(observed)
    model = observed.model
    if observed.box.dim > MAX_QUADRATURE_DIM:
        raise NotMeasured(f"quadrature serves {MAX_QUADRATURE_DIM} output dimensions at most")
    observed.check_gibbs()
    x, fitted = observed.distinct_inputs, observed.beta
    sharper = np.fmax(fitted, 1.0)
    with torch.no_grad():
        cells = Quadrature().cells(model.gibbs(x, beta=torch.from_numpy(sharper)).target)
        node = cells.nodes().cpu()
        log_density, log_weights = cells.log_density.flatten(1).cpu(), cells.log_weights().cpu()
    places = node.shape[0] // observed.replicates  # one where the density of one empty x serves all
    node, log_density, log_weights = (
        part.reshape(observed.replicates, places, *part.shape[1:]) for part in (node, log_density, log_weights)
    )
    share = {name: torch.from_numpy(beta / sharper) for name, beta in (("", fitted), ("_unit_beta", 1.0))}
    rows: dict[str, list[list[float]]] = {name: [] for name in share}
    for r, reference in enumerate(references):
        truth, nearest = reference.branch_weights(x[r]), _branches(observed, r, node[r])
        for name, of in share.items():
            weight = (of[r] * log_density[r] + log_weights[r]).softmax(-1)
            found = torch.zeros(len(truth), truth.shape[1], dtype=torch.float64, device="cpu").scatter_add(
                1, nearest, weight.expand(len(truth), -1)
            )
            rows[name].append([_divergence(p, q) for p, q in zip(as_numpy(truth), as_numpy(found), strict=True)])
    measured = {f"branch_kl_density{name}": mean(np.array(values)) for name, values in rows.items()}
    return noted(measured, observed.partition_note)


def _references(observed: Observation) -> list[HasBranches]:
    """The references of all replicates.

    Raises:
        NotMeasured: the task's answers have no branches.
    """
    found = [task.reference for task in observed.tasks if isinstance(task.reference, HasBranches)]
    if len(found) < observed.replicates:
        raise NotMeasured(f"{observed.tasks[0].name}: its answers have no branches")
    return found


def _branches(observed: Observation, r: int, y: torch.Tensor) -> torch.Tensor:
    """The branch nearest to each y (k, m, dy) at the distinct inputs of replicate r: (k, m) int64."""
    repeated = observed.distinct_inputs[r].unsqueeze(1).expand(-1, y.shape[1], -1)
    nearest: torch.Tensor = observed.tasks[r].reference.branch(repeated.flatten(0, 1), y.flatten(0, 1))
    return nearest.reshape(y.shape[:-1])


def _divergence(truth: np.ndarray, found: np.ndarray) -> float:
    """KL(truth || found) in nats of weights (K,)."""
    held = truth > 0
    ratio = truth[held] / np.maximum(found[held], LEAST_WEIGHT)
    return float(truth[held] @ np.log(ratio))


GROUPS = (
    Group(named("branch_kl"), branch_kl),
    Group(named("branch_kl_density", "branch_kl_density_unit_beta"), branch_kl_density),
)
