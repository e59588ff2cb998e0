# ruff: noqa: RUF001
"""What a study asks again at another network or budget: run in its cells alone; a verdict that flips is qualified."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_files import CRITERION, write_study
from synthetic_results import criterion, noise, study, study_results, table

from ebm_vs_prob.core.registry import METHODS
from ebm_vs_prob.report import page
from ebm_vs_prob.report.inputs import Inputs
from ebm_vs_prob.report.overview import gather_findings, read_verdicts, reconcile
from ebm_vs_prob.report.training_tables import training_tables
from ebm_vs_prob.study import load_study, plan_study, run_study
from ebm_vs_prob.study.data_files import digest_of_runs
from ebm_vs_prob.study.judging import judge
from ebm_vs_prob.study.plan import places
from ebm_vs_prob.study.sensitivity import looks_at
from ebm_vs_prob.study.shrinking import shrunk
from ebm_vs_prob.study.verification import differences

OWN = "equal_steps"
GAP = """
[[criteria]]
id = "gap"
claim = "C12"
statement = "One is ahead"
kind = "difference"
metric = "likelihood_gap"
arms = ["plain"]
against = ["other"]
tasks = ["circle"]
at = [0.1]
above = 0.1
"""
ARMS = {
    "plain": ("ring", ""),
    "other": ("ring", "stiffness = 9.0"),
    "third": ("ring", "stiffness = 5.0"),
    "truth": ("exact", ""),
    "truth_itself": ("exact", 'potential = "density"'),
}
WIDER = """
[[sensitivity]]
name = "wider"
network = { hidden = [8] }
"""
FEWER = """
[[sensitivity]]
name = "fewer"
budget = { examples = 16 }
criteria = ["gap"]
"""

# ---- what is run


def written(tmp_path, extra, **given):
    return write_study(tmp_path / "rings.toml", arms=ARMS, thickness="0.3, 0.1, 0.001", extra=extra, **given)


def cells_in(planned):
    found = {}
    for place in places(planned.to_record()):
        found.setdefault(place["budget"], set()).add((place["arm"], place["setting"], place["seed"]))
    return found


@pytest.mark.usefixtures("plugin")
def test_only_the_cells_of_its_criteria_are_run_again_with_every_seed(tmp_path):
    found = cells_in(plan_study(written(tmp_path, CRITERION + GAP + WIDER + FEWER), device="cpu"))
    assert set(found) == {OWN, "wider", "fewer"}
    seeds = range(3)
    slope = {("plain", at, seed) for at in (0.3, 0.1) for seed in seeds}
    gap = {(arm, 0.1, seed) for arm in ("plain", "other") for seed in seeds}
    assert found["wider"] == slope | gap  # by default the primary criteria, here one of each claim
    assert found["fewer"] == gap


@pytest.mark.usefixtures("plugin")
def test_all_but_what_it_says_is_as_at_the_scale_and_the_scales_own_trials_stay(tmp_path):
    alone = plan_study(written(tmp_path, CRITERION + GAP), device="cpu")
    both = plan_study(written(tmp_path, CRITERION + GAP + WIDER + FEWER), device="cpu")
    own = {trial.key for trial in alone.trials}
    assert own < {trial.key for trial in both.trials}
    assert {c.identity for c in both.conditions if c.labels["budget"] == OWN} == {c.identity for c in alone.conditions}
    before = {(c.labels["arm"], c.labels["setting"]): c.specification for c in alone.conditions}
    for condition in both.conditions:
        spec, first = condition.specification, before[condition.labels["arm"], condition.labels["setting"]]
        changes = {
            OWN: {},
            "wider": {"network": {**first["network"], "hidden": [8]}},
            "fewer": {"budget": {**first["budget"], "examples": 16}},
        }
        assert spec == first | changes[condition.labels["budget"]]
    summed = {row["budget"]: row["trials"] for row in both.summary()["batches"] if row["method"] == "ring"}
    assert summed == {OWN: 27, "wider": 9, "fewer": 6}


@pytest.mark.usefixtures("plugin")
def test_a_scale_that_does_not_ask_it_is_run_as_before(tmp_path):
    text = CRITERION + GAP
    plain = load_study(written(tmp_path, text))
    more = written(tmp_path, text + WIDER + 'scales = ["large"]\n')
    more.write_text(more.read_text().replace("[evaluation]", "[scales.large]\nseeds = 2\n\n[evaluation]"))
    asked = load_study(more)
    assert digest_of_runs(asked, "quick") == digest_of_runs(plain, "quick")
    assert asked.held_at("quick").sensitivity == ()
    assert {trial.key for trial in plan_study(asked, device="cpu").trials} == {
        trial.key for trial in plan_study(plain, device="cpu").trials
    }
    assert set(cells_in(plan_study(asked, "large", device="cpu"))) == {OWN, "wider"}


def test_what_it_runs_is_part_of_what_is_run_and_the_bound_of_a_criterion_is_not(tmp_path):
    def runs(text):
        return load_study(written(tmp_path, text)).runs("quick")

    first = runs(CRITERION + GAP + FEWER)
    assert "sensitivity" not in runs(CRITERION + GAP)
    assert first != runs(CRITERION + GAP + FEWER.replace("16", "17"))
    assert first != runs(CRITERION + GAP + FEWER.replace('"gap"', '"slope"'))
    assert first == runs(CRITERION + GAP.replace("above = 0.1", "above = 0.2") + FEWER)


@pytest.mark.usefixtures("plugin")
def test_an_arm_keeps_the_rate_that_was_tuned_and_a_network_of_its_own(tmp_path):
    tuned = '\n[tuning]\nvalues = { stiffness = [1.0, 2.0, 3.0, 4.0, 5.0] }\nfirst_seed = 100\nscales = ["large"]\n'
    path = written(tmp_path, CRITERION + GAP + WIDER + tuned)
    text = path.read_text().replace("[evaluation]", "[scales.large]\nseeds = 2\n\n[evaluation]")
    text = text.replace('name = "other"\n', 'name = "other"\nnetwork = { hidden = [5] }\n')
    path.write_text(text)
    planned = plan_study(path, device="cpu")
    at = {(c.labels["arm"], c.labels["budget"]): c for c in planned.conditions if c.labels["setting"] == 0.1}
    stiffness = {name: at["plain", name].specification["method"]["options"]["stiffness"] for name in (OWN, "wider")}
    assert stiffness == {OWN: 3.0, "wider": 3.0}
    assert at["other", "wider"].identity == at["other", OWN].identity
    assert at["plain", "wider"].identity != at["plain", OWN].identity


@pytest.mark.usefixtures("plugin")
def test_a_shrunk_run_asks_nothing_again(tmp_path):
    small, scale = shrunk(load_study(written(tmp_path, CRITERION + GAP + WIDER)), "quick", seeds=2)
    assert set(cells_in(plan_study(small, scale, device="cpu"))) == {OWN}


@settings(max_examples=60)
@given(
    at=st.lists(st.sampled_from([0.3, 0.1, 0.03, 0.0]), unique=True),
    span=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)),
    arm=st.sampled_from("abc"),
    task=st.sampled_from(["circle", "digits"]),
    setting=st.sampled_from([0.3, 0.1, 0.03, 0.0]),
)
def test_a_criterion_looks_at_its_own_arms_tasks_and_settings_alone(at, span, arm, task, setting):
    own = criterion(arms=["a"], against=["b"], tasks=["circle"], at=at, range=span)
    expected = arm in "ab" and task == "circle"
    if span is not None:
        expected = expected and span[0] <= setting <= span[1]
    elif at:
        expected = expected and setting in at
    assert looks_at(own, arm, task, setting) is expected


# ---- mistakes

BEFORE_PLANNING = [
    (WIDER, 'criteria = ["gab"]', r"sensitivity\.wider\.criteria: 'gab': did you mean 'gap'\?"),
    (WIDER, 'criteria = ["gap", "gap"]', r"sensitivity\.wider\.criteria = 'gap' .*no value twice"),
    (WIDER, 'scales = ["quik"]', r"sensitivity\.wider\.scales: 'quik': did you mean 'quick'\?"),
    (WIDER, "hidden = [8]", r"sensitivity\.0: 'hidden': valid: budget, criteria, name, network, scales"),
    (WIDER.replace("network = { hidden = [8] }", ""), "", r"sensitivity\.wider: network or budget is missing"),
    (WIDER.replace("wider", OWN), "", r"sensitivity\.equal_steps\.name = 'equal_steps' .*no budget of scales\.quick"),
    (WIDER + WIDER, "", r"sensitivity\.wider\.name = 'wider' .*a name that no other entry"),
    (WIDER.replace("wider", "Wider"), "", r"sensitivity\.0\.name = 'Wider'"),
]
WHEN_PLANNED = [
    (WIDER.replace("[8]", "[0]"), "", r"sensitivity\.wider\.network: hidden\.0 = 0"),
    (WIDER.replace("hidden", "hiden"), "", r"sensitivity\.wider\.network: 'hiden': did you mean 'hidden'\?"),
    (FEWER.replace("16", "1"), "", r"sensitivity\.fewer\.budget: examples = 1 .*greater than or equal to 2"),
    (
        WIDER,
        'criteria = ["truth"]',
        r"sensitivity\.wider\.criteria = 'truth' .*truth, truth_itself train nothing, so that no network and no budget",
    ),
    (
        FEWER.replace("16", "32"),
        "",
        r"sensitivity\.fewer\.criteria = 'gap' .*with it plain, other would be the models that the scale trains anyway",
    ),
]
TRUTH = (
    GAP.replace('"gap"', '"truth"')
    .replace('"plain"', '"truth"')
    .replace('"other"', '"truth_itself"')
    .replace('"C12"', '"C11"')
)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(("entry", "more", "why"), BEFORE_PLANNING + WHEN_PLANNED)
def test_a_mistake_is_one_line_that_names_the_entry(tmp_path, entry, more, why):
    path = written(tmp_path, CRITERION.replace('claim = "C11"', 'claim = "C11"\nprimary = true') + GAP + TRUTH)
    plan_study(path, device="cpu")
    path.write_text(path.read_text() + entry + more)
    with pytest.raises(ValueError, match=why) as caught:
        plan_study(load_study(path), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_study_without_criteria_has_nothing_to_ask_again(tmp_path):
    with pytest.raises(ValueError, match=r"sensitivity\.wider: the study has no criteria"):
        load_study(written(tmp_path, WIDER))


# ---- what is decided

ABOVE = {"kind": "value", "at": [0.1], "range": None, "above": 0.5}


def entry(name="wider", criteria=("K1",)):
    return SimpleNamespace(name=name, criteria=criteria, network={"hidden": (8,)}, budget={})


def at_networks(values, arms=("a",), thickness=(0.1,), seeds=12):
    """Results by name: `values[name](arm, eps)` is planted with a little noise between seeds."""
    tables = [
        table(
            lambda arm, eps, seed, of=of, name=name: of(arm, eps) + 0.01 * noise(name, arm, eps, seed),
            "m", arms, seeds, thickness,
        ).assign(budget=name)
        for name, of in values.items()
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def judged(results, *criteria, entries=None, gates=(), seeds=12, claims=("C11",)):
    planted = study(*criteria, claims=claims, gates=gates, sensitivity=(entry(),) if entries is None else entries)
    verdicts = judge(planted, results, range(seeds))
    return {
        {"comparison": v.criterion, "claim": v.claim, "variant": f"{v.criterion} {v.variant}"}[v.scope]: v
        for v in verdicts
    }


@pytest.mark.parametrize(
    ("own", "wider", "there", "claim"),
    [
        (1.0, 0.0, "refuted", "qualified"),
        (0.0, 1.0, "supported", "qualified"),
        (1.0, 0.9, "supported", "supported"),
        (0.0, 0.1, "refuted", "refuted"),
        (1.0, 0.5, "undecided", "supported"),
        (0.5, 1.0, "supported", "undecided"),
        (0.5, 0.0, "refuted", "undecided"),
    ],
)
def test_a_verdict_stands_unless_the_other_side_is_decided_elsewhere(own, wider, there, claim):
    results = at_networks({OWN: lambda *_: own, "wider": lambda *_: wider})
    found = judged(results, criterion(**ABOVE))
    assert found["K1 wider"].verdict == there
    assert found["K1 wider"].estimate == pytest.approx(wider, abs=0.02)
    assert (found["K1"].verdict, found["C11"].verdict) == (claim, claim)
    assert found["K1"].estimate == pytest.approx(own, abs=0.02)  # its numbers are the scale's own
    assert f"with wider: 1 {there}" in found["C11"].reason


def test_a_claim_that_flips_says_where_with_effect_interval_and_bound():
    results = at_networks({OWN: lambda *_: 1.0, "a_wider_one": lambda *_: 0.1})
    found = judged(results, criterion(**ABOVE), entries=(entry("a_wider_one"),))
    there, claim = found["K1 a_wider_one"], found["C11"]
    numbers = f"{there.estimate:.3g} [{there.low:.3g}, {there.high:.3g}], below 0.5"
    assert claim.reason == f"1 comparison: 1 supported; with a wider one: 1 refuted (a on circle: {numbers})"
    assert found["K1"].reason == f"above 0.5; refuted with a wider one: {numbers}"
    assert claim.holds_in == ("K1 (as the scale has it): a on circle",)
    assert claim.fails_in == ("K1 (a wider one): a on circle",)


def test_a_part_of_the_settings_on_the_other_side_flips_it_too():
    results = at_networks(
        {OWN: lambda *_: 1.0, "wider": lambda arm, eps: float(eps > 0.05)}, thickness=(0.1, 0.01), seeds=20
    )
    found = judged(results, criterion(**ABOVE | {"at": [0.1, 0.01]}), seeds=20)
    assert found["K1 wider"].verdict == "qualified"
    assert found["C11"].verdict == "qualified"
    assert found["K1"].fails_in == ("wider at thickness 0.01",)


def test_what_was_not_run_is_said_and_changes_nothing():
    alone = at_networks({OWN: lambda *_: 1.0})
    pending = alone.assign(budget="wider", status="pending", metric=None, value=math.nan)
    for results in (alone, pd.concat([alone, pending], ignore_index=True)):
        found = judged(results, criterion(**ABOVE))
        assert (found["K1"].verdict, found["C11"].verdict) == ("supported", "supported")
        assert (found["K1 wider"].verdict, found["K1 wider"].reason) == ("undecided", "not run")
        assert found["C11"].reason == "1 comparison: 1 supported; with wider: not run"


def test_too_few_seeds_elsewhere_flip_nothing():
    results = at_networks({OWN: lambda *_: 1.0, "wider": lambda *_: 0.0})
    few = results[(results["budget"] == OWN) | (results["seed"] < 9)]
    found = judged(few, criterion(**ABOVE))
    assert found["C11"].verdict == "supported"
    assert found["K1 wider"].reason.startswith("9 complete seeds, and a verdict needs 10")


def test_a_secondary_criterion_is_qualified_by_itself():
    results = at_networks({OWN: lambda *_: 1.0, "wider": lambda arm, eps: float(arm == "a")}, arms=("a", "b"))
    first = criterion(id="first", primary=True, **ABOVE)
    second = criterion(id="second", **ABOVE | {"arms": ["b"]})
    found = judged(results, first, second, entries=(entry(criteria=("first", "second")),))
    assert {name: found[name].verdict for name in ("first", "second", "C11")} == {
        "first": "supported", "second": "qualified", "C11": "supported",
    }  # fmt: skip
    alone = judged(results, first, second, entries=(entry(criteria=("second",)),))
    assert alone["C11"].reason == "1 comparison: 1 supported"


def test_one_comparison_of_several_that_flips_is_enough():
    results = at_networks({OWN: lambda *_: 1.0, "wider": lambda arm, eps: float(arm == "a")}, arms=("a", "b"))
    found = judged(results, criterion(**ABOVE | {"arms": ["a", "b"]}))
    assert found["C11"].verdict == "qualified"
    assert "with wider: 1 supported, 1 refuted (b on circle: " in found["C11"].reason
    assert found["C11"].holds_in == ("K1: a on circle", "K1 (as the scale has it): b on circle")


def test_an_arm_that_trains_nothing_stands_for_itself():
    results = at_networks({OWN: lambda arm, eps: float(arm == "a"), "wider": lambda *_: 0.0}, arms=("a", "truth"))
    results = results[~((results["budget"] == "wider") & (results["arm"] == "truth"))]
    results = results.assign(principle=["exact" if arm == "truth" else "score" for arm in results["arm"]])
    contrast = criterion(**ABOVE | {"kind": "difference", "against": ["truth"]})
    found = judged(results, contrast)
    assert found["K1 wider"].seeds == 12
    assert found["K1 wider"].estimate == pytest.approx(0.0, abs=0.02)
    assert (found["K1"].verdict, found["K1 wider"].verdict) == ("qualified", "refuted")


@pytest.mark.parametrize("at", [0.3, None])
def test_a_gate_holds_where_its_cell_is_run_again_and_is_else_not_asked(at):
    gate = SimpleNamespace(metric="m", at=at, below=5.0, above=None, arms=("a",), tasks=())
    values = {OWN: lambda *_: 1.0, "wider": lambda arm, eps: 9.0 if eps == 0.3 else 0.0}
    results = at_networks(values, thickness=(0.3, 0.1))
    asked = judged(results, criterion(**ABOVE), gates=(gate,))
    assert asked["K1 wider"].verdict == "untrained"
    assert "its gate is at most 5" in asked["K1 wider"].reason
    assert asked["C11"].verdict == "supported"
    left_out = results[(results["budget"] == OWN) | (results["setting"] == 0.1)]
    unasked = judged(left_out, criterion(**ABOVE), gates=(gate,))
    assert unasked["K1 wider"].verdict == "refuted"
    assert unasked["K1 wider"].reason == "below 0.5; gate not asked: m at thickness 0.3"
    assert unasked["C11"].verdict == "qualified"


def test_results_of_another_network_decide_nothing_themselves():
    results = at_networks({OWN: lambda *_: 1.0, "wider": lambda *_: 0.0})
    whole = judged(results, criterion(**ABOVE), entries=())
    alone = judged(results[results["budget"] == OWN], criterion(**ABOVE), entries=())
    assert whole == alone
    assert set(whole) == {"K1", "C11"}


@settings(max_examples=40, deadline=None)
@given(
    own=st.sampled_from([0.0, 0.5, 1.0]),
    others=st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True).filter(lambda name: name != OWN),
        st.sampled_from([0.0, 0.5, 1.0]),
        max_size=3,
    ),
)
def test_whatever_entries_are_called_a_decided_claim_is_qualified_just_where_one_is_on_the_other_side(own, others):
    results = at_networks({OWN: lambda *_: own, **{name: lambda *_, v=v: v for name, v in others.items()}}, seeds=10)
    found = judged(results, criterion(**ABOVE), entries=tuple(map(entry, others)), seeds=10)
    alone = {0.0: "refuted", 0.5: "undecided", 1.0: "supported"}[own]
    flipped = alone != "undecided" and 1.0 - own in others.values()
    assert found["C11"].verdict == ("qualified" if flipped else alone)
    assert [name for name in found if " " in name] == [f"K1 {name}" for name in others]
    for verdict in found.values():
        json.dumps(verdict.as_dict(), allow_nan=False)


def test_a_verdict_elsewhere_that_is_other_than_published_is_told():
    published, here = (
        [v.as_dict() for v in judged(at_networks({OWN: lambda *_: 1.0, "wider": of}), criterion(**ABOVE)).values()]
        for of in (lambda *_: 1.0, lambda *_: 0.0)
    )
    assert list(differences(published, published)) == []
    assert any(
        "wider: supported in the report, refuted by the records" in line for line in differences(published, here)
    )
    older = [{name: value for name, value in each.items() if name != "variant"} for each in published[:2]]
    assert list(differences(older, published[:2])) == []


# ---- what is shown


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A study of two arms on the circle, its results, and those of an entry at which its claim is on the other side."""
    folder = tmp_path_factory.mktemp("rings")
    methods = {"likelihood_raw": ("gibbs_maximum_likelihood", ""), "other": ("denoising_score_matching", "")}
    asked = CRITERION.replace('"plain"', '"likelihood_raw"') + WIDER.replace("wider", "a_wider_one")
    path = write_study(folder / "rings.toml", methods, 10, "0.3, 0.1", extra=f'{asked}criteria = ["slope"]\n')
    path.write_text(path.read_text().replace('claims = ["C11", "C12"]\nplugins = ["study_plugin"]', 'claims = ["C11"]'))
    loaded = load_study(path)
    own = study_results(loaded)
    steep = own["metric"] == "curvature_p95"
    value = own["setting"] ** -2.0 * (1 + 0.01 * own["seed"])
    own = own.assign(value=own["value"].where(~steep, value), budget=OWN)
    flat = own[own["arm"] == "likelihood_raw"].assign(budget="a_wider_one")
    flat = flat.assign(value=flat["value"].where(flat["metric"] != "curvature_p95", 1 + 0.01 * flat["seed"]))
    return SimpleNamespace(study=loaded, own=own, both=pd.concat([own, flat], ignore_index=True))


