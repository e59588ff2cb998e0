"""An energy of the user's own, named in a study beside built-in networks: run, recorded, opened, and refused."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest
import torch
from torch import nn

import ebm_vs_prob as evp
from ebm_vs_prob.models.own_modules import users_own
from ebm_vs_prob.study import Store, load_study, plan_study, provenance
from ebm_vs_prob.study.own_energies import energy_of
from ebm_vs_prob.study.plan_again import plan_again
from ebm_vs_prob.study.provenance import mixture
from ebm_vs_prob.study.recognition import energies
from ebm_vs_prob.study.verification import verify
from ebm_vs_prob.training.fitting import prepare

MODULE = """
import torch
from torch import nn
from rings_helper import WIDTH

NUMBER = 3


class Ring(nn.Module):
    \"\"\"A radial energy: a network of |y| and x alone.\"\"\"

    def __init__(self, task):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1 + task.x_space.dim, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))

    def forward(self, x, y):
        return self.net(torch.cat([x, y.norm(dim=-1, keepdim=True)], -1)).squeeze(-1)


def wide(task):
    return nn.Bilinear(task.x_space.dim, task.y_space.dim, 1)


def no_module(task):
    return 3


def failing(task):
    raise RuntimeError("no such task")


class TwoNumbers(Ring):
    def forward(self, x, y):
        return y


