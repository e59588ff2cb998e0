"""A scale may leave out tasks, arms and settings; what is held of a study at it is a study of its own."""

from __future__ import annotations

import pytest
from study_files import CRITERION, write_study

from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.study.plan import places
from ebm_vs_prob.study.tuning import settled

PARTS = """
[[tasks]]
name = "wide"
task = "circle"
options = { ambient_dim = 4 }
"""
OTHER = CRITERION.replace('id = "slope"', 'id = "other"').replace('"C11"', '"C12"').replace('["plain"]', '["second"]')
GATE = '\n[[gates]]\nmetric = "tube_mass"\nabove = 0.5\narms = ["second"]\n'


@pytest.fixture
def write(tmp_path, plugin):
    def written(scale: str):
        path = write_study(
            tmp_path / "rings.toml",
            arms={"plain": ("ring", ""), "second": ("ring", "stiffness = 2.0")},
            extra=CRITERION + OTHER + GATE,
        )
        text = path.read_text().replace("seeds = 3", f"seeds = 3\n{scale}", 1)
        path.write_text(text.replace("[[arms]]", PARTS + "\n[[arms]]", 1))
        return load_study(path)

    return written


def test_a_scale_without_a_word_of_it_has_all(write):
    study = write("")
    assert study.held_at("quick") == study


def test_a_scale_leaves_out_arms_with_what_speaks_of_them(write):
    held = write('arms = ["plain"]').held_at("quick")
    assert [arm.name for arm in held.arms] == ["plain"]
    assert [criterion.id for criterion in held.criteria] == ["slope"]
    assert held.claims == ("C11",)
    assert held.gates == ()


def test_a_scale_leaves_out_tasks_and_their_trials(write):
    study = write('tasks = ["wide"]')
    held = study.held_at("quick")
    assert [grid.name for grid in held.tasks] == ["wide"]
    assert held.criteria == ()
    found = list(places(plan_study(study, device="cpu").to_record()))
    assert {place["task"] for place in found} == {"wide"}
    assert len(found) == 2 * 3


@pytest.mark.parametrize(("part", "name"), [("arms", "plane"), ("tasks", "wid")])
def test_a_scale_names_what_the_study_has(write, part, name):
    with pytest.raises(LookupError, match=f"scales.quick.{part}: '{name}': did you mean"):
        write(f'{part} = ["{name}"]')


def test_a_scale_that_is_not_tuned_has_the_middle_value(tmp_path, plugin):
    path = write_study(tmp_path / "rings.toml")
    tuning = '\n[tuning]\nscales = ["full"]\nvalues = { stiffness = [1.0, 2.0, 3.0, 4.0, 5.0] }\n'
    full = (
        "[scales.full]\nseeds = 3\nnetwork = { hidden = [4] }\nbudget = { steps = 3, batch_size = 8, examples = 32 }\n"
    )
    path.write_text(path.read_text().replace("[evaluation]", full + "\n[evaluation]", 1) + tuning)
    study = load_study(path)
    quick = settled(study, "quick")
    assert quick.tuning is None
    assert quick.arm("plain").options == {"stiffness": 3.0}
    assert settled(study, "full") == study
    first = plan_study(study, "quick", device="cpu").trials[0]
    assert first.specification["method"]["options"]["stiffness"] == 3.0