def test_the_page_its_verdicts_and_the_index_say_where_a_claim_does_not_hold(planted, tmp_path):
    index = page.write(Inputs(planted.study, "quick", planted.both), tmp_path)
    html, plain = index.read_text(encoding="utf-8"), (index.parent / "report.md").read_text(encoding="utf-8")
    for text in (html, plain.replace("\\_", "_")):
        assert "Sensitivity" in text
        assert "With a wider one, for “likelihood_raw” on circle, the raw curvature" in text
    assert "C11: qualified" in plain
    row = pd.read_csv(index.parent / "tables" / "sensitivity.csv").iloc[0]
    assert (row["with"], row["verdict there"], row["verdict"]) == ("a wider one", "refuted", "qualified")
    assert row["differs by"] == "hidden = [8]"
    assert row["asked"] == "below −1"
    assert (index.parent / "tables" / "sensitivity.tex").stat().st_size > 0
    told = {v.scope: v for v in read_verdicts(index.parent / "verdicts.json")}
    assert (told["claim"].verdict, told["variant"].variant) == ("qualified", "a_wider_one")
    verdict, sentence = reconcile("C11", [replace(each, home=True) for each in gather_findings(tmp_path)["C11"]])
    assert verdict == "qualified"
    assert "With a wider one, for “likelihood_raw” on circle" in sentence


