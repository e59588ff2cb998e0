"""What of a study's file may change after its run, and what would then be stated of a run that never was."""

from __future__ import annotations

import pytest
from study_files import DENSITY_CRITERION, write_study

from ebm_vs_prob.report.inputs import gather
from ebm_vs_prob.study import Store, load_study, plan_study
from ebm_vs_prob.study.plan_again import changes, is_of, other_rows
from ebm_vs_prob.study.verification import verify

pytestmark = pytest.mark.usefixtures("plugin")

LADDER = """
[[ladders]]
criterion = "density"
rungs = 3
"""
AGAIN = """
[[sensitivity]]
name = "wide"
network = { hidden = [8] }
"""


@pytest.fixture
def planned(tmp_path):
    """A study's file, and what was planned of it."""
    path = write_study(tmp_path / "rings.toml", extra=DENSITY_CRITERION + AGAIN)
    return path, plan_study(path, device="cpu").to_record()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('title = "Rings"', 'title = "Other rings"'),
        ('title = "Rings"', 'title = "Rings"\nlimitations = ["It is small."]'),
        ("above = -3.0", "above = -2.0"),
        ("at = [0.1]", "at = [0.3]"),  # which the entry of `sensitivity` looks at
        ("It has density", "It has a density"),
        ("time_limit = 60.0", "time_limit = 90.0"),
        ("[[criteria]]", LADDER + "\n[[criteria]]"),
        (AGAIN, ""),
    ],
)
def test_what_decides_no_number_may_change(planned, before, after):
    path, plan = planned
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    assert changes(plan, load_study(path), "quick") == {}


@pytest.mark.parametrize(
    ("before", "after", "field", "was", "now"),
    [
        ("hidden = [4]", "hidden = [64]", "scales.quick.network.hidden", [4], [64]),
        ("steps = 3,", "steps = 30,", "scales.quick.budget.steps", 3, 30),
        ("seeds = 3", "seeds = 10", "scales.quick.seeds", 3, 10),
        ("[0.3, 0.1]", "[0.3, 0.2, 0.1]", "tasks.circle.along.thickness", [0.3, 0.1], [0.3, 0.2, 0.1]),
        ("max_steps = 3", "max_steps = 4", "evaluation.max_steps", 3, 4),
        ("options = {  }", "options = { stiffness = 2.0 }", "arms.plain.options.stiffness", None, 2),
        ("hidden = [8]", "hidden = [16]", "sensitivity.wide.network.hidden", [8], [16]),
    ],
)
def test_what_decides_numbers_is_named(planned, before, after, field, was, now):
    path, plan = planned
    text = path.read_text()
    assert before in text
    path.write_text(
        text.replace(before, after).replace("at = [0.1]", "at = [0.1, 0.3]" if "0.2" in after else "at = [0.1]")
    )
    assert changes(plan, load_study(path), "quick") == {field: (was, now)}


def test_a_page_is_made_of_no_run_that_never_was(planned, tmp_path):
    """Neither by editing the file, nor where another file of its name was run later in the same store."""
    path, plan = planned
    store = Store(tmp_path / "store")
    store.write_plan(plan)
    path.write_text(path.read_text().replace("steps = 3,", "steps = 30,"))
    with pytest.raises(ValueError, match=r"rings\.toml: scales\.quick\.budget\.steps = 30 .*: expected 3, with which"):
        gather(path, "quick", store.root)
    store.write_plan(plan_study(path, device="cpu").to_record())
    gather(path, "quick", store.root)


def test_data_files_that_hold_other_rows_are_told_in_a_sentence_and_those_not_there_not_compared(tmp_path):
    (tmp_path / "points.csv").write_text("a\n" + "\n".join(map(str, range(40))))
    task = '[[tasks]]\nname = "data"\noptions = { data = "points.csv", y = ["a"] }\n'
    path = write_study(tmp_path / "rings.toml", arms={"plain": ("mixture_density", "")})
    start, rest = path.read_text().split("[[tasks]]")
    path.write_text(start + task + "[[arms]]" + rest.split("[[arms]]")[1])
    plan = plan_study(path, device="cpu").to_record()
    (tmp_path / "points.csv").unlink()
    assert not is_of(plan, load_study(path), "quick")
    assert changes(plan, load_study(path), "quick") == {}
    assert other_rows(plan, load_study(path), "quick") == ""
    (tmp_path / "points.csv").write_text("a\n" + "\n".join(map(str, range(1, 41))))
    study, sentence = load_study(path), "points.csv holds other rows than those it was run with"
    assert changes(plan, study, "quick") == {}
    assert other_rows(plan, study, "quick") == sentence
    store = Store(tmp_path / "store")
    store.write_plan(plan)
    with pytest.raises(ValueError, match=rf"rings\.toml: {sentence}; run it again"):
        gather(path, "quick", store.root)
    found = verify(study, "quick", store)
    assert sentence in found.problems
    assert found.changed == []
