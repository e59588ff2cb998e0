"""An energy of the user's own, named in a study beside built-in networks: run, recorded, opened, and refused."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest

import ebm_vs_prob as evp
from ebm_vs_prob.study import Store, load_study, plan_study, provenance
from ebm_vs_prob.study.own_energies import energy_of
from ebm_vs_prob.study.plan_again import plan_again
from ebm_vs_prob.study.provenance import mixture
from ebm_vs_prob.study.recognition import energies
from ebm_vs_prob.study.verification import verify

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


class Native(Ring):
    num_replicates = 1
    multiply_adds = 8.0
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


def test_the_model_of_an_energy_that_has_changed_is_refused(ran):
    path, store, frame = ran
    helper = path.with_name("rings_helper.py")
    trial = frame[frame["arm"] == "ring"]["trial"].iloc[0]
    before = helper.read_text()
    helper.write_text("WIDTH = 5\n")
    provenance._digest_of_sources.cache_clear()  # as another process would
    with pytest.raises(ValueError, match="one that the code at hand made"):
        evp.open_model(path, trial, store=store)
    helper.write_text(before)
    provenance._digest_of_sources.cache_clear()
    assert evp.open_model(path, trial, store=store).method.name == "denoising_score_matching"


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
    '"rings:TwoNumbers"': r"on circle: shape of the energy = \(2, 2\) is not valid: expected \(2,\)",
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


@pytest.mark.parametrize("method", ["mixture_density", "vae", "kernel_density"])
def test_a_method_without_an_energy_to_replace_says_so(folder, method):
    path = study(folder, ("a", method, '"rings:Ring"'))
    expected = rf"arms\.a\.network = 'rings:Ring' is not valid: expected an energy that {method} can train, or a table"
    with pytest.raises(ValueError, match=expected):
        plan_study(path, device="cpu")


def test_what_no_study_named_is_not_called():
    with pytest.raises(LookupError, match="unknown energy 'os:system'"):
        energy_of("os:system")
