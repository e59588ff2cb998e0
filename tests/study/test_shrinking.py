"""A study that is shrunk runs less, at a scale of its own that is never for citing, and keeps what criteria it can."""

from __future__ import annotations

import pytest
from study_files import CRITERION, write_study

from ebm_vs_prob.core.errors import UnknownName
from ebm_vs_prob.study import Store, load_results, load_study, plan_study, run_study
from ebm_vs_prob.study.consistency import check_references
from ebm_vs_prob.study.documents import DamagedRecord
from ebm_vs_prob.study.scales import SHRUNK, caveat
from ebm_vs_prob.study.shrinking import opened, shrunk

pytestmark = pytest.mark.usefixtures("plugin")
ARMS = {"plain": ("ring", ""), "stiff": ("ring", "stiffness = 9.0")}


@pytest.fixture
def study(tmp_path):
    return load_study(write_study(tmp_path / "rings.toml", arms=ARMS, seeds=3, extra=CRITERION))


def test_nothing_that_is_asked_leaves_the_study_as_it_is(study):
    assert shrunk(study, "quick") == (study, "quick")


def test_a_shrunk_study_has_less_to_run_and_a_scale_that_says_so(study):
    small, scale = shrunk(study, "quick", seeds=2, steps=1, arms=["stiff"], at=[0.1])
    plan = plan_study(small, scale, "cpu")
    assert {(trial.seed, trial.specification["budget"]["steps"]) for trial in plan.trials} == {(0, 1), (1, 1)}
    assert {condition.labels["arm"] for condition in plan.conditions} == {"stiff"}
    assert {condition.labels["thickness"] for condition in plan.conditions} == {0.1}
    assert scale.startswith(f"quick{SHRUNK}")
    assert caveat(scale) == "shrunk, never for citing"
    assert small.name == study.name


def test_the_scale_is_named_by_what_is_run(study):
    names = {shrunk(study, "quick", seeds=1)[1], shrunk(study, "quick", seeds=2)[1], shrunk(study, "quick", steps=1)[1]}
    assert len(names) == 3
    assert shrunk(study, "quick", seeds=1)[1] in names


@pytest.mark.parametrize(
    ("less", "left"),
    [
        ({"seeds": 1}, 1),
        ({"arms": ["stiff"]}, 0),
        ({"at": [0.3]}, 0),
        ({"at": [0.3, 0.1]}, 1),
        ({"arms": ["plain"]}, 1),
    ],
)
def test_a_criterion_stays_as_long_as_it_is_one(study, less, left):
    small, _ = shrunk(study, "quick", **less)
    assert len(small.criteria) == left
    check_references(small)


@pytest.mark.parametrize(
    ("less", "words"),
    [
        ({"arms": ["plane"]}, "did you mean 'plain'"),
        ({"tasks": ["circel"]}, "did you mean 'circle'"),
        ({"at": [0.2]}, "0.3, 0.1"),
        ({"seeds": 4}, "at most 3"),
    ],
)
def test_what_the_study_does_not_have_is_refused(study, less, words):
    with pytest.raises((ValueError, UnknownName), match=words):
        shrunk(study, "quick", **less)


def test_a_shrunk_run_lies_apart_shares_its_trials_and_is_found_by_its_scale(study, tmp_path):
    store = Store(tmp_path / "store")
    small, scale = shrunk(study, "quick", seeds=1)
    run_study(small, scale, engine="serial", device="cpu", store=store.root)
    with pytest.raises(UnknownName, match="no results"):
        load_results(study, "quick", store.root)
    again = opened(study, scale, store)
    assert again.at(scale).seeds == 1
    assert again.path == study.path
    first = set(load_results(again, scale, store.root)["trial"])
    whole = run_study(study, "quick", engine="serial", device="cpu", store=store.root)
    assert first < set(whole["trial"])
    assert set(whole["scale"]) == {"quick"}
    with pytest.raises(UnknownName, match=scale):
        opened(study, scale[:-1], store)
    (store.study_folder("rings", scale) / "plan.json").write_bytes(b"{}")
    with pytest.raises(DamagedRecord, match="does not match its checksum"):
        opened(study, scale, store)
