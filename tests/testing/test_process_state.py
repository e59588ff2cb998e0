"""No number depends on a default, a mode or a handler of the process, nor on other threads; copies are whole."""

from __future__ import annotations

import ast
import copy
import multiprocessing
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch

import ebm_vs_prob as evp
from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.core.process_state import default_state, without_denormals
from ebm_vs_prob.energies.mlp import Network
from ebm_vs_prob.metrics.options import Evaluation
from ebm_vs_prob.models.model import Model
from ebm_vs_prob.testing.methods import applicable_task
from ebm_vs_prob.training import loop

PACKAGE = Path(evp.__file__).parent
METHODS = [method.name for method in evp.list_methods()]
#: What makes a tensor without being given one, so that it takes torch's defaults where it is not told otherwise.
FACTORIES = {"arange", "as_tensor", "empty", "eye", "full", "linspace", "logspace"}
FACTORIES |= {"ones", "rand", "randint", "randn", "randperm", "tensor", "zeros"}
LITTLE = Evaluation(test_examples=4, inputs=2, starts=2, partitions=2, samples=4, max_steps=3)


def test_every_tensor_says_its_dtype_and_device() -> None:
    silent = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            own = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
            if own and node.func.attr in FACTORIES and not {"dtype", "device"} <= {word.arg for word in node.keywords}:
                silent.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)}")
    assert not silent, "\n".join(silent)


#: Unnormalised methods whose temperature is fitted here, in a second; that of others only where all is measured.
CALIBRATED = ("score_matching", "latent_clustering")


def fitted(name: str, calibrated: bool = True) -> Model:
    method = evp.get_method(name)
    budget = Budget(steps=20 if "gibbs_" in name else 3, batch_size=8, examples=16)
    seeds = [0, 1] if method.batchable else [1]
    given = {} if calibrated or "gibbs_beta" not in method.Options.model_fields else {"gibbs_beta": 1.0}
    return evp.fit(method, applicable_task(method), seeds=seeds, budget=budget, network=Network(hidden=(4,)), **given)


