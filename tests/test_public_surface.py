"""Every public name is there, and importing the package loads none of the heavy libraries."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from functools import cache

import pytest

import ebm_vs_prob as evp

PUBLIC = (
    *("list_tasks", "list_methods", "get_task", "get_method", "register_task", "register_method"),
    *("fit", "load_model", "evaluate", "free_energy", "GibbsBoltzmann", "Budget", "Network", "Answers", "Model"),
    *("run_study", "load_results", "plan_study", "list_studies", "Box", "Labels", "Sequences", "Task", "Method"),
    *("compare_models", "inference_data"),
)
HEAVY = {
    "torch",
    "pyro",
    "scipy",
    "pandas",
    "pyarrow",
    "matplotlib",
    "altair",
    "vl_convert",
    "sklearn",
    "arviz",
    "dask",
    "distributed",
}


#: It loads torch, and with it whatever the methods need to be found.
LISTING = "import ebm_vs_prob as evp; evp.list_methods()"


@cache
def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_loads_and_is_listed(name):
    assert callable(getattr(evp, name))
    assert name in dir(evp)
    assert name in evp.__all__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = evp.no_such_name


def test_no_submodule_hides_a_public_name():
    """Importing `ebm_vs_prob.x` sets the attribute `x` of the package, so a public name must not be a module's."""
    modules = {module.name for module in pkgutil.iter_modules(evp.__path__)}
    assert modules & set(evp.__all__) == set()


def test_every_exported_name_exists():
    assert [name for name in evp.__all__ if not hasattr(evp, name)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import ebm_vs_prob",
        "import ebm_vs_prob.cli.commands",
        "from ebm_vs_prob.cli.commands import main; main(['--help']); main(['run', '--help'])",
        "import ebm_vs_prob.testing",
    ],
)
def test_import_stays_light(code):
    assert modules_after(code) & HEAVY == set()


def test_the_light_import_test_sees_a_heavy_one():
    assert "torch" in modules_after(LISTING)


def test_methods_are_found_without_torchs_compiler():
    """It takes a second to load, and brings sympy with it."""
    assert "sympy" not in modules_after(LISTING)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["list"], pytest.param(["cite", "thin_manifold"], marks=pytest.mark.long)], ids=str
)
def test_what_was_asked_for_before_is_answered_without_a_heavy_import(arguments, monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path))
    code = f"from ebm_vs_prob.cli.commands import main; main({arguments})"
    assert "torch" in modules_after(code)
    assert modules_after(f"{code}  # again") & HEAVY == set()


def test_the_package_says_that_it_is_typed():
    from importlib.resources import files

    assert files("ebm_vs_prob").joinpath("py.typed").is_file()


def test_families_partition_the_methods():
    by_family = {family: evp.list_methods(family=family) for family in ("ebm", "prob", "control")}
    assert all(method.family == family for family, methods in by_family.items() for method in methods)
    assert sorted(m.name for methods in by_family.values() for m in methods) == [m.name for m in evp.list_methods()]
    names = {family: {method.name for method in methods} for family, methods in by_family.items()}
    assert {"denoising_score_matching", "hinge"} <= names["ebm"]
    assert {"gibbs_maximum_likelihood", "mixture_density"} <= names["prob"]
    assert "mean_squared_error" in names["control"]
    assert {"circle", "three_curves", "digits"} <= {task.name for task in evp.list_tasks()}


@pytest.mark.parametrize(
    ("call", "near"),
    [
        (lambda: evp.get_task("circel"), "circle"),
        (lambda: evp.get_task("circle", thicknes=0.1), "thickness"),
        (lambda: evp.get_method("hinje"), "hinge"),
        (lambda: evp.fit("denoising_score_match", evp.get_task("circle")), "denoising_score_matching"),
        (lambda: evp.list_methods(family="probabilistic"), "prob"),
        (lambda: evp.load_results("thin_manifolds"), "thin_manifold"),
    ],
)
def test_unknown_name_offers_the_nearest_one(call, near):
    with pytest.raises(LookupError, match=f"did you mean '{near}'"):
        call()


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: evp.get_task("circle", thickness=-0.1), "thickness"),
        (lambda: evp.get_task("circle", thickness=float("nan")), "thickness"),
        (lambda: evp.get_task("circle", ambient_dim=1), "ambient_dim"),
        (lambda: evp.get_task("circle", concentration="1"), "concentration"),
        (lambda: evp.get_task("circle").sample(0), "n"),
        (lambda: evp.get_task("circle").sample(1, seed=-1), "seed"),
        (lambda: evp.fit("hinge", evp.get_task("circle"), seeds=[]), "seeds"),
        (lambda: evp.fit("hinge", evp.get_task("circle"), device="tpu"), "device"),
        (lambda: evp.Box((1.0, 0.0), 2), "bounds"),
    ],
)
def test_bad_value_is_named_in_one_line(call, field):
    with pytest.raises(ValueError, match=field) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
