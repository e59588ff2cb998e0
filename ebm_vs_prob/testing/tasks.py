"""The rules of a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.approximate import Approximate
from ..core.errors import NoExactReference
from ..core.spaces import Box, Discrete
from ..tasks.reference import HasBranches
from .cells import CELLS, DRAWS, check_density_of_draws, check_probability_of_draws, check_same_law
from .rules import check_declaration, every_answer, expect, global_generators_left_alone, rule, whole_integral

if TYPE_CHECKING:
    import torch

    from ..tasks.base import Task

#: Standard errors within which a Monte-Carlo mean must meet an exact value: 1 in 15,000 checks of a right task fails.
TOLERATED_STANDARD_ERRORS = 4.0
#: Of 64 y how many may lie outside the box, which holds the bulk of a heavy-tailed law and not all of it.
MOST_OUTSIDE = 4
#: Pairs of different x for which `reference.sample` is drawn once.
PAIRS = 2000


def check_task(task: Task | type[Task] | str, examples: int = 4000) -> None:
    """Check a task (an instance, or a class or registered name at its default options).

    Args:
        examples: pairs over which log-densities are averaged, fewer where each is dear.

    Rules:
        1. `name` is an identifier; `summary` is one line; `version` is an integer >= 1; the specification is JSON.
        2. `sample(n, seed, split)` gives (n, d) float64, or (n,) labels or (n, T) symbols int64, within the spaces, the
           same for the same seed, other data for another seed and, unless examples repeat, in another split, and leaves
           global generators alone.
        3. An unknown option is a `LookupError`; a negative thickness, n < 1 and an unknown split are `ValueError`s.
        4. On a manifold, data at one seed are linear in the thickness: y = m(u) + thickness * n.
        5. `reference.answers` are (n, m, ...) of the dtype of y at distance 0; draws of `reference.sample` lie as far
           from them as fresh data do, those of one x do not depend on how many follow, and another seed gives others;
           distances are (n,) float64 >= 0. A discrete answer is the most probable one. No x, no answer: of 0 rows each
           of them has 0 rows.
        6. `reference.log_prob` is (n,) float64, finite on the data, and its mean over the data is that over
           `reference.sample` and minus `entropy()`, an `Approximate`, within Monte-Carlo error; up to two output
           dimensions exp(log_prob) integrates to 1 within 1e-6, in the box or, of a heavy tail, beyond it, and over
           discrete answers it sums to 1. Draws are shared among cells as it says, and as the data are. Where there is
           no exact value, and on a manifold at thickness 0, `NoExactReference` says why.
        7. Where the answers have branches (`HasBranches`), every answer has one, their weights sum to 1, and data are
           shared among them by these.

    Tests by chance have fixed seeds. A task that keeps the rules fails one of them with a probability of about 4e-4: up
    to five means by 6e-5 each, a Kolmogorov-Smirnov test by 1e-4, up to four tests over cells by 1e-5 each.

    Raises:
        AssertionError: a rule is broken.
    """
    from ..tasks import get_task

    made = get_task(task) if isinstance(task, str) else task() if isinstance(task, type) else task
    who = f"task {getattr(made, 'name', type(made).__qualname__)!r}"
    with global_generators_left_alone(who):
        check_declaration(type(made), who)
        json.dumps(made.specification(), allow_nan=False)
        _check_data(made, who)
        _check_task_errors(made, who)
        if made.manifold_dim is not None:
            _check_thickness(made, who)
        _check_answers(made, who)
        _check_density(made, who, examples)
        _check_branches(made, who)


def _check_data(task: Task, who: str) -> None:
    import torch

    x, y = task.sample(64, seed=5)
    for field, value, space in (("x", x, task.x_space), ("y", y, task.y_space)):
        rule(isinstance(space, (Box, Discrete)), who, f"{field}_space must be a Space, not {space!r}")
        rule(value.shape[0] == 64, who, f"sample(64) must give 64 rows of {field}, not {value.shape[0]}")
        wanted = torch.float64 if isinstance(space, Box) else torch.int64
        rule(value.dtype == wanted, who, f"{field} must be {wanted}, not {value.dtype}")
        space.check(field, value)
        if isinstance(space, Box):
            low, high = space.bounds
            outside = int(((value < low) | (value > high)).any(-1).sum())
            allowed = MOST_OUTSIDE if field == "y" else 0
            rule(outside <= allowed, who, f"{field} must lie within {space.bounds}, but {outside} of 64 do not")
    rule(
        all(torch.equal(a, b) for a, b in zip(task.sample(64, seed=5), (x, y), strict=True)),
        who,
        "same seed, same data",
    )
    rule(not torch.equal(task.sample(64, seed=6)[1], y), who, "another seed must give other data")
    whole = torch.cat([x, y.reshape(64, -1)], 1)
    if len(whole.unique(dim=0)) < 64:
        return  # Examples that come twice in one split may come in two by chance.
    for split in task.splits[1:]:
        other = torch.cat([part.reshape(64, -1) for part in task.sample(64, seed=5, split=split)], 1)
        shared = (other.unsqueeze(1) == whole).all(-1).any()
        rule(not shared, who, f"splits must be disjoint, but {task.splits[0]} and {split} share examples")


def _check_task_errors(task: Task, who: str) -> None:
    expect(LookupError, who, "an unknown option", lambda: type(task)(no_such_option=1))
    expect(ValueError, who, "sample(0)", lambda: task.sample(0))
    expect(ValueError, who, "an unknown split", lambda: task.sample(1, split="no_such_split"))  # type: ignore[arg-type]
    expect(ValueError, who, "a negative seed", lambda: task.sample(1, seed=-1))
    if "thickness" in type(task).Options.model_fields:
        expect(ValueError, who, "a negative thickness", lambda: task.with_thickness(-1.0))


def _check_thickness(task: Task, who: str) -> None:
    import torch

    x, y = zip(*(task.with_thickness(value).sample(64, seed=7) for value in (0.0, 0.1, 0.2)), strict=True)
    linear = torch.allclose(y[2] - y[1], y[1] - y[0], atol=1e-10) and torch.equal(x[0], x[2])
    rule(linear, who, "data at one seed must be y = m(u) + thickness * n with the same u and n at every thickness")
    noise = (y[1] - y[0]) / 0.1
    spread = float(noise.square().mean())
    error = TOLERATED_STANDARD_ERRORS * (2 / noise.numel()) ** 0.5
    rule(abs(spread - 1) < error, who, f"noise must have unit variance times thickness^2, not {spread:.3f}")
    thin = task.with_thickness(0.0)
    rule(
        thin.reference.distance(*thin.sample(64)).max() < 1e-6,
        who,
        "at thickness 0 the data must lie on the answer set",
    )


def _exact(who: str, value: Callable[[], Any]) -> Any:
    """What the reference gives, or None where it says that there is no exact value."""
    try:
        return value()
    except NoExactReference as error:
        rule(str(error).strip(), who, "NoExactReference must say why")
        return None


def _check_answers(task: Task, who: str) -> None:
    import torch

    x, y = task.sample(512, seed=8, split="test")
    distance = _exact(who, lambda: task.reference.distance(x, y))
    if distance is None:
        return
    rule(distance.shape == (512,) and distance.dtype == torch.float64, who, "distance must be (n,) float64")
    rule((distance >= 0).all(), who, "distance must be >= 0")
    _check_no_rows(task, who, x[:0], y[:0])
    answers = _exact(who, lambda: task.reference.answers(x[:4]))
    if answers is not None:
        fits = answers.shape[2:] == y.shape[1:] and answers.dtype == y.dtype
        rule(fits, who, "answers must be (n, m, ...) of the shape and dtype of y")
        for row, points in zip(x[:4], answers, strict=True):
            points = points[points.reshape(len(points), -1).isfinite().all(-1)]
            rule(len(points) > 0, who, "every x of the test split must have an answer")
            off = task.reference.distance(row.expand(len(points), -1), points).max()
            rule(off < 1e-6, who, f"answers must be at distance 0, but one is at {float(off):.2g}")
    drawn = _exact(who, lambda: task.reference.sample(x, 1, seed=9))
    if drawn is not None:
        same = torch.equal(task.reference.sample(x[:3], 1, seed=9), drawn[:3])
        rule(same, who, "reference.sample of an x must not depend on how many others follow")
        several, again = (task.reference.sample(x[:8], 8, seed=seed) for seed in (9, 10))
        varied = bool((several != several[:, :1]).any())
        rule(not varied or not torch.equal(several, again), who, "reference.sample: another seed must give other draws")
    if drawn is not None and task.thickness > 0:
        shape = (512, 1, *y.shape[1:])
        rule(drawn.shape == shape, who, f"reference.sample must be (n, k, ...) = {shape}, not {tuple(drawn.shape)}")
        from scipy.stats import ks_2samp

        p = ks_2samp(task.reference.distance(x, drawn[:, 0]).numpy(), distance.numpy()).pvalue
        rule(p > 1e-4, who, f"reference.sample must lie as far from the answers as the data do (KS test: p = {p:.1g})")


def _check_no_rows(task: Task, who: str, x: torch.Tensor, y: torch.Tensor) -> None:
    asked: dict[str, Callable[[], Any]] = {
        "answers": lambda: task.reference.answers(x),
        "distance": lambda: task.reference.distance(x, y),
        "log_prob": lambda: task.reference.log_prob(x, y),
        "sample": lambda: task.reference.sample(x, 2, seed=9),
    }
    for name, ask in asked.items():
        found = _exact(who, ask)
        rule(found is None or len(found) == 0, who, f"reference.{name} of 0 rows must have 0 rows")


def _check_density(task: Task, who: str, n: int) -> None:
    import torch

    if task.manifold_dim is not None:
        thin = task.with_thickness(0.0)
        data = thin.sample(4)
        expect(NoExactReference, who, "log_prob at thickness 0", lambda: thin.reference.log_prob(*data))
        expect(NoExactReference, who, "entropy at thickness 0", lambda: thin.reference.entropy())
        task = task.with_thickness(max(task.thickness, 0.05))  # thick enough for a grid to integrate
    x, y = task.sample(n, seed=10)
    log_prob = _exact(who, lambda: task.reference.log_prob(x, y))
    if log_prob is None:
        return
    rule(log_prob.shape == (n,) and log_prob.dtype == torch.float64, who, "log_prob must be (n,) float64")
    rule(log_prob.isfinite().all(), who, "log_prob must be finite on the data")
    of_draws = task.reference.log_prob(x, task.reference.sample(x, 1, seed=11)[:, 0])
    entropy = _exact(who, task.reference.entropy)
    if entropy is not None:
        known = isinstance(entropy, Approximate)
        rule(known, who, f"entropy must be an Approximate, a number with its error, not {type(entropy).__name__}")
        _meet(who, "entropy must be -E[log_prob] on the data", -log_prob - entropy)
        _meet(who, "entropy must be -E[log_prob] on reference.sample", -of_draws - entropy)
    _meet(who, "log_prob must have one mean on the data and on reference.sample", log_prob - of_draws)
    if isinstance(task.y_space, Discrete):
        _check_probabilities(task, task.y_space, x, who)
    if isinstance(task.y_space, Box) and task.y_space.dim <= 2:
        spacing = task.thickness
        mass = whole_integral(
            lambda y: task.reference.log_prob(x[:1].expand(len(y), -1), y), task.y_space, spacing, 1e-6
        )
        rule(abs(mass - 1) < 1e-6, who, f"exp(log_prob) must integrate to 1, not {mass:.8f}")
    _check_laws(task, who, n)


def _check_laws(task: Task, who: str, n: int) -> None:
    """Data, draws of `reference.sample` and the log-density are of one law, by counts in cells."""
    import torch

    reference, space = task.reference, task.y_space
    count = DRAWS if n >= 4000 else n
    x, y = task.sample(count + CELLS, seed=14)
    if isinstance(space, Box) and space.dim <= 2:
        drawn = {f"reference.sample at x = {row[0].tolist()}": (row, reference.sample(row, count + CELLS, seed=15)[0])
                 for row in x[:2].split(1)[: 2 if x.shape[1] else 1]}  # fmt: skip
        if x.shape[1] == 0:
            drawn["the data"] = (x[:1], y)
        for what, (row, draws) in drawn.items():

            def log_density(points: torch.Tensor, row: torch.Tensor = row) -> torch.Tensor:
                return reference.log_prob(row.expand(len(points), -1), points)

            check_density_of_draws(draws, log_density, space, task.thickness, who, what)
    every = every_answer(space) if isinstance(space, Discrete) else None
    if every is not None:
        log_prob = reference.log_prob(x[:1].expand(len(every), -1), every)
        draws = reference.sample(x[:1], count, seed=15)[0]
        check_probability_of_draws(draws, every, log_prob, who, "reference.sample")
    pairs = torch.cat([x, y.reshape(len(y), -1)], 1).double()
    if x.shape[1] == 0:
        draws = reference.sample(x[:1], count, seed=17).reshape(count, -1).double()
    else:
        other, _ = task.sample(min(count, PAIRS), seed=16)  # each x has a stream of its own, which takes time
        draws = torch.cat([other, reference.sample(other, 1, seed=17).reshape(len(other), -1)], 1).double()
    what = "data and reference.sample must be of one law"
    check_same_law(pairs[CELLS:], draws, pairs[:CELLS], who, what)


def _check_branches(task: Task, who: str) -> None:
    import torch

    reference = task.reference
    if not isinstance(reference, HasBranches):
        return
    n = 4000
    x, y = task.sample(n, seed=12)
    branch, weights = reference.branch(x, y), _exact(who, lambda: reference.branch_weights(x))
    if weights is None:
        return
    rule(weights.ndim == 2 and weights.dtype == torch.float64, who, "branch_weights must be (n, K) float64")
    rule(weights.min() > -1e-9 and (weights.sum(-1) - 1).abs().max() < 1e-9, who, "branch_weights must sum to 1")
    rule(branch.shape == (n,) and branch.dtype == torch.int64, who, "branch must be (n,) int64")
    rule(branch.min() >= 0 and branch.max() < weights.shape[1], who, "branch must be in 0 .. K-1")
    for k in range(weights.shape[1]):
        share = weights[:, k].mean()
        error = TOLERATED_STANDARD_ERRORS * float((weights[:, k] * (1 - weights[:, k])).sum().clamp_min(0)) ** 0.5 / n
        off = abs(float((branch == k).double().mean() - share))
        rule(
            off <= error + 1 / n,
            who,
            f"data must have the weight of branch {k}: off by {off:.4f}, tolerated {error:.4f}",
        )


def _meet(who: str, what: str, differences: torch.Tensor) -> None:
    """The mean of the differences must be 0 within Monte-Carlo error."""
    gap, error = (
        float(differences.mean()),
        TOLERATED_STANDARD_ERRORS * float(differences.std()) / len(differences) ** 0.5,
    )
    rule(abs(gap) < error, who, f"{what}: off by {gap:.4f}, tolerated {error:.4f}")


def _check_probabilities(task: Task, space: Discrete, x: torch.Tensor, who: str) -> None:
    everything = every_answer(space)
    if everything is None:
        return
    log_prob = task.reference.log_prob(x[:1].expand(len(everything), -1), everything)
    total = float(log_prob.exp().sum())
    rule(abs(total - 1) < 1e-6, who, f"exp(log_prob) must sum to 1 over all answers, not {total:.8f}")
    best = task.reference.log_prob(x[:1], task.reference.answers(x[:1])[:, 0])
    rule(best >= log_prob.max() - 1e-9, who, "answers must be the most probable ones")
