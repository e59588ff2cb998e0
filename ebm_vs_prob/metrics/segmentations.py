"""What minimising a latent segmentation changes, where summing it out is the other way to answer."""

from __future__ import annotations

import torch

from ..core.errors import NotMeasured
from ..core.lattices import SegmentLattice
from ..core.tensors import tensor_of
from ..models.graph_model import GraphModel
from .measurement import Group, Measurement, mean, named, share
from .observation import Observation, as_numpy


def minimised(observed: Observation) -> dict[str, Measurement]:
    """Answers that are others where the segmentation is minimised and not summed out, and what more of them are wrong.

    The string of the best segmentation, by Viterbi's algorithm, beside that of least energy with the segmentations
    summed at the model's own beta, by search.
    """
    model = observed.model
    if not isinstance(model, GraphModel):
        raise NotMeasured(f"{model.method.name}: it sums no segmentations")
    with torch.no_grad():
        lattice = model.graph(observed.test[0])
        if not isinstance(lattice, SegmentLattice):
            raise NotMeasured(f"{model.method.name}: it sums no segmentations")
        one = lattice.at(torch.inf).min_sum()[0]
        other = lattice.at(tensor_of(model.beta).to(lattice.scores).unsqueeze(1)).min_sum()[0]
    truth = observed.test[1].to(one.device)
    wrong = [(found != truth).any(-1).double() for found in (one, other)]
    return {
        "minimised_answers": share(as_numpy((one != other).any(-1))),
        "minimised_excess_error": mean(as_numpy(wrong[0] - wrong[1])),
    }


GROUPS = (Group(named("minimised_answers", "minimised_excess_error"), minimised),)