class OfLabels(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.net = nn.Linear(task.x_space.dim, task.y_space.num_values)

    def forward(self, x, y):
        return self.net(x).gather(-1, y.unsqueeze(-1)).squeeze(-1)


class Native(nn.Module):
    num_replicates = 1
    multiply_adds = 8.0

    def __init__(self, task):
        super().__init__()
        self.radius = nn.Parameter(torch.ones(1))

    def forward(self, x, y):
        return (y.norm(dim=-1) - self.radius.reshape(-1, *[1] * (y.ndim - 2))) ** 2 + 0 * x.sum(-1)


class NoCost(Native):
    multiply_adds = None


class Method(Native):
    def multiply_adds(self):
        return 8.0


class Endless(Native):
    multiply_adds = float("inf")


class Two(Native):
    num_replicates = 2


class NoAxis(Native):
    def __init__(self, task):
        super().__init__(task)
        self.radius = nn.Parameter(torch.ones(3, 1))


class Frozen(Native):
    def __init__(self, task):
        super().__init__(task)
        self.radius.requires_grad_(False)


class OneReplicate(Native):
    def forward(self, x, y):
        return super().forward(x, y)[0]


class Flat(Native):
    def forward(self, x, y):
        return super().forward(x, y).flatten(1)


class Double(Native):
    def forward(self, x, y):
        return super().forward(x, y).double()


class Counted(Native):
    def forward(self, x, y):
        return 3.0


class Detached(Native):
    def forward(self, x, y):
        return super().forward(x, y.detach())


class NotFinite(Native):
    def forward(self, x, y):
        return super().forward(x, y).sqrt() / 0


class OneArgument(Native):
    def forward(self, y):
        return y


class OwnGradient(Native):
    def energy_and_gradient(self, x, y):
        return self(x, y), self(x, y)


class OwnNorm(Native):
    def weight_norm(self):
        return 1.0


class NoForward(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


class NoParameters(nn.Module):
    def __init__(self, task):
        super().__init__()

    def forward(self, x, y):
        return y.sum(-1)


class PlainDouble(Ring):
    def forward(self, x, y):
        return super().forward(x, y).double()


class PlainNumber(Ring):
    def forward(self, x, y):
        return 3.0


class NoGraph(OfLabels):
    num_replicates = 1
    multiply_adds = 1.0

    def __init__(self, task):
        super().__init__(task)
        self.net = None
        self.weight = nn.Parameter(torch.ones(1, 2))

    def graph(self, x):
        return x

    def forward(self, x, y):
        return x.sum(-1)


class OtherLabels(NoGraph):
    def graph(self, x):
        import ebm_vs_prob as evp

        unary = self.weight.reshape(-1, *[1] * (x.ndim - 2), 2).expand(*x.shape[:-1], -1)
        return evp.FactorGraph(unary.unsqueeze(-2), unary.new_zeros(*unary.shape[:-1], 0, 2, 2))
"""
STUDY = """
schema = 1
name = "own_rings"
title = "Own rings"
claims = ["C11"]

[scales.quick]
seeds = 3
network = {network}
budget = {{ steps = 5, batch_size = 8, examples = 32 }}
evaluation = {{ test_examples = 16, inputs = 2, starts = 2, samples = 8, max_steps = 3 }}

[[tasks]]
name = "circle"
along = {{ thickness = [0.3, 0.1] }}
"""
ARM = '\n[[arms]]\nname = "{}"\nmethod = "{}"\nnetwork = {}\n'
BESIDE = (
    ("ring", "denoising_score_matching", '"rings:Ring"'),
    ("network", "denoising_score_matching", "{ hidden = [4] }"),
    ("likelihood", "gibbs_maximum_likelihood", '"rings:Ring"'),
    ("mixture", "mixture_density", "{}"),
)


@contextmanager
def written(folder):
    """A folder with the user's modules, of which no trace is left in this process."""
    (folder / "rings.py").write_text(MODULE)
    (folder / "rings_helper.py").write_text("WIDTH = 4\n")
    before = list(sys.path)
    try:
        yield folder
    finally:
        for name in ("rings", "rings_helper"):
            sys.modules.pop(name, None)
    assert sys.path == before


@pytest.fixture
def folder(tmp_path):
    with written(tmp_path):
        yield tmp_path


def study(folder, *arms, network="{ hidden = [3] }"):
    path = folder / "own_rings.toml"
    path.write_text(STUDY.format(network=network) + "".join(ARM.format(*arm) for arm in arms))
    return path


@pytest.fixture(scope="module", params=["serial", pytest.param("local", marks=pytest.mark.slow)])
def ran(tmp_path_factory, request):
    """The study's file, its store and its table."""
    with written(tmp_path_factory.mktemp("own")) as folder:
        path, store = study(folder, *BESIDE), folder / "store"
        workers = 1 if request.param == "local" else None
        yield (
            path,
            store,
            evp.run_study(path, engine=request.param, workers=workers, device="cpu", store=store, progress=False),
        )


def test_arms_with_an_own_energy_run_beside_built_in_networks(ran):
    path, store, frame = ran
    assert set(frame["status"]) == {"done"}
    assert mixture(frame) == ""
    trials = frame.drop_duplicates(["arm", "trial"])
    records = {row.trial: (row.arm, Store(store).read(row.trial)) for row in trials.itertuples()}
    assert len(records) == 4 * 2 * 3
    for arm, record in records.values():
        if arm in ("ring", "likelihood"):
            assert record["specification"]["network"] == "rings:Ring"
            assert list(record["plugins"]) == ["rings"]
        else:
            assert record["specification"]["network"]["hidden"] == ([4] if arm == "network" else [3])
            assert record["plugins"] == {}
    plan = Store(store).plan("own_rings", "quick")
    assert [arm["network"] for arm in plan["file"]["arms"]] == ["rings:Ring", {"hidden": [4]}, "rings:Ring", {}]
    assert plan_again(Store(store), load_study(path), "quick") is None  # the energy's code may have changed


def test_the_model_of_a_record_is_opened_with_its_energy(ran):
    path, store, frame = ran
    trial = frame[(frame["arm"] == "likelihood") & (frame["seed"] == 2)]["trial"].iloc[0]
    model = evp.open_model(path, trial, store=store)
    assert energies(model, model.tasks)[0] == Store(store).read(trial)["energies"]
    (weight,) = (p for p in model.module.parameters() if p.ndim == 3 and p.shape[-1] == 1)
    assert weight.shape == (1, 4, 1)  # |y| alone enters
    found = verify(load_study(path), "quick", Store(store), rerun=4)
    assert found.problems == []
    outcomes = {run.arm: run.outcome for run in found.reruns}
    assert outcomes["ring"] == outcomes["likelihood"] == "same bits"


@pytest.fixture
def helper_changed(ran):
    """Rewrites the helper of the energy, which is then imported as by another process.

    Each text is of a length of its own: Python takes bytecode of the same second and length for current.
    """
    path, *_ = ran
    helper = path.with_name("rings_helper.py")
    before = helper.read_text()

    def changed(text):
        helper.write_text(text)
        for name in ("rings", "rings_helper"):
            sys.modules.pop(name, None)
        provenance._digest_of_sources.cache_clear()

    yield changed
    changed(before)


def test_the_model_of_an_energy_that_has_changed_is_refused(ran, helper_changed):
    path, store, frame = ran
    trial = frame[frame["arm"] == "ring"]["trial"].iloc[0]
    made = Store(store).read(trial)["plugins"]["rings"]
    helper_changed("WIDTH = 2 + 3\n")
    with pytest.raises(ValueError, match=rf"energies are .*; the code of rings is [0-9a-f]{{64}} and was {made}$"):
        evp.open_model(path, trial, store=store)


def test_the_model_of_an_energy_that_is_written_otherwise_is_opened(ran, helper_changed):
    path, store, frame = ran
    trial = frame[frame["arm"] == "ring"]["trial"].iloc[0]
    helper_changed("WIDTH = 8 // 2\n")
    model = evp.open_model(path, trial, store=store)
    assert energies(model, model.tasks)[0] == Store(store).read(trial)["energies"]


def test_long_trainings_of_an_own_energy_are_its_energies_too(folder):
    """From 300 steps on a training replays what it recorded."""
    path = study(folder, BESIDE[0])
    path.write_text(path.read_text().replace("steps = 5", "steps = 320").replace("seeds = 3", "seeds = 1"))
    store = folder / "store"
    frame = evp.run_study(path, engine="serial", device="cpu", store=store, progress=False)
    rows = frame[frame["metric"] == "curvature_p95"]
    assert set(rows["status"]) == {"done"}
    model = evp.open_model(path, rows["trial"].iloc[0], store=store)
    assert energies(model, model.tasks)[0] == Store(store).read(rows["trial"].iloc[0])["energies"]


def test_a_scales_energy_is_that_of_all_arms_without_one(folder):
    path = study(
        folder,
        ("ring", "hinge", "{}"),
        ("network", "hinge", "{ activation = 'tanh' }"),
        ("native", "hinge", '"rings:Native"'),
        network='"rings:Ring"',
    )
    plan = plan_study(path, device="cpu")
    networks = {condition.labels["arm"]: condition.specification["network"] for condition in plan.conditions}
    usual = evp.Network(activation="tanh").model_dump(mode="json")
    assert networks == {"ring": "rings:Ring", "network": usual, "native": "rings:Native"}
    own = [condition for condition in plan.conditions if condition.labels["arm"] != "network"]
    assert not any(condition.batchable or condition.compilable for condition in own)
    assert {condition.widths for condition in own} == {(2, 3, 1)}  # 1 x 4 + 4 products, or the 8 that it says, by 3
    assert all(condition.batchable for condition in plan.conditions if condition.labels["arm"] == "network")


def test_an_own_energy_of_labels_is_trained_too(folder):
    path = study(folder, ("softmax", "softmax_classifier", '"rings:OfLabels"'), ("margin", "hinge", '"rings:OfLabels"'))
    text = path.read_text().replace('name = "circle"\nalong = { thickness = [0.3, 0.1] }', 'name = "gaussian_classes"')
    path.write_text(text)
    frame = evp.run_study(path, engine="serial", device="cpu", store=folder / "store", progress=False)
    assert set(frame["status"]) == {"done"}
    assert frame[frame["metric"] == "error_rate"]["value"].between(0, 1).all()
    trial = frame[frame["arm"] == "softmax"]["trial"].iloc[0]
    model = evp.open_model(path, trial, store=folder / "store")
    x, y = model.tasks[0].sample(4, seed=0, split="test")
    labels = model.setting.tasks[0].y_space.num_values
    assert model.log_prob(x, y).shape == (1, 4)
    assert sum(parameter.numel() for parameter in model.module.parameters()) == (x.shape[1] + 1) * labels


REFUSED = {
    '"no_such_module:Ring"': r"network = 'no_such_module' is not valid: expected a module .*No module named",
    '"rings:Wring"': r"unknown energy at .*network: 'rings:Wring': did you mean 'rings:Ring'\?",
    '"rings:NUMBER"': r"network = 'rings:NUMBER' is not valid: expected what maps a task to an nn.Module.*this is 3",
    '"rings:no_module"': r"arms\.a\.network = 'rings:no_module' on circle: energy = 3 is not valid",
    '"rings:failing"': r"arms\.a\.network = 'rings:failing' on circle: RuntimeError: no such task",
    '"rings:wide"': r"arms\.a\.network = 'rings:wide' on circle: ",
    '"rings:TwoNumbers"': r"on circle: energy TwoNumbers: shape of the energy = \(3, 2\) is not valid: expected \(3,\)",
    '"rings:NoCost"': r"on circle: energy NoCost: multiply_adds is missing: expected a finite number >= 0",
    '"rings:Method"': r"energy Method: multiply_adds = .*method.* is not valid: expected a finite number >= 0",
    '"rings:Endless"': r"energy Endless: multiply_adds = inf is not valid: expected a finite number >= 0",
    '"rings:Two"': r"energy Two: num_replicates = 2 is not valid: expected 1, the number of seeds",
    '"rings:NoAxis"': r"energy NoAxis: shape of parameter radius = \(3, 1\) is not valid: expected \(1, \.\.\.\)",
    '"rings:Frozen"': r"energy Frozen: a parameter that requires grad is missing",
    '"rings:OneReplicate"': r"energy OneReplicate: shape of forward\(x, y\) = \(3,\) is not valid: expected \(1, 3\)",
    '"rings:Flat"': r"energy Flat: shape of forward\(x, y\) = \(1, 6\) is not valid: expected \(1, 3, 2\): \(R, \*n\)",
    '"rings:Double"': r"energy Double: dtype of forward\(x, y\) = torch\.float64 is not valid: expected torch\.float32",
    '"rings:Counted"': r"energy Counted: forward\(x, y\) = 3\.0 is not valid: expected a tensor of energies",
    '"rings:Detached"': r"energy Detached: the gradient of forward\(x, y\) in y is missing",
    '"rings:NotFinite"': r"on circle: energies of two training pairs = \[inf, inf\] is not valid: expected finite",
    '"rings:OneArgument"': r"energy OneArgument: forward\(x, y\) fails: TypeError: .*takes 2 positional arguments",
    '"rings:OwnGradient"': r"energy OwnGradient: energy_and_gradient\(x, y\) = \[\(1, 3\), \(1, 3\)\] is not valid",
    '"rings:OwnNorm"': r"energy OwnNorm: weight_norm\(\) = 1\.0 is not valid: expected one number a replicate, \(1,\)",
    '"rings:NoForward"': r"energy NoForward: forward is missing: expected forward\(x, y\)",
    '"rings:NoParameters"': r"energy NoParameters: a parameter is missing",
    '"rings:PlainDouble"': r"energy PlainDouble: dtype of forward\(x, y\) = torch\.float64 is not valid",
    '"rings:PlainNumber"': r"energy PlainNumber: the energy = 3\.0 is not valid: expected a tensor \(3,\)",
    '"rings"': r'arms\.0\.network = \'rings\' is not valid: .*or an energy of your own as "module:name"',
    '"../rings:Ring"': r'or an energy of your own as "module:name"',
    '"rings:Ring.__init__"': r'or an energy of your own as "module:name"',
    "3": r"arms\.0\.network = 3 is not valid: .*a table of options of `Network`",
    "{ hiden = [3] }": r"unknown option of .*arms\.a\.network: 'hiden': did you mean 'hidden'\?",
}


@pytest.mark.parametrize("network", REFUSED)
def test_what_is_no_energy_is_named(folder, network):
    path = study(folder, ("a", "hinge", network))
    with pytest.raises(ValueError, match=REFUSED[network]) as caught:
        plan_study(path, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoGraph", r"on gaussian_classes: energy NoGraph: graph\(x\) = .* is not valid: expected an evp\.FactorGraph"),
        (
            "OtherLabels",
            r"energy OtherLabels: symbols and values of graph\(x\) = \(1, 2\) is not valid",
        ),
    ],
)
def test_an_energy_of_labels_with_another_graph_is_named(folder, name, words):
    path = study(folder, ("a", "hinge", f'"rings:{name}"'))
    text = path.read_text().replace('name = "circle"\nalong = { thickness = [0.3, 0.1] }', 'name = "gaussian_classes"')
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        plan_study(path, device="cpu")


def test_trying_an_energy_leaves_it_as_it_was():
    """Its mode and the global generator are those from before: no dropout is drawn."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1))
            self.net[2].eval()

        def forward(self, x, y):
            return self.net(y).squeeze(-1)

    hinge, before = evp.get_method("hinge"), torch.random.get_rng_state()
    setting = prepare(
        hinge, evp.get_task("circle"), [0], energy=lambda task: Noisy(), network=None, budget=evp.Budget(),
        dtype=torch.float32, device="cpu", compile=False, options={},
    )  # fmt: skip
    module = hinge.build(setting).module
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [part.training for part in users_own(module).net] == [True, True, False]


@pytest.mark.parametrize("method", ["mixture_density", "vae", "kernel_density"])
def test_a_method_without_an_energy_to_replace_says_so(folder, method):
    path = study(folder, ("a", method, '"rings:Ring"'))
    expected = rf"arms\.a\.network = 'rings:Ring' is not valid: expected an energy that {method} can train, or a table"
    with pytest.raises(ValueError, match=expected):
        plan_study(path, device="cpu")


def test_what_no_study_named_is_not_called():
    with pytest.raises(LookupError, match="unknown energy 'os:system'"):
        energy_of("os:system")