def inputs(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    return model.tasks[0].sample(3, seed=3, split="test")


def reloaded(model: Model) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        return evp.load_model(path)


def density(model: Model) -> torch.Tensor:
    x, y = inputs(model)
    return model.log_prob(x, y) if model.normalised else model.energy(x, y)


def numbers(name: str, measured: bool) -> dict[str, Any]:
    """All that a short fit gives: tensors, and metrics that are no times."""
    model = fitted(name, calibrated=measured or name in CALIBRATED)
    x, _ = inputs(model)
    answers = model.infer(x, n_starts=2, seed=1, search=evp.Search(max_steps=5))
    found: dict[str, Any] = {**model.module.state_dict(), "density": density(model)}
    found |= {"losses": model.training.loss, "answers": answers.y, "least": answers.energy}
    if model.method.family != "control":
        found["sample"] = model.sample(x, num_samples=2, seed=1)
    found["loaded"] = reloaded(model).infer(x, n_starts=1, seed=1, search=evp.Search(max_steps=2)).y
    if measured:
        table = evp.evaluate(model, model.tasks[0], LITTLE)
        table = table[~table.metric.str.contains("second")]
        found["metrics"] = torch.tensor(table.value.to_numpy(), dtype=torch.float64, device="cpu")
    return found


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    def bits(value: torch.Tensor) -> tuple[Any, ...]:
        return value.dtype, value.device, value.shape, value.detach().numpy().tobytes()

    assert one.keys() == other.keys()
    return [name for name in one if bits(one[name]) != bits(other[name])]


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def coarse_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def denormals_flushed() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def filled_store() -> Iterator[None]:
    with pyro.get_param_store().scope():
        for name in ("kernel.lengthscale", "kernel.variance", "noise"):
            pyro.param(name, torch.ones(3, dtype=torch.float32, device="cpu"))
        yield


@contextmanager
def handlers() -> Iterator[None]:
    with pyro.plate("replicate", 3, dim=-1), pyro.poutine.trace(), pyro.poutine.block():
        yield


CHECKS = ("infer", "poutine", "distributions_pyro", "distributions_torch")
UNCHECKED = {f"validate_{name}": False for name in CHECKS}
STATES: dict[str, Any] = {
    "float64": default_dtype,
    "meta": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "handlers": handlers,
    "parameter store": filled_store,
    "Pyro's settings": lambda: pyro.settings.context(module_local_params=True, **UNCHECKED),
    "numpy's errors": lambda: np.errstate(all="raise"),
    "deterministic": deterministic,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "coarse products": coarse_products,
    "denormals flushed": denormals_flushed,
}


#: Methods that take seconds; each has kin that are quick.
DEAR = (
    *("gibbs_nuts", "gibbs_stochastic_gradient_langevin", "gibbs_variational_bayes", "gibbs_ensemble"),
    *("sparse_coding", "coupling_flow", "autoregressive_flow", "latent_clustering", "score_matching"),
    *("gibbs_maximum_a_posteriori",),
)
MARKED = [pytest.param(name, marks=[pytest.mark.slow] if name in DEAR else []) for name in METHODS]


@cache
def plain(name: str) -> dict[str, Any]:
    """The numbers of a method in the process as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", evp.NormalizerWarning)
        return numbers(name, False)


@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
@pytest.mark.parametrize("name", MARKED)
def test_no_number_depends_on_all_globals_at_once(name: str) -> None:
    expected = plain(name)
    with ExitStack() as states:
        for state in STATES.values():
            states.enter_context(state())
        found = numbers(name, False)
    assert differing(expected, found) == []


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
@pytest.mark.parametrize("name", METHODS)
def test_no_number_depends_on_a_global(name: str) -> None:
    expected = numbers(name, True)
    moved = {}
    for label, state in STATES.items():
        with state():
            moved[label] = differing(expected, numbers(name, True))
    assert not any(moved.values()), moved


PAIRS = ("mixture_density", "vae", "gaussian_process", "latent_clustering")


@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
@pytest.mark.parametrize("pair", list(combinations_with_replacement(PAIRS, 2)), ids="-".join)
def test_two_threads_give_what_one_gives(pair: tuple[str, str]) -> None:
    expected = [plain(name) for name in pair]
    with ThreadPoolExecutor(2) as pool:
        for own, found in zip(expected, pool.map(lambda name: numbers(name, False), pair), strict=True):
            assert differing(own, found) == []


#: Models that put weights into a shared module, or remember what they computed of the last x.
SHARING = ("gibbs_ensemble", "gibbs_maximum_a_posteriori", "gaussian_process", "two_step", "kernel_density")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
@pytest.mark.parametrize("name", SHARING)
def test_one_model_answers_many_threads(name: str) -> None:
    model = fitted(name)
    x, y = inputs(model)
    jobs = [
        lambda: model.energy(x, y),
        lambda: model.module(x.unsqueeze(0).float(), y.unsqueeze(0).float()),  # as a density asks, which takes no lock
        lambda: model.log_prob(x[:2], y[:2]),
        lambda: model.sample(x[1:], 2, seed=1),
        lambda: model.infer(x, n_starts=1, seed=1, search=evp.Search(max_steps=2)).y,
    ]
    expected = [job() for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        found = [(number, pool.submit(jobs[number])) for number in [*range(len(jobs))] * 10 + [1] * 100]
        assert all(torch.equal(result.result(), expected[number]) for number, result in found)


def changed(model: Model) -> None:
    with torch.no_grad():
        for tensor in model.module.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1.25).add_(0.01)


@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
@pytest.mark.parametrize("name", MARKED)
def test_a_copy_is_whole_and_a_model_of_its_own(name: str) -> None:
    model = fitted(name)
    expected = density(model)
    assert torch.equal(density(pickle.loads(pickle.dumps(model))), expected)
    copied, fresh = copy.deepcopy(model), copy.deepcopy(model)
    assert torch.equal(density(copied), expected)  # and what it remembers is out of date after this
    if model.module.state_dict():
        changed(copied)
        changed(fresh)
        assert torch.equal(density(copied), density(fresh))
        assert not torch.equal(density(copied), expected)
    assert torch.equal(density(model), expected)


def _densities(models: list[Model]) -> list[np.ndarray]:
    torch.set_num_threads(1)
    return [density(model).detach().numpy() for model in models]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ebm_vs_prob.NormalizerWarning")
def test_a_spawned_process_takes_every_model() -> None:
    models = [fitted(name) for name in METHODS]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_densities, (models,))
    assert [
        name
        for name, own, other in zip(METHODS, _densities(models), found, strict=True)
        if not np.array_equal(own, other)
    ] == []


def test_denormals_are_nothing_to_a_training_and_otherwise_what_they_were(monkeypatch: Any) -> None:
    def product() -> float:
        return float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1.0)

    seen: list[float] = []
    original = loop.draws

    def looking(*given: Any) -> Iterator[Any]:
        for each in original(*given):
            seen.append(product())
            yield each

    monkeypatch.setattr(loop, "draws", looking)
    budget = Budget(steps=3, batch_size=4, examples=16)
    for state, outside in ((ExitStack, 1e-310), (denormals_flushed, 0.0)):
        with state():
            with default_state():
                assert product() == 1e-310
                with without_denormals():
                    assert product() == 0.0
                assert product() == 1e-310
            model = evp.fit("denoising_score_matching", evp.get_task("circle"), budget=budget)
            assert model.status[0].ok
            assert product() == outside
    assert seen == [0.0] * 6