def test_the_report_of_a_store_from_before_it_was_asked_says_that_it_was_not_run(planted, tmp_path):
    index = page.write(Inputs(planted.study, "quick", planted.own), tmp_path)
    plain = (index.parent / "report.md").read_text(encoding="utf-8")
    assert "C11: supported" in plain
    assert "with a wider one: not run" in plain


def test_a_study_that_asks_nothing_again_has_no_such_table(planted):
    silent = planted.study.model_copy(update={"sensitivity": ()})
    inputs = Inputs(silent, "quick", planted.both)
    assert "sensitivity" not in training_tables(inputs, inputs.verdicts())


@pytest.mark.usefixtures("plugin")
def test_a_run_has_its_trials_and_one_of_before_keeps_its_own(tmp_path):
    options = {"engine": "serial", "store": tmp_path / "store", "device": "cpu", "progress": False}
    before = run_study(written(tmp_path, CRITERION + GAP, seeds=2), **options)
    after = run_study(written(tmp_path, CRITERION + GAP + FEWER, seeds=2), **options)
    own = after[after["budget"] == OWN]
    columns = ["trial", "batch", "metric", "value"]
    pd.testing.assert_frame_equal(own[columns].reset_index(drop=True), before[columns])
    again = after[after["budget"] == "fewer"].drop_duplicates("trial")
    assert len(again) == 4
    assert not set(again["trial"]) & set(before["trial"])
    assert METHODS.get("ring").principle != "exact"
