"""A model opened from its record is the one that was measured, and another one is refused."""

from __future__ import annotations

import re

import pytest
from study_files import registered_plugin, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.study import Store, load_study, opening
from ebm_vs_prob.study.recognition import OF_RANGE, energies

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
