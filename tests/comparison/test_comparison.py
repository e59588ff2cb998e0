"""Fitted models as InferenceData, and their comparison: against ArviZ used by hand, exact scores and planted faults."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import pytest
import torch
from gaussian import gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from statistical import standard_errors, within_standard_errors

import ebm_vs_prob as evp
from ebm_vs_prob.core.errors import NotNormalised
from ebm_vs_prob.models.record import ReplicateStatus
from ebm_vs_prob.prob.methods.mixture_density import MixtureDensity, MixtureDensityModel
from ebm_vs_prob.prob.posteriors.posterior_diagnostics import PosteriorDiagnostics

SHORT = evp.Budget(steps=60, examples=120, batch_size=32)


def curves() -> evp.Task:
    return evp.get_task("three_curves", thickness=0.1)


@functools.cache
def fitted(name: str, seeds: tuple[int, ...] = (0, 1)) -> evp.Model:
    return evp.fit(name, curves(), seeds=seeds, budget=SHORT)


class Posterior(MixtureDensityModel):
    """N(0, I) given draws of its mean from the exact posterior, prior N(0, 1): LOO in closed form."""

    draws = 400
    shift = 0.0
    diagnostics: PosteriorDiagnostics | None = None

    def posterior_weights(self):
        means = []
        for task, seed in zip(self.tasks, self.seeds, strict=True):
            _, y = task.sample(self.setting.budget.examples, seed)
            precision = 1 + len(y)
            noise = torch.randn(self.draws, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            means.append(y.sum(0) / precision + noise / precision**0.5 + self.shift)
        return {"mean": torch.stack(means)}

    def posterior_log_prob(self, x, y):
        _, y = self._paired(x, y)
        each = torch.distributions.Normal(self.posterior_weights()["mean"].unsqueeze(2), 1.0)
        return each.log_prob(y.double().unsqueeze(1)).sum(-1)

    def posterior_diagnostics(self):
        return self.diagnostics


def posterior(examples: int = 40, seeds=(0, 1), **attributes) -> evp.Model:
    model = evp.fit(
        MixtureDensity, gaussian(1), seeds=seeds, budget=evp.Budget(steps=1, batch_size=2, examples=examples)
    )
    turned = type("Posterior", (Posterior,), attributes)(model.method, model.setting, model.module)
    return turned.finished(model.training)


# ---- InferenceData ---------------------------------------------------------------------------------------------------


def test_an_ensemble_of_replicates_has_every_group():
    model, task = fitted("mixture_density"), curves()
    data = evp.inference_data(model, task, examples=30, inputs=3, samples=5, seed=2)
    assert set(data.groups()) == {
        *("posterior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data", "constant_data")
    }
    x, y = task.sample(30, 2, "test")
    expected = model.log_prob(x, y).double().numpy()
    assert data.log_likelihood["y"].dims == ("chain", "draw", "example")
    np.testing.assert_allclose(data.log_likelihood["y"].values[0], expected)
    np.testing.assert_allclose(data.sample_stats["log_score"].values[0], expected.mean(1))
    assert data.sample_stats["replicate"].values.tolist() == [[0, 1]]
    np.testing.assert_array_equal(data.observed_data["y"].values, y.numpy())
    np.testing.assert_array_equal(data.constant_data["x"].values, x.numpy())
    drawn = model.sample(x[:3], 5, 2)
    predictive = data.posterior_predictive["y"].values
    assert predictive.shape == (1, 10, 3, 1)
    np.testing.assert_array_equal(predictive[0, 5:, 1], drawn[1, 1].numpy())
    for name, value in model.module.named_parameters():
        np.testing.assert_array_equal(data.posterior[name].values[0], value.numpy())


def test_one_replicate_of_it_is_one_draw():
    model = fitted("mixture_density")
    both, one = (evp.inference_data(model, curves(), examples=20, replicate=r) for r in (None, 1))
    assert one.log_likelihood["y"].shape == (1, 1, 20)
    np.testing.assert_array_equal(one.log_likelihood["y"].values[0, 0], both.log_likelihood["y"].values[0, 1])
    assert one.sample_stats["replicate"].values.tolist() == [[1]]


def test_draws_of_a_posterior_are_its_draws():
    model = posterior(draws=7)
    data = evp.inference_data(model, gaussian(1), replicate=1, examples=11)
    assert data.log_likelihood["y"].shape == (1, 7, 11)
    np.testing.assert_array_equal(data.posterior["mean"].values[0], model.posterior_weights()["mean"][1].numpy())
    x, y = gaussian(1).sample(11, 0, "test")
    np.testing.assert_allclose(data.log_likelihood["y"].values[0], model.posterior_log_prob(x, y)[1].numpy())
    assert evp.inference_data(model, gaussian(1), examples=11).log_likelihood["y"].shape == (1, 14, 11)
    assert "constant_data" not in data.groups()


def test_a_model_without_weights_has_no_posterior_and_labels_stay_integers():
    data = evp.inference_data(fitted("kernel_density"), curves(), examples=10)
    assert "posterior" not in data.groups()
    task = evp.get_task("labelled_chain", length=3)
    model = evp.fit("linear_chain_crf", task, budget=SHORT)
    data = evp.inference_data(model, task, examples=10, inputs=2, samples=3)
    assert data.posterior_predictive["y"].shape == (1, 3, 2, 3)
    assert data.observed_data["y"].dtype == np.int64


def test_an_energy_enters_as_its_gibbs_density():
    model, task = fitted("denoising_score_matching"), curves()
    data = evp.inference_data(model, task, examples=8)
    x, y = task.sample(8, 0, "test")
    np.testing.assert_allclose(
        data.log_likelihood["y"].values[0], model.gibbs(x).log_prob(y.unsqueeze(0)).double().numpy()
    )
    assert data.attrs["normalised"] == "False"
    with pytest.raises(NotNormalised):
        evp.inference_data(fitted("mean_squared_error"), task)


def test_it_survives_netcdf(tmp_path):
    import arviz as az

    data = evp.inference_data(fitted("mixture_density"), curves(), examples=10)
    data.to_netcdf(str(tmp_path / "data.nc"), engine="h5netcdf")
    read = az.from_netcdf(str(tmp_path / "data.nc"), engine="h5netcdf").load()
    np.testing.assert_array_equal(read.log_likelihood["y"].values, data.log_likelihood["y"].values)
    assert read.attrs["method"] == "mixture_density"


# ---- comparison ------------------------------------------------------------------------------------------------------


def exact_and_blunt() -> dict[str, evp.Model]:
    return {"exact": evp.fit("exact", curves(), seeds=[0, 1]), "mixture": fitted("mixture_density")}


def test_held_out_sums_are_the_log_scores_of_the_mean_density():
    models = exact_and_blunt()
    found = evp.compare_models(models, curves(), examples=200, seed=3)
    x, y = curves().sample(200, 3, "test")
    terms = {name: (model.log_prob(x, y).double().logsumexp(0) - math.log(2)).numpy() for name, model in models.items()}
    table = found.table
    assert list(table.index) == ["exact", "mixture"]
    for name, each in terms.items():
        assert table.loc[name, "elpd"] == pytest.approx(each.sum())
        assert table.loc[name, "se"] == pytest.approx(math.sqrt(200) * each.std())
    difference = terms["exact"] - terms["mixture"]
    assert table.loc["mixture", "elpd_diff"] == pytest.approx(difference.sum())
    assert table.loc["mixture", "dse"] == pytest.approx(math.sqrt(200) * difference.std())
    assert table["weight"].sum() == pytest.approx(1)
    assert set(table["estimate"]) == {"held_out"}
    assert list(table["draws"]) == [2, 2]
    assert found.warnings == ()


def test_stacking_weights_do_not_depend_on_how_thin_the_data_are(monkeypatch):
    """One model better by 3 nats at 3/4 of the pairs, the other at the rest, all of them beyond the range of exp."""
    models = {"often": fitted("mixture_density"), "rarely": fitted("kernel_density")}
    lost = torch.tensor([0.0, 0.0, 0.0, -3.0], dtype=torch.float64).repeat(64)
    for model, shortfall in zip(models.values(), (lost, -3.0 - lost), strict=True):
        monkeypatch.setattr(model, "log_prob", lambda x, y, own=shortfall: (own - 2000).expand(2, -1))
    table = evp.compare_models(models, curves()).table
    small = math.exp(-3)
    assert table.loc["often", "weight"] == pytest.approx((0.75 - 0.25 * small) / (1 - small), abs=1e-3)
    assert table.loc["often", "elpd"] == pytest.approx(float((lost - 2000).sum()))


def test_psis_loo_is_the_closed_form_of_a_conjugate_model_and_arvizs_own():
    """y ~ N(m, 1), m ~ N(0, 1): without pair i the predictive is N(sum of the others / n, 1 + 1 / n).

    A sum over the pairs of ln of means over the same draws has the standard error of the draws' own parts of it, about
    .022 nats of 4,000 draws, both of the score and of the effective number of parameters, which is 1 here: the bounds
    are a tenth of that, and an in-sample score is refused. Pareto k, 1 / 41 in truth, was .13 ± .06 over 150 data sets.
    """
    import arviz as az

    model, n = posterior(draws=4000), 40
    chains = diagnostics(torch.full((2, 3), 1.001), torch.full((2, 3), 4000.0), torch.zeros(2, 4))
    model.diagnostics = chains
    shifted = posterior(draws=4000, shift=0.3, diagnostics=chains)
    found = evp.compare_models({"a": model, "b": shifted}, gaussian(1), split="train", replicate=1)
    _, y = gaussian(1).sample(n, 1)
    others = y.sum() - y[:, 0]
    exact = torch.distributions.Normal(others / n, math.sqrt(1 + 1 / n)).log_prob(y[:, 0]).sum()
    own = torch.distributions.Normal(y.sum() / (n + 1), math.sqrt(1 + 1 / (n + 1))).log_prob(y[:, 0]).sum()
    each = model.posterior_log_prob(*gaussian(1).sample(n, 1))[1]
    left_out, kept = (sign * (4000 * (sign * each).softmax(0) - 1).sum(1) for sign in (-1, 1))  # parts of the draws
    row = found.table.loc["a"]
    assert row["estimate"] == "psis_loo"
    for value, truth, parts in ((row["elpd"], exact, left_out), (row["p_loo"], own - exact, kept - left_out)):
        se = float(parts.std()) / math.sqrt(4000)
        assert within_standard_errors(value, truth, se, comparisons=2)
        assert standard_errors(comparisons=2) * se < 0.12
    assert row["pareto_k"] < 0.7
    data = evp.inference_data(model, gaussian(1), split="train", replicate=1, examples=n)
    assert row["elpd"] == pytest.approx(float(az.loo(data)["elpd_loo"]))
    assert list(found.table.index) == ["a", "b"]
    assert found.warnings == ()


def test_leaving_out_lowers_the_score_and_one_draw_is_called_in_sample():
    models = {"posterior": posterior(draws=1000), "point": posterior(draws=1)}
    found = evp.compare_models(models, gaussian(1), split="train", replicate=0)
    assert found.table.loc["point", "estimate"] == "in_sample"
    assert math.isnan(found.table.loc["point", "pareto_k"])
    assert any(line.startswith("point: one draw: its in-sample log score") for line in found.warnings)
    assert [line for line in found.warnings if line.startswith("posterior")] == [
        "posterior: draws of an approximate posterior, of no chains: its LOO is as good as they resemble the posterior"
    ]


def diagnostics(r_hat, ess, divergences):
    return PosteriorDiagnostics(r_hat, ess, ess, divergences, torch.zeros(2, 4), torch.zeros(2, 4))


def of_chains(ess: float, **attributes) -> evp.Model:
    found = diagnostics(torch.full((2, 3), 1.001), torch.full((2, 3), ess), torch.zeros(2, 4))
    return posterior(diagnostics=found, **attributes)


def test_draws_that_are_too_few_or_too_wild_are_told_by_pareto_k():
    models = {"few": of_chains(900.0, draws=8), "many": of_chains(900.0, draws=1000)}
    found = evp.compare_models(models, gaussian(1), split="train", replicate=0)
    assert found.table.loc["few", "pareto_k"] > 0.7
    assert [line.split(":")[0] for line in found.warnings] == ["few"]
    assert "8 draws are too few for LOO" in found.warnings[0]


def test_the_limit_of_pareto_k_is_that_of_the_number_of_draws(monkeypatch):
    """k = .6 is reliable with 1000 draws, whose limit is 1 - 1 / 3, and not with 200, whose limit is .565."""
    import arviz as az

    loo = az.loo

    def with_k(*args, **kwargs):
        found = loo(*args, **kwargs)
        found["pareto_k"][:] = 0.6
        return found

    monkeypatch.setattr(az, "loo", with_k)
    models = {"few": of_chains(900.0, draws=200), "many": of_chains(900.0, draws=1000)}
    found = evp.compare_models(models, gaussian(1), split="train", replicate=0)
    assert found.warnings == ("few: Pareto k above 0.57 at 40 of 40 pairs: its LOO by 200 draws cannot be trusted",)


def test_draws_of_chains_count_as_many_as_are_effective(monkeypatch):
    import arviz as az

    given, loo = [], az.loo
    monkeypatch.setattr(az, "loo", lambda *a, **k: given.append(k["reff"]) or loo(*a, **k))
    models = {"half": of_chains(500.0, draws=1000), "all": of_chains(5000.0, draws=1000), "none": posterior(draws=1000)}
    evp.compare_models(models, gaussian(1), split="train", replicate=0)
    assert given == [0.5, 1.0, 1.0]


CHAINS = {"budget": evp.Budget(steps=30, batch_size=16, examples=40), "network": evp.Network(hidden=(4,))}


def test_chains_stay_apart_in_inference_data():
    import arviz as az

    options = {"chains": 3, "draws": 5, **CHAINS}
    model = evp.fit("gibbs_stochastic_gradient_langevin", curves(), [0, 1], **options)
    data = evp.inference_data(model, curves(), replicate=1, examples=6)
    assert data.log_likelihood["y"].shape == (3, 5, 6)
    x, y = curves().sample(6, 0, "test")
    each = model.posterior_log_prob(x, y)[1].double().numpy()
    np.testing.assert_allclose(data.log_likelihood["y"].values.reshape(15, 6), each)
    for name, value in model.posterior_weights().items():
        np.testing.assert_array_equal(data.posterior[name].values.reshape(15, *value.shape[2:]), value[1].numpy())
        assert np.isfinite(az.rhat(data.posterior)[name].values).all()
        assert (az.ess(data.posterior)[name].values > 0).all()
    # The first chain's states are those it passed through, in order: neighbours are nearer than the ends.
    first = model.module.draws[1, :5]
    assert (first[1] - first[0]).norm() < (first[4] - first[0]).norm()
    assert evp.inference_data(model, curves(), examples=6).posterior[name].shape[:2] == (6, 5)
    assert "diverging" not in data.sample_stats


def test_what_nuts_knows_of_its_draws_is_in_sample_stats():
    model = evp.fit("gibbs_nuts", curves(), [0], chains=2, draws=5, max_tree_depth=2, **CHAINS)
    stats = evp.inference_data(model, curves(), examples=6).sample_stats
    assert stats["diverging"].dtype == bool
    assert stats["lp"].shape == stats["diverging"].shape == (2, 5)
    assert np.isfinite(stats["lp"].values).all()
    # The recorded loss is -lp over N after warm-up, chain after chain, and the last draw is the last state.
    loss = model.training.loss[0].reshape(2, -1)
    np.testing.assert_allclose(stats["lp"].values[:, -1], -40 * loss[:, -1].numpy(), rtol=1e-5)


def test_an_ln_z_that_training_was_far_from_is_told():
    """Eight proposals an example, each of its own x: ln Z^ is too low, and a model of the mode says so."""
    model = evp.fit("gibbs_maximum_a_posteriori", curves(), [0, 1], proposals=2, **CHAINS)
    assert model.partition_gap.shape == (2, 1)
    model.module.partition_gap.copy_(torch.tensor([[0.05], [0.3]]))
    found = evp.compare_models({"mode": model, "mixture": fitted("mixture_density")}, curves())
    lines = [line for line in found.warnings if "ln Z" in line]
    assert lines == ["mode: replicate 1: trained on an ln Z off by up to 0.30 nats"]
    assert "trained on an ln Z" in evp.inference_data(model, curves()).attrs["warnings"]


def test_chains_that_do_not_agree_are_told_by_r_hat():
    good, bad = torch.full((2, 3), 1.001), torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.4, 1.0]])
    nothing = torch.zeros(2, 4)
    divergent = torch.tensor([[0.0, 0, 0, 0], [0, 2, 0, 1]])

    ess = torch.full((2, 3), 900.0)
    models = {
        "good": posterior(diagnostics=diagnostics(good, ess, nothing)),
        "bad": posterior(diagnostics=diagnostics(bad, ess.minimum(torch.tensor([[900.0], [30.0]])), divergent)),
    }
    found = evp.compare_models(models, gaussian(1))
    assert [line.split(":")[0] for line in found.warnings] == ["bad"] * 3
    assert "replicate 1: R-hat up to 1.40" in found.warnings[0]
    assert "effective sample size from 30" in found.warnings[1]
    assert "3 divergent transitions" in found.warnings[2]
    assert evp.compare_models(models, gaussian(1), replicate=0).warnings == ()


def test_what_a_density_warns_of_is_in_the_result_and_not_on_the_screen():
    task, budget = evp.get_task("circle", thickness=0.02), evp.Budget(steps=200, examples=300)
    models = {
        "coarse": evp.fit("two_step", task, nodes=8, budget=budget),
        "mixture": evp.fit("mixture_density", task, budget=budget),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", evp.NormalizerWarning)
        found = evp.compare_models(models, task)
        data = evp.inference_data(models["coarse"], task)
    assert any(line.startswith("coarse: two_step, replicate 0: grid of codes coarser") for line in found.warnings)
    assert "coarser" in data.attrs["warnings"]


def test_failed_replicates_are_left_out_and_named():
    model = evp.fit("mixture_density", curves(), seeds=[0, 1], budget=SHORT)
    failed = (ReplicateStatus(), ReplicateStatus(False, 7, "loss = nan is not finite"))
    model.training = type(model.training)(model.training.loss, failed, model.training.cost)
    found = evp.compare_models({"sick": model, "well": fitted("mixture_density")}, curves())
    assert found.table.loc["sick", "draws"] == 1
    assert "sick: replicate 1 is left out: its training failed at step 7" in found.warnings[0]
    with pytest.raises(ValueError, match="a replicate whose training did not fail"):
        evp.inference_data(model, curves(), replicate=1)


def test_a_model_with_an_infinite_log_density_is_left_out_and_named(monkeypatch):
    models = {**exact_and_blunt(), "broken": fitted("mixture_density", (5,))}
    monkeypatch.setattr(models["broken"], "log_prob", lambda x, y: torch.full((1, len(y)), -math.inf))
    found = evp.compare_models(models, curves())
    assert set(found.table.index) == {"exact", "mixture"}
    assert "broken: left out: its log-density is not finite at 256 of 256 pairs" in found.warnings
    with pytest.raises(ValueError, match="two at least with finite log-densities"):
        evp.compare_models({"a": models["broken"], "b": models["exact"]}, curves())


def test_loo_compares_models_of_the_same_examples_only():
    models = {"a": fitted("mixture_density"), "b": fitted("mixture_density", (3, 4))}
    with pytest.raises(ValueError, match=r"models\['b'\] = .* fitted to the examples of the first"):
        evp.compare_models(models, curves(), split="train", replicate=0)
    assert len(evp.compare_models(models, curves()).table) == 2


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"split": "validation"}, "split"),
        ({"split": "train"}, "replicate"),
        ({"replicate": 2}, "replicate"),
        ({"replicate": True}, "replicate"),
        ({"examples": 0}, "examples"),
        ({"seed": -1}, "seed"),
        ({"task": evp.get_task("circle")}, "task"),
        ({"task": "three_curves"}, "task"),
        ({"task": evp.get_task("three_curves", thickness=0.2), "split": "train", "replicate": 0}, "task"),
    ],
)
def test_bad_arguments_are_named(arguments, field):
    model = fitted("mixture_density")
    given = {"task": curves(), **arguments}
    with pytest.raises(ValueError, match=rf"^{field} = ") as caught:
        evp.inference_data(model, **given)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=rf"^{field} = "):
        evp.compare_models({"a": model, "b": model}, **given)


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.integers(), st.just(fitted)), max_size=3))
def test_what_is_no_mapping_of_models_is_refused(models):
    with pytest.raises(ValueError, match=r"^models = .* expected a mapping of at least two names to fitted models"):
        evp.compare_models(models, curves())


@settings(max_examples=15)
@given(st.text(min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 2**40))
def test_any_names_numbers_and_seeds_make_a_table(name, examples, seed):
    models = {name: fitted("kernel_density"), name + "'": fitted("gaussian_process")}
    found = evp.compare_models(models, curves(), examples=examples, seed=seed)
    assert set(found.table.index) == set(models)
    assert found.table["rank"].tolist() == [0, 1]
    assert found.table["elpd"].is_monotonic_decreasing


@pytest.mark.slow
def test_the_page_on_baselines_runs():
    from test_documents import ROOT, execute

    found = execute((ROOT / "docs" / "baselines.md").read_text(encoding="utf-8"), "baselines.md")
    assert torch.equal(found["rest"][..., [0, 3]], found["y"][None, :, [0, 3]])
    graph = found["field"].graph(found["x"])
    assert found["evidence"] == pytest.approx(-float(graph.free_energy(1.0).sum()), rel=1e-5)
    assert found["steps"].log_prob_warnings(*found["circle"].sample(3)) == ()
