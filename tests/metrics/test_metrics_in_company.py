"""What a study measures of a replicate is the same bits alone and in company, errors included."""

from __future__ import annotations

import numpy as np
import pytest

import ebm_vs_prob as evp

METHODS = [method for method in evp.list_methods() if method.batchable and method.principle != "exact"]
#: Read at a fitted beta, normalised by quadrature, a mean over draws of weights, discrete, and a closed form.
FEW = ("energy_loss", "negative_log_likelihood", "gibbs_ensemble", "minimum_classification_error", "mixture_density")
TASKS = {"linear_chain_crf": "labelled_chain", "softmax_classifier": "gaussian_classes"} | {
    "minimum_classification_error": "labelled_chain",
    "minimum_empirical_error": "gaussian_classes",
}
OWN = 2
#: Tasks whose truth takes minutes at several replicates.
BY_QUADRATURE = ("super_resolution", "video")
#: What a batch shares; and eigenvalues, which LAPACK rounds by where a matrix lies in memory, whatever MKL is told.
SHARED = ("seconds", "answer_numbers", "resolution", "curvature_p95", "sharpness_curvature")
SMALL = evp.Evaluation(test_examples=48, inputs=3, starts=3, samples=16)


def measured(method, task, seeds):
    """The table of the replicate whose seed is `OWN`, without what its company shares."""
    budget = evp.Budget(steps=30, batch_size=16, examples=128)
    model = evp.fit(method, task, seeds=seeds, network=evp.Network(hidden=(8, 8)), budget=budget)
    table = evp.evaluate(model, [task] * len(seeds), SMALL)
    own = table[(table["replicate"] == seeds.index(OWN)) & ~table["metric"].isin(SHARED)]
    return own.set_index("metric")[["value", "error", "n"]]


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, id=m.name, marks=pytest.mark.slow if m.name in FEW else pytest.mark.long) for m in METHODS],
)
def test_metrics_are_the_same_bits_alone_and_in_company(method):
    names = [TASKS[method.name]] if method.name in TASKS else ["gustafsson_1d", "circle"]
    tasks = [evp.get_task(name) if name != "circle" else evp.get_task(name, thickness=0.1) for name in names]
    for task in tasks:
        if method.why_not(task) is not None:
            continue
        alone = measured(method, task, [OWN])
        for seeds in ([OWN, 7], [0, 1, OWN, 3, 4]):
            company = measured(method, task, seeds)
            same = (alone == company) | (alone.isna() & company.isna())
            assert same.all(axis=None), alone[~same.all(axis=1)].compare(company[~same.all(axis=1)])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(kind.name, marks=pytest.mark.long if kind.name in BY_QUADRATURE else pytest.mark.slow)
        for kind in evp.list_tasks()
        if kind.name != "data"
    ],
)
def test_the_truth_of_each_task_is_measured_in_company_as_alone(name):
    """Whatever differs in number among replicates, as answers of an x; formulas round as tensors are long."""
    task = evp.get_task(name)
    alone = measured("exact", task, [OWN])
    company = measured("exact", task, [OWN, 7, 0, 1, 3])
    assert list(alone.index) == list(company.index)
    np.testing.assert_allclose(company["value"], alone["value"], rtol=1e-4, atol=1e-4)
