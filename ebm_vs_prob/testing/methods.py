"""The rules of a method."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ..core.spaces import Discrete
from .method_answers import check_answering, check_least, check_probability
from .optimum import check_direction
from .randomness import check_initial_weights, check_noise, check_streams_of_draws
from .rules import check_declaration, expect, global_generators_left_alone, rule
from .trainings import applicable_task, short_fit

if TYPE_CHECKING:
    import torch

    from ..models.model import Model
    from ..tasks.base import Task
    from ..training.method import Method

#: How far energies may differ that are computed with other roundings: thirty a step, each of 1.2e-7 at most.
ROUNDING = 1e-4


def check_method(method: type[Method] | str, task: Task | None = None) -> None:
    """Check a method on a task, by default the first that it applies to of `circle`, `three_curves`, `digits`,
    `gaussian_classes`, `labelled_chain`, `newsvendor`, `segmentation` and `ellipse`.

    Rules:
        1. `name` is an identifier; `family`, `principle` and `normalised` are declared; `version` is an integer >= 1;
           the smoothing is >= 0; an unknown option is a `LookupError`.
        2. A short training gives a model of R replicates, each finite, with its cost counted.
        3. `energy(x, y)` is (R, n), finite, the same for shared inputs as for one copy a replicate; the energy's own
           `energy_and_gradient`, where it has one, gives that energy and its derivative.
        4. Same seeds, same model; another seed, another model (exact methods excepted). Where all modules are the
           package's own, a replicate has the same parameters, buffers and losses alone as in company, bit for bit. With
           modules of your own it gives the same energies to 1e-4: they may round otherwise in company, and
           `SHORT_STEPS` steps of some thirty roundings each add up to that in single precision.
        5. `infer` and (ebm, prob) `sample` give (R, n, k, ...), finite or symbols of the space, the same for the same
           seed. Discrete answers that are found have no more energy than any other.
        6. A normalised model has `log_prob` (R, n), and up to two output dimensions exp(log_prob) integrates to 1
           within 1e-2, in the box or with its tails, as it sums to 1 over discrete answers; any other raises
           `NotNormalised` and names `model.gibbs`.
        7. `save` and `load_model` give the same energies back.
        8. Every other choice of an option that is a switch or one of several names trains as well, or is refused in a
           `ValueError`; the declared curvature is > 0 or None, the smoothing and the cost >= 0 at each.
        9. Initial weights follow from the seed, all that learn but evenly spaced ones, as constants, identities and
           grids are; each replicate has noise of its own in training, and in `sample` a stream of its own.
        10. Where a `gaussian_optimum` is declared, the energy is lower in the middle of N(0, 1) data than far from it
            after a short training; where none is, after one of seven, unless the loss pulls energies down and none
            up; discrete data have less energy than other answers.
        11. Global generators are left alone throughout.

    Nothing here is tested by chance: seeds are fixed, and a method passes always or never on one kind of machine.

    Raises:
        AssertionError: a rule is broken.
    """
    from ..training.fitting import get_method

    chosen = get_method(method) if isinstance(method, str) else method
    who = f"method {getattr(chosen, 'name', chosen.__qualname__)!r}"
    with global_generators_left_alone(who):
        check_declaration(chosen, who)
        _check_method_declaration(chosen, who)
        task = task or applicable_task(chosen)
        expect(LookupError, who, "an unknown option", lambda: short_fit(chosen, task, [0], no_such_option=1))
        seeds = [0, 1] if chosen.batchable else [1]
        model = short_fit(chosen, task, seeds)
        x, y = task.sample(12, seed=3, split="test")
        x, y = model.setting.placed(x, task.x_space), model.setting.placed(y, task.y_space)
        _check_fit(model, seeds, x, y, who)
        _check_seeds(chosen, model, task, x, y, who)
        check_answering(model, x, who)
        if isinstance(task.y_space, Discrete):
            check_least(model, task.y_space, x[:1], who)
        check_probability(model, x, y, who)
        _check_round_trip(model, x, y, who)
        _check_choices(chosen, task, who)
        check_initial_weights(chosen, task, who)
        check_noise(chosen, task, who)
        check_streams_of_draws(model, x, who)
        check_direction(chosen, task, who)


def _check_method_declaration(method: type[Method], who: str) -> None:
    from ..training.method import Family, Principle

    for field, choices in (("family", get_args(Family)), ("principle", get_args(Principle))):
        value = getattr(method, field, None)
        rule(value in choices, who, f"{field} must be one of {', '.join(choices)}, not {value!r}")
    rule(type(getattr(method, "normalised", None)) is bool, who, "normalised must be True or False")
    _check_declared(method, method.Options(), who)


def _check_declared(method: type[Method], options: Any, who: str) -> None:
    """What a method says of itself under some options."""
    smoothing = method.smoothing(options)
    rule(smoothing >= 0, who, f"smoothing must be >= 0, not {smoothing!r}")
    evaluations = method.energy_evaluations(options)
    rule(evaluations >= 0, who, f"energy_evaluations must be >= 0, not {evaluations!r}")
    curvature = None if method.gaussian_optimum is None else method.gaussian_optimum.of(options)
    rule(curvature is None or curvature > 0, who, f"the declared curvature must be > 0 or None, not {curvature!r}")


def _choices(method: type[Method]) -> list[tuple[str, Any]]:
    """Every value but the default of the options that are switches or one of several names."""
    found = []
    for name, field in method.Options.model_fields.items():
        values = (True, False) if field.annotation is bool else get_args(field.annotation)
        if field.annotation is bool or get_origin(field.annotation) is Literal:
            found += [(name, value) for value in values if value != field.default]
    return found


def _check_choices(method: type[Method], task: Task, who: str) -> None:
    for name, value in _choices(method):
        try:
            model = short_fit(method, task, [0], **{name: value})
        except ValueError:
            continue  # refused with a reason, as some choices ask for another option beside them
        chosen = f"{who} with {name} = {value!r}"
        for status in model.status:
            rule(status.ok, chosen, f"a short training must stay finite: step {status.step}, {status.reason}")
        _check_declared(method, model.setting.options.replicates[0], chosen)


def _check_fit(model: Model, seeds: list[int], x: torch.Tensor, y: torch.Tensor, who: str) -> None:
    import torch

    count = len(seeds)
    rule(model.num_replicates == count, who, f"fit must give {count} replicates, not {model.num_replicates}")
    rule(len(model.status) == len(model.cost) == count, who, "status and cost must have one entry a replicate")
    for status in model.status:
        rule(status.ok, who, f"a short training on plain data must stay finite: step {status.step}, {status.reason}")
    rule(model.normalised == model.method.normalised, who, "the model must be normalised exactly if the method says so")
    energy = model.energy(x, y)
    rule(energy.shape == (count, len(x)), who, f"energy must be (R, n) = {(count, len(x))}, not {tuple(energy.shape)}")
    rule(energy.isfinite().all(), who, "energy must be finite on test data")
    copied = model.energy(x.expand(count, *x.shape), y.expand(count, *y.shape))
    rule(torch.allclose(copied, energy, rtol=1e-4, atol=1e-5), who, "energy must not depend on how inputs are shared")
    if hasattr(model.module, "energy_and_gradient"):
        _check_gradient(model, x, y, who)


def _check_gradient(model: Model, x: torch.Tensor, y: torch.Tensor, who: str) -> None:
    """Three y for each x, on copies in float64, so that a wrong derivative is not taken for a rounding error."""
    import copy

    import torch

    module: Any = copy.deepcopy(model.module).double()
    x = x.double().unsqueeze(1).expand(model.num_replicates, -1, -1, -1)
    y = (y.double().unsqueeze(1) + torch.tensor([[-0.1], [0.0], [0.1]], dtype=torch.float64, device="cpu")).expand(
        len(x), -1, -1, -1
    )
    point = y.clone().requires_grad_()
    energy = module(x, point)
    (expected,) = torch.autograd.grad(energy.sum(), point)
    own, gradient = module.energy_and_gradient(x, y)
    rule(torch.allclose(own, energy, rtol=1e-6, atol=1e-8), who, "energy_and_gradient must give the energy of forward")
    near = torch.allclose(gradient, expected, rtol=1e-6, atol=1e-8 * float(1 + expected.abs().max()))
    rule(near, who, "energy_and_gradient must give the derivative in y")


def _check_seeds(method: type[Method], model: Model, task: Task, x: torch.Tensor, y: torch.Tensor, who: str) -> None:
    import torch

    again = short_fit(method, task, list(model.seeds)).energy(x, y)
    rule(torch.equal(again, model.energy(x, y)), who, "same seeds must give the same model, bit for bit")
    if method.batchable:
        # The company is of three, because one alone is trained beside a copy of itself, in the shapes of two.
        alone, company = short_fit(method, task, [1]), short_fit(method, task, [2, 0, 1])
        _check_company(alone, company, x, y, who)
        own, others = alone.energy(x, y)[0], company.energy(x, y)[:-1]
    else:
        own, others = again[0], short_fit(method, task, [2]).energy(x, y)
    if method.principle != "exact":
        rule(not any(torch.allclose(other, own) for other in others), who, "another seed must give another model")


def _check_company(alone: Model, company: Model, x: torch.Tensor, y: torch.Tensor, who: str) -> None:
    """The only replicate of `alone` is the last of `company`."""
    import torch

    from ..models.alone import alone as single

    near = torch.allclose(alone.energy(x, y)[0], company.energy(x, y)[-1], rtol=ROUNDING, atol=ROUNDING)
    rule(near, who, "a replicate trained alone must be the replicate trained in company")
    last = company.num_replicates - 1
    only = single(company, last)
    if only is not None:
        near = torch.allclose(only.energy(x, y)[0], company.energy(x, y)[last], rtol=ROUNDING, atol=ROUNDING)
        rule(near, who, "a replicate taken out of its company must be the one that is in it")
    if not all(_is_own(module) for module in company.module.modules()):
        return
    states = [model.module.state_dict() | {"loss": model.training.loss} for model in (alone, company)]
    # A `partition_gap` is measured afterwards, with ln Z whose last digit depends on the company.
    for name, value in states[0].items():
        whole = states[1][name] if name != "partition_gap" else value
        pair = (value, whole) if value.shape == whole.shape else (value[0], whole[-1])
        first, second = (part.detach().cpu().numpy().tobytes() for part in pair)  # a NaN is equal to itself
        rule(first == second, who, f"a replicate must be trained alone as in company, bit for bit, and {name} is not")


def _is_own(module: Any) -> bool:
    """Whether a module is the package's own, or torch's, but no map over modules: those round alike in any company."""
    from ..energies.replicated import Replicated

    package = __name__.partition(".")[0]
    return type(module).__module__.partition(".")[0] in (package, "torch") and not isinstance(module, Replicated)


def _check_round_trip(model: Model, x: torch.Tensor, y: torch.Tensor, who: str) -> None:
    import torch

    from ..core.registry import METHODS
    from ..training.loading import load_model

    if model.method not in METHODS.entries():
        return  # a file names its method, so only a registered one can be read back
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        loaded = load_model(path)
    rule(
        torch.equal(loaded.energy(x, y), model.energy(x, y)),
        who,
        "save and load_model must give the same energies back",
    )
