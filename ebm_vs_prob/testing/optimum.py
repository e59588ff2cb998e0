"""The rule of a method's objective: training lowers the energy where data are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.spaces import Box, Discrete
from ..tasks.base import Task
from .rules import rule

if TYPE_CHECKING:
    import numpy as np

    from ..models.model import Model
    from ..tasks.base import Split
    from ..training.method import Method

STEPS = 150
#: Of discrete answers, whose energies are of factors and take longer to sum.
DISCRETE_STEPS = 60
#: How far from the middle of N(0, 1) data energies are compared with those in it, in standard deviations.
FAR = 2.5
#: Seeds that must all come out the wrong way round before a method without a declared optimum is refused: one whose
#: energies know nothing of the data, higher or lower in their middle by chance, is refused with probability 2^-7, .8 %,
#: and one that learns at all with less.
TRIES = 7


class StandardNormal(Task):
    """y is standard normal in one dimension, without x: the task on which methods declare their optimum."""

    name = "standard_normal"
    summary = "standard normal data"
    manifold_dim = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.x_space, self.y_space, self.z_space = Box((-1.0, 1.0), 0), Box((-8.0, 8.0), 1), None

    def _draw(self, n: int, rng: np.random.Generator, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        import numpy as np

        return np.zeros((n, 0)), rng.standard_normal((n, 1)), np.zeros((n, 0))


def check_direction(method: type[Method], task: Task, who: str) -> None:
    """After a short training on N(0, 1) data the energy is lower in their middle than `FAR` from it, where the method
    declares a `gaussian_optimum`; where answers are discrete, lower at data than at other answers.

    Methods that declare none are held to the first too, but for those that pull energies of data down and none up, and
    are refused where none of `TRIES` trainings is so. Of a method whose objective has its sign turned each is the other
    way round, or runs away.
    """
    if method.principle in ("exact", "decision"):  # a decision's energy is its cost, and no answer's
        return
    normal = StandardNormal()
    applies, declared = method.why_not(normal) is None, method.gaussian_optimum is not None
    if applies and declared:
        model = _trained(method, normal, STEPS)
        gap, where = _gap_of_places(model), f"{FAR:g} from the middle of N(0, 1) data"
    elif isinstance(task.y_space, Discrete) and not _pulls_alone(method):
        model = _trained(method, task, DISCRETE_STEPS)
        gap, where = _gap_of_answers(model, task), "at other answers"
    elif applies and not _pulls_alone(method):
        _check_undeclared(method, normal, who)
        return
    else:
        return
    status = model.status[0]
    rule(status.ok, who, f"a training must stay finite: step {status.step}, {status.reason}")
    rule(gap > 0, who, f"training must lower the energy where data are, but {where} it is lower by {-gap:.3g}")


def _check_undeclared(method: type[Method], normal: Task, who: str) -> None:
    """The same of a method that declares no optimum: one training of several that comes out as it must is enough."""
    gaps = []
    for seed in range(TRIES):
        model = _trained(method, normal, STEPS, seed)
        if model.status[0].ok:
            gaps.append(_gap_of_places(model))
            if gaps[-1] > 0:
                return
    rule(bool(gaps), who, f"a training must stay finite: none of {TRIES} on N(0, 1) data is")
    rule(
        False,
        who,
        f"training must lower the energy where data are, but {FAR:g} from the middle of N(0, 1) data it is lower at "
        f"each of {len(gaps)} seeds, by {-max(gaps):.3g} or more",
    )


def _gap_of_places(model: Model) -> float:
    """Mean energy `FAR` from the middle of N(0, 1) data, on both sides, less that in the middle."""
    import torch

    places = torch.tensor([[-FAR], [0.0], [FAR]], dtype=torch.float64, device="cpu")
    energy = model.energy(places[:, :0], places)[0].double()
    return float((energy[0] + energy[2]) / 2 - energy[1])


def _pulls_alone(method: type[Method]) -> bool:
    """Whether its loss pulls energies of data down and none up, so that where others end is nobody's promise."""
    from ..ebm.objectives.margin import TUTORIAL_LOSSES

    loss = TUTORIAL_LOSSES.get(method.name)
    return loss is not None and loss.margin == "none"


def _gap_of_answers(model: Model, task: Task) -> float:
    """Mean energy of the test answers of other x less that of their own, over pairs that differ."""
    x, y = task.sample(128, seed=3, split="test")
    x, y = model.setting.placed(x, task.x_space), model.setting.placed(y, task.y_space)
    other = y.roll(1, 0)
    gaps = (model.energy(x, other) - model.energy(x, y))[0].double()
    differ = (other != y).reshape(len(y), -1).any(-1)
    return float(gaps[differ].mean())


def _trained(method: type[Method], task: Task, steps: int, seed: int = 0) -> Model:
    from ..core.budget import Budget
    from ..energies.mlp import Network
    from ..training.fitting import fit

    budget = Budget(steps=steps, batch_size=64, examples=512)
    return fit(method, task, seeds=[seed], budget=budget, network=Network(hidden=(16, 16)))
