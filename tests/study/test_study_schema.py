"""The study file is strict, and a trial's identity is the canonical form of what it asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from study_files import CRITERION, write_study

from ebm_vs_prob.core.errors import UnknownName
from ebm_vs_prob.report.training_tables import TITLES
from ebm_vs_prob.study import list_studies, load_study
from ebm_vs_prob.study.consistency import REPORT_TABLES
from ebm_vs_prob.study.files import MOST_LISTED
from ebm_vs_prob.study.keys import canonical, canonical_json, digest

numbers = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False)
tables = st.recursive(
    numbers | st.text(max_size=8) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reordered(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


@given(tables)
def test_key_ignores_the_order_of_keys_and_the_type_of_whole_numbers(value):
    assert digest(value) == digest(reordered(value))


@given(tables)
def test_canonical_form_survives_json_and_itself(value):
    assert canonical(json.loads(canonical_json(value))) == canonical(canonical(value)) == canonical(value)


@given(tables, tables)
def test_different_values_have_different_keys(first, second):
    assume(canonical_json(first) != canonical_json(second))
    assert digest(first) != digest(second)


@given(st.dictionaries(st.text(max_size=5), numbers, min_size=1), st.data())
def test_any_change_of_a_number_changes_the_key(table, data):
    name = data.draw(st.sampled_from(sorted(table)))
    other = data.draw(numbers)
    assume(other != table[name])
    assert digest(table) != digest({**table, name: other})


def test_true_is_not_one_and_infinity_is_a_string():
    assert digest(True) != digest(1)
    assert canonical(float("inf")) == "inf"
    assert canonical_json({"b": 1.0, "a": -0.0, "c": 1e300}) == '{"a":0,"b":1,"c":1e+300}'


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("nan")]}, {1: 2}, {"a": object()}, b"bytes"])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(ValueError, match="to be hashed"):
        canonical(value)


def test_every_packaged_study_loads():
    assert "thin_manifold" in list_studies()
    for name in list_studies():
        assert load_study(name).name == name


def test_in_the_headline_likelihood_stands_beside_every_score_at_its_smoothing():
    study = load_study("thin_manifold")
    smoothing = {arm.name: arm.options.get("sigma", 0.0) for arm in study.arms}
    for width in ("03", "1", "3"):
        assert smoothing[f"score_{width}"] == smoothing[f"likelihood_{width}"] > 0
    assert {criterion.claim for criterion in study.criteria} == {"C11", "C12"}
    assert study.grid("digits").settings == ()


def test_name_and_path_of_a_study(tmp_path):
    assert load_study("thin_manifold.toml").name == "thin_manifold"
    assert load_study(write_study(tmp_path / "mine.toml")).path == tmp_path / "mine.toml"
    with pytest.raises(LookupError, match="did you mean 'thin_manifold'"):
        load_study("thin_manifolds")


@pytest.mark.parametrize("nothing", ["", " "])
def test_no_study_at_all_is_told_as_such(nothing):
    with pytest.raises(ValueError, match=r"study = ' ?' is not valid: expected a name in studies/ or the path of a"):
        load_study(nothing)


@pytest.mark.parametrize("name", ["missing.toml", "missing.py", "folder/missing", "thin_manifolds.toml"])
def test_of_a_path_at_which_nothing_is_no_names_are_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LookupError, match=f"^unknown study '{name}': there is no such file$"):
        load_study(name)


@pytest.mark.parametrize("name", ["points", "folder/points"])
def test_of_a_file_without_the_end_of_its_name_the_file_is_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    write_study(Path(f"{name}.toml"))
    with pytest.raises(LookupError, match=f"^unknown study '{name}': did you mean the file '{name}.toml'\\? valid: "):
        load_study(name)


def test_of_the_studies_that_there_are_a_message_lists_few():
    with pytest.raises(LookupError, match=f" and {len(list_studies()) - MOST_LISTED} more$"):
        load_study("of_no_such_name")


MISTAKES = {
    "seeds = 3 -> seeds = 0": r"scales\.quick\.seeds = 0 is not valid: expected greater than or equal to 1",
    "seeds = 3 -> seeds = 3.5": r"scales\.quick\.seeds = 3\.5 is not valid: expected a valid integer",
    "seeds = 3 -> sedes = 3": r"scales\.quick: 'sedes': did you mean 'seeds'\?",
    'name = "plain" -> nmae = "plain"': r"arms\.0: 'nmae': did you mean 'name'\?",
    'method = "ring" -> method = 3': r"arms\.0\.method = 3 is not valid: expected a valid string",
    "schema = 1 -> schema = 2": r"schema = 2 is not valid: expected 1",
    'name = "rings" -> name = "../up"': r"name = '\.\./up' is not valid",
    "thickness = [0.3, 0.1] -> thickness = [nan]": r"thickness\.0 = nan is not valid: expected a finite number",
    "thickness = [0.3, 0.1] -> thickness = [0.1, 0.1]": r"thickness = 0\.1 is not valid: expected no value twice",
    "thickness = [0.3, 0.1] -> thickness = []": r"tasks\.0\.along\.thickness",
    'title = "Rings" -> ': r"title is missing",
    "seeds = 3 -> seeds =": r"is not a TOML file",
    'kind = "slope" -> kind = "slop"': r"kind = 'slop' is not valid: expected 'slope', 'rate', 'value', 'diff",
    'arms = ["plain"] -> arms = ["plane"]': r"criteria\.slope\.arms: 'plane': did you mean 'plain'\?",
    'metric = "curvature_p95" -> metric = "curvature_p59"': r"criteria\.slope\.metric: 'curvature_p59': did",
    'tasks = ["circle"] -> tasks = ["cirle"]': r"criteria\.slope\.tasks: 'cirle': did you mean 'circle'\?",
    'claim = "C11" -> claim = "C1"': r"criteria\.slope\.claim: 'C1'",
    "below = -1.0 -> law = -2.0": r"criteria\.slope: below or above is missing",
    "seeds = 3 -> seeds = 3\nwithin = { depth = [0, 1] }": r"within: 'depth'.*thickness",
    "seeds = 3 -> seeds = 3\nwithin = { thickness = [0.4, 1] }": r"thickness = \(0\.4, 1\.0\) .*some of tasks\.circle",
    "seeds = 3 -> seeds = 3\nwithin = { thickness = [0.2, 1] }": r"two or more of 0\.3, 0\.1, for criteria\.slope",
    "thickness = [0.3, 0.1] -> thickness = [0.3], length = [2]": r"tasks\.0\.along = .*at most 1 item",
    "along = { thickness = [0.3, 0.1] } -> along = { depth = [1, 2] }": r"range = \(0\.003, 0\.3\) is not valid",
    "range = [0.003, 0.3] -> range = [0.3, 0.003]": r"range = \(0\.3, 0\.003\) is not valid: expected two numbers",
    "range = [0.003, 0.3] -> range = [0.2, 0.6]": r"range = \(0\.2, 0\.6\) is not valid: expected one with two or more",
    "range = [0.003, 0.3] -> at = [0.1]": r"range is missing: a criterion of kind slope needs it",
    "below = -1.0 -> below = -1.0\nabove = 0.0": r"above = 0\.0 is not valid: expected a number less than below",
    'kind = "slope" -> kind = "ratio"': r"against is missing: a criterion of kind ratio needs it",
    'kind = "slope" -> kind = "value"': r"range = \(0\.003, 0\.3\) is not valid: expected no range at kind value",
    'kind = "slope"\n -> kind = "value"\nagainst = ["plain"]\n': r"against = \('plain',\) is not valid: expected no",
    'below = -1.0 -> below = -1.0\n[[gates]]\nmetric = "exces"\nbelow = 0.1': r"gates\.0\.metric: 'exces': did",
    'below = -1.0 -> below = -1.0\n[[gates]]\nmetric = "excess"': r"gates\.0: below or above is missing",
    "below = -1.0 -> below = -1.0\n[[gates]]\nmetric = 'excess'\nbelow = 1.0\nat = 0.2": r"gates\.0\.at = 0\.2",
    "below = -1.0 -> below = -1.0\n[[gates]]\nmetric = 'excess'\nbelow = 1.0\narms = ['plan']": r"arms: 'plan': did",
}


@pytest.mark.parametrize("change", MISTAKES, ids=lambda change: change.replace("\n", " "))
def test_a_mistake_is_one_line_with_file_field_value_and_choices(tmp_path, change):
    old, new = change.split(" -> ")
    path = write_study(tmp_path / "rings.toml", extra=CRITERION)
    load_study(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=MISTAKES[change]) as caught:
        load_study(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_criterion_names_a_setting_of_the_grid(tmp_path):
    extra = CRITERION.replace('kind = "slope"', 'kind = "difference"').replace(
        "range = [0.003, 0.3]", 'against = ["plain"]\nat = [0.2]'
    )
    with pytest.raises(ValueError, match=re.escape("at = 0.2 is not valid: expected one that tasks.circle lists")):
        load_study(write_study(tmp_path / "rings.toml", extra=extra))


def test_of_several_criteria_of_a_claim_one_decides_it(tmp_path):
    other = CRITERION.replace('id = "slope"', 'id = "other"')
    both, valid = CRITERION + other, r"expected primary = true in one of slope, other, which decides C11"
    with pytest.raises(ValueError, match=f"criteria of C11: primary = 'in none' is not valid: {valid}"):
        load_study(write_study(tmp_path / "none.toml", extra=both))
    marked = both.replace('claim = "C11"\n', 'claim = "C11"\nprimary = true\n')
    with pytest.raises(ValueError, match=f"criteria of C11: primary = 'slope, other' is not valid: {valid}"):
        load_study(write_study(tmp_path / "two.toml", extra=marked))
    study = load_study(write_study(tmp_path / "one.toml", extra=CRITERION + marked[len(CRITERION) + 15 :]))
    assert study.primary_criteria["C11"].id == "other"
    assert load_study(write_study(tmp_path / "only.toml", extra=CRITERION)).primary_criteria["C11"].id == "slope"


def test_a_criterion_names_settings_where_its_tasks_vary(tmp_path):
    extra = CRITERION.replace('kind = "slope"', 'kind = "value"').replace("range = [0.003, 0.3]\n", "")
    with pytest.raises(ValueError, match=r"at is missing: .* kind value needs it where tasks\.circle lists 0\.3"):
        load_study(write_study(tmp_path / "rings.toml", extra=extra))
    own = write_study(tmp_path / "own.toml", extra=extra)
    own.write_text(own.read_text().replace("along = { thickness = [0.3, 0.1] }", ""))
    assert load_study(own).criteria[0].at == ()


def test_what_is_run_ignores_titles_criteria_and_time_limits(tmp_path):
    plain = load_study(write_study(tmp_path / "a.toml"))
    worded = load_study(write_study(tmp_path / "b.toml", extra=CRITERION, time_limit=5.0))
    other = load_study(write_study(tmp_path / "c.toml", thickness="0.3"))
    assert plain.runs("quick") == worded.runs("quick") != other.runs("quick")
    with pytest.raises(UnknownName, match="did you mean 'quick'"):
        plain.at("quik")


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("criteria",), "criteria"),
        (("slopes", "circle"), "slopes"),
        (("ring", "ring_metrics"), "ring_metrics"),
        (("ring_seeds", "ring"), "ring"),
        (("ring_metrics", "ring_metrics_seeds"), "ring_metrics_seeds"),
        (("ring", "ring_seed"), ""),
        (("metrics", "seeds"), ""),
    ],
)
def test_no_two_tables_of_a_report_have_one_file(tmp_path, names, refused):
    path = write_study(tmp_path / "rings.toml")
    text = path.read_text()
    (task,) = re.findall(r"\[\[tasks\]\]\n(?:[^\[\n][^\n]*\n)+", text)
    grids = "\n".join(re.sub('name = "circle"', f'name = "{name}"\ntask = "circle"', task) for name in names)
    path.write_text(text.replace(task, grids))
    if not refused:
        load_study(path)
        return
    with pytest.raises(ValueError, match=f"tasks = '{refused}' is not valid: expected another name"):
        load_study(path)


def test_every_table_of_a_report_is_one_that_no_task_can_be_named_after():
    assert {"criteria", "slopes", "failures", *TITLES} <= set(REPORT_TABLES)
