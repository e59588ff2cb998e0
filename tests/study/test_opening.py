"""A model opened from its record is the one that was measured, and another one is refused."""

from __future__ import annotations

import re

import pytest
from study_files import registered_plugin, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.study import Store, load_study, opening
from ebm_vs_prob.study.keys import canonical
from ebm_vs_prob.study.recognition import OF_RANGE, check_recognised, energies

ARMS = {
    "score": ("denoising_score_matching", ""),
    "mixture": ("mixture_density", ""),
    "collapsed": ("energy_loss", ""),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A study of 40 steps in company of three, and its table."""
    folder = tmp_path_factory.mktemp("opening")
    path = write_study(folder / "rings.toml", ARMS, thickness="0.1")
    path.write_text(path.read_text().replace("steps = 3", "steps = 40"))
    with registered_plugin():
        frame = evp.run_study(path, store=folder / "store", engine="serial", device="cpu", progress=False)
        yield path, folder / "store", frame.drop_duplicates("trial")


def trial_of(frame, arm, seed=1):
    return frame[(frame["arm"] == arm) & (frame["seed"] == seed)]["trial"].iloc[0]


@pytest.mark.parametrize("arm", ARMS)
def test_a_model_opened_alone_has_the_energies_of_its_record(ran, arm):
    path, store, frame = ran
    trial = trial_of(frame, arm)
    recorded = Store(store).read(trial)["energies"]
    model = evp.open_model(path, trial, store=store)
    assert len(recorded) == 8
    assert energies(model, model.tasks)[0] == recorded


@pytest.mark.parametrize("arm", ["score", "mixture"])
@pytest.mark.parametrize("change", ["seed", "steps", "learning_rate"])
def test_a_model_that_is_not_the_records_is_refused(ran, arm, change, monkeypatch):
    """Another seed's, one of a step in twenty less, one of a learning rate a quarter higher."""
    path, store, frame = ran
    trial = trial_of(frame, arm)
    own = evp.open_model(path, trial, store=store)
    budget, seeds, rate = own.setting.budget, own.seeds, own.setting.options.learning_rate
    arguments = {
        "seed": {"seeds": [seeds[0] + 1]},
        "steps": {"budget": budget.model_copy(update={"steps": 38})},
        "learning_rate": {"learning_rate": 1.25 * rate.tolist()[0]},
    }[change]
    kept = {"seeds": seeds, "budget": budget, "network": own.setting.network}
    other = evp.fit(own.method.name, list(own.tasks), **kept | arguments)
    monkeypatch.setattr(opening, "train_trials", lambda *given: other)
    with pytest.raises(ValueError, match=f"^trial = '{trial}' is not valid: .*{re.escape('energies are')}"):
        evp.open_model(path, trial, store=store)


@pytest.mark.parametrize("arm", ["score", "mixture"])
def test_the_model_of_a_record_of_other_code_is_known_by_its_energies(ran, arm, monkeypatch):
    path, store, frame = ran
    trial = trial_of(frame, arm)
    record = Store(store).read(trial)
    monkeypatch.setattr(opening, "code_digest", lambda: "0" * 64)
    model = evp.open_model(path, trial, store=store)
    assert energies(model, model.tasks)[0] == record["energies"]
    other = evp.open_model(path, trial_of(frame, arm, seed=2), store=store)
    monkeypatch.setattr(opening, "train_trials", lambda *given: other)
    both = f"the code of ebm_vs_prob is {'0' * 64} and was {record['code_digest']}"
    with pytest.raises(ValueError, match=f"^trial = '{trial}' is not valid: .*energies are .*; {both}$"):
        evp.open_model(path, trial, store=store)


def test_a_record_of_other_code_without_energies_is_refused():
    model = evp.fit("exact", evp.get_task("digits"), budget=evp.Budget(steps=1, examples=8, batch_size=8))
    check_recognised("abc", [None] * 8, model, model.tasks)
    with pytest.raises(ValueError, match=r"^trial = 'abc' is not valid: .*no energies .*: the code is another$"):
        check_recognised("abc", [None] * 8, model, model.tasks, "the code is another")


def test_the_task_of_a_record_has_the_defaults_of_options_that_came_later(ran):
    _, store, frame = ran
    told = Store(store).read(trial_of(frame, "score"))["specification"]
    options = dict(told["task"]["options"])
    assert options.pop("ambient_dim") == 2
    task = opening.recorded_task(told | {"task": told["task"] | {"options": options}})
    assert canonical(task.specification()) == told["task"]
    with pytest.raises(LookupError, match="unknown option of circle: 'spin'"):
        opening.recorded_task(told | {"task": told["task"] | {"options": options | {"spin": 1}}})


@pytest.mark.parametrize("kind", ["task", "method"])
def test_a_record_of_another_version_is_refused(ran, kind):
    _, store, frame = ran
    told = Store(store).read(trial_of(frame, "score"))["specification"]
    version = told[kind]["version"]
    said = f"^version of {told[kind]['name']} = {version + 1} is not valid: expected {version}, "
    with pytest.raises(ValueError, match=said):
        opening.recorded_task(told | {kind: told[kind] | {"version": version + 1}})


def test_rounding_is_no_reason_to_refuse(ran, monkeypatch):
    path, store, frame = ran
    trial = trial_of(frame, "mixture")
    own = evp.open_model(path, trial, store=store)
    recorded = Store(store).read(trial)["energies"]
    span = max(recorded) - min(recorded)
    for shift, refused in ((0.5, False), (3.0, True)):
        energy = own.energy
        monkeypatch.setattr(
            own, "energy", lambda x, y, energy=energy, shift=shift: energy(x, y) + shift * OF_RANGE * span
        )
        monkeypatch.setattr(opening, "train_trials", lambda *given: own)
        if refused:
            with pytest.raises(ValueError, match="energies are"):
                evp.open_model(path, trial, store=store)
        else:
            assert evp.open_model(path, trial, store=store) is own
        monkeypatch.undo()


def test_what_has_no_model_is_named(ran):
    path, store, _ = ran
    with pytest.raises(LookupError, match="unknown trial 'abc'"):
        evp.open_model(load_study(path), "abc", store=store)


@pytest.mark.parametrize(
    "task", [evp.get_task("digits"), evp.get_task("circle", thickness=0.0)], ids=["digits", "thin"]
)
def test_an_exact_model_of_data_without_a_density_has_no_energies(task):
    model = evp.fit("exact", task, seeds=[0, 1], budget=evp.Budget(steps=1, examples=8, batch_size=8))
    assert energies(model, [task, task]) == [[None] * 8] * 2
