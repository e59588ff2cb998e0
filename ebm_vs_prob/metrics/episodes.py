"""Success of whole episodes in which a model's answers are the actions: errors add up, and lead where no data were."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.seeding import stream
from ..descent.answers import Search
from ..tasks.point_mass import HasEpisodes
from .measurement import Group, Measurement, named, share
from .observation import Observation

#: Episodes of each replicate, each on the stream of its seed.
EPISODES = 50


def episode_success(observed: Observation) -> dict[str, Measurement]:
    """Share of episodes of a task that has them in which acting by the model's answers reaches the goals.

    Each action is the answer of least energy that the model's own inference finds from `starts` starts. As an episode
    is up to 100 inferences one after the other, this is measured where an evaluation names it and nowhere else.
    """
    model, tasks, e = observed.model, observed.tasks, observed.evaluation
    if not all(isinstance(task, HasEpisodes) for task in tasks):
        raise NotMeasured(f"{tasks[0].name}: there are no episodes")
    if "episode_success" not in e.metrics:
        raise NotMeasured("episodes take long: name episode_success in the evaluation's metrics")
    if len({task.two_modes for task in tasks}) > 1:
        raise NotMeasured("replicates of several tasks, which do not act together")
    search = Search(max_steps=e.max_steps, tolerance=e.tolerance)

    def act(x: torch.Tensor) -> torch.Tensor:
        found = model.infer(x, e.starts, e.seed, search)
        best = found.energy.nan_to_num(np.inf).argmin(-1)[..., None, None]
        actions = found.y.gather(2, best.expand(-1, -1, 1, found.y.shape[-1])).squeeze(2)
        # A replicate whose training failed acts too, as the others do not wait for it; it has no success.
        return actions.nan_to_num(0.0)

    task: Any = tasks[0]
    seeds = [stream(e.seed, "episodes", seed) for seed in model.seeds]
    reached = task.successes(act, EPISODES, seeds).cpu().numpy()
    failed = np.array([0.0 if status.ok else np.nan for status in model.status])
    return {"episode_success": share(reached + failed[:, None])}


GROUPS = (Group(named("episode_success"), episode_success),)
