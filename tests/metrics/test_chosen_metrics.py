"""Only what is asked for is measured, and it is what it is among all others."""

import pandas as pd
import pytest
from study_files import CRITERION, write_study

import ebm_vs_prob as evp
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.study import plan_study

SMALL = {"test_examples": 32, "inputs": 3, "starts": 2, "samples": 32, "max_steps": 20, "partitions": 2}
COSTS = {"weight_norm", "energy_evaluations", "multiply_adds", "seconds"}


@pytest.fixture(scope="module")
def fitted():
    task = evp.get_task("circle", thickness=0.1)
    budget = evp.Budget(steps=5, batch_size=8, examples=64)
    return task, evp.fit(
        "denoising_score_matching", task, seeds=[0, 1], network=evp.Network(hidden=(6, 6)), budget=budget
    )


@pytest.mark.parametrize("metrics", [("critical_step",), ("gibbs_gap", "answer_distance_median"), ("angle_ks",)])
def test_what_is_asked_for_is_measured_as_among_all(fitted, metrics):
    task, model = fitted
    every = evp.evaluate(model, task, Evaluation(**SMALL))
    some = evp.evaluate(model, task, Evaluation(**SMALL, metrics=metrics))
    assert {*metrics, *COSTS} <= set(some["metric"]) < set(every["metric"])
    common = every[every["metric"].isin(some["metric"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.reset_index(drop=True), common, check_exact=True)


def test_what_is_wanted_now_goes_before_what_the_evaluation_says(fitted):
    task, model = fitted
    table = evp.evaluate(model, task, Evaluation(**SMALL, metrics=("critical_step",)), only=["weight_norm"])
    assert set(table["metric"]) == {"weight_norm"}


def test_a_metric_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match=r"metrics that there are: .* did you mean 'answer_distance_median'"):
        Evaluation(metrics=("answer_distance_medain",))
    with pytest.raises(ValueError, match="each metric once"):
        Evaluation(metrics=("seconds", "seconds"))


@pytest.mark.parametrize(("metrics", "fits"), [('"curvature_p95", "tube_mass"', True), ('"tube_mass"', False)])
def test_a_study_measures_what_its_criteria_ask_for(tmp_path, metrics, fits):
    path = write_study(tmp_path / "rings.toml", arms={"plain": ("denoising_score_matching", "")}, extra=CRITERION)
    text = path.read_text().replace('plugins = ["study_plugin"]\n', "")
    path.write_text(text.replace("samples = 8 }", f"samples = 8, metrics = [{metrics}] }}"))
    if fits:
        assert plan_study(path, device="cpu").num_trials
    else:
        with pytest.raises(
            ValueError, match=r"evaluation\.metrics = 'tube_mass' .* curvature_p95 too, which a criterion"
        ):
            plan_study(path, device="cpu")
