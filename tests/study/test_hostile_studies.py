"""Whatever a study's file, its folder or a command line holds, the answer is one line; nothing large is made first."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import re
import sys
import time
import tomllib

import pytest
from fault_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from study_files import CRITERION, write_study

from ebm_vs_prob.cli.commands import main
from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.core.options import Options
from ebm_vs_prob.core.registry import METHODS, TASKS
from ebm_vs_prob.energies.mlp import Network
from ebm_vs_prob.metrics import Evaluation
from ebm_vs_prob.study import load_study, plan_study
from ebm_vs_prob.study.files import scheduler_address
from ebm_vs_prob.study.scales import Scale

pytestmark = pytest.mark.usefixtures("plugin")


MISTAKES = {
    "hidden = [4] -> hidden = [1000000000]": r"quick\.network: hidden\.0 = 1000000000 .*less than or equal to 65536",
    f"hidden = [4] -> hidden = [{'4,' * 10**6}]": "more than 262144 bytes",
    f"hidden = [4] -> hidden = [{'4,' * 10**4}]": r"network: hidden = .*characters left out.*at most 64 items",
    f"hidden = [4] -> hidden = [{'65536,' * 60}]": r"plain on circle with equal_steps: bytes of one trial = .*at most",
    "steps = 3 -> steps = 1e30": r"budget: steps = 1e\+30 is not valid: expected a valid integer",
    f"steps = 3 -> steps = 1{'0' * 30}": r"budget\.steps = 'an integer of 100 bits'",
    "steps = 3 -> multiply_adds = 1e19": r"budget: multiply_adds = 1e\+19",
    "hidden = [4] }\nbudget = { steps = 3, batch_size = 8"
    " -> hidden = [999, 999] }\nbudget = { steps = 100000000, batch_size = 9999": "multiply-adds of one trial = ",
    "batch_size = 8 -> batch_size = 1000000000000": r"budget: batch_size = 1000000000000 .*less than or equal",
    "seeds = 3 -> seeds = 1000000000000": r"seeds = 1000000000000 .*less than or equal to 1000000",
    f"seeds = 3 -> seeds = 3\nfirst_seed = {2**62 + 1}": r"first_seed = \d+ .*less than or equal to",
    f"seeds = 3 -> seeds = 3\nfirst_seed = {2**70}": r"first_seed = 'an integer of 71 bits'",
    "samples = 8 -> samples = 1000000000000000": r"evaluation: samples = 1000000000000000 .*less than or equal",
    f'name = "rings" -> name = "{"r" * 300}"': r"name = 'rrr.*at most 64 characters",
    f'title = "Rings" -> title = "{"r" * 501}"': r"title = 'rrr.*at most 500 characters",
    f'name = "circle" -> name = "{"c" * 300}"': r"tasks\.0\.name = 'ccc.*at most 64 characters",
    f"thickness = [0.3, 0.1] -> thickness = [{'0.1,' * 2000}]": r"tasks\.0\.along\.thickness = .*at most 1000 items",
    "thickness = [0.3, 0.1] -> thickness = [1e300]": r"tasks\.0\.along\.thickness\.0.* = 1e\+300",
    "time_limit = 60.0 -> time_limit = inf": r"time_limit = inf .*finite number",
    "time_limit = 60.0 -> time_limit = nan": r"time_limit = nan .*finite number",
    "time_limit = 60.0 -> time_limit = 1e300": r"time_limit = 1e\+300",
    'name = "circle" -> name = "circle"\noptions = { ambient_dim = 1000000 }': r"ambient_dim = 1000000 .*equal to 1024",
    'title = "Rings" -> title = "a\\u0007b"': r"title = 'a\\x07b' .*control and bidirectional.*U\+0007",
    'title = "Rings" -> title = "a\\u202Eb"': r"title = 'a\\u202eb' .*U\+202E RIGHT-TO-LEFT OVERRIDE",
    'title = "Rings" -> title = "a"\n"k\\u0000" = 1': r": a key = 'k\\x00' is not valid",
    'title = "Rings" -> title = 1979-05-27': r"title = '1979-05-27' .*a date goes in quotes",
    f"examples = 32 -> examples = {'9' * 5000}": "an integer has more than 64 bits",
    f"examples = 32 -> examples = 0x{'F' * 5000}": r"budget\.examples = 'an integer of 20000 bits'",
    f'title = "Rings" -> title = "a"\nq = {"[" * 5000}{"]" * 5000}': "nested too deep",
    f'title = "Rings" -> title = "a"\nq = {"[" * 40}{"]" * 40}': r"q\.0\.0.* is nested too deep",
    f'title = "Rings" -> title = "a"\n{"a." * 120000}b = 1': "line 5 has a key of more than 16 parts",
    'title = "Rings" -> title = "a"\ntitle = "b"': r"is not a TOML file: a key is given twice \(at line 5",
    'plugins = ["study_plugin"] -> plugins = ["a..b"]': r"plugins\.0 = 'a\.\.b' is not valid",
}  # fmt: skip


@pytest.mark.parametrize("change", MISTAKES, ids=lambda change: change.replace("\n", " ")[:60])
def test_what_cannot_be_meant_is_answered_with_file_and_field_at_once(tmp_path, change):
    old, new = change.split(" -> ")
    path = write_study(tmp_path / "rings.toml")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    started = time.process_time()
    with pytest.raises(ValueError, match=MISTAKES[change]) as caught:
        plan_study(path, device="cpu")
    assert time.process_time() - started < 2
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1200
    assert "\n" not in str(caught.value)


def _is_bounded(schema: type[Options], name: str) -> bool:
    values = {**schema.model_construct().model_dump(), name: 2**63}
    with pytest.raises(ValueError, match=name):
        schema(**values)
    return True


def test_every_integer_that_a_file_may_give_has_a_largest_value():
    schemas = {kind.Options for kind in (*TASKS.entries(), *METHODS.entries())} | {Budget, Evaluation, Network}
    found = [
        _is_bounded(schema, name)
        for schema in schemas
        for name, field in schema.model_fields.items()
        if field.annotation in (int, int | None)
    ]
    assert len(found) > 30
    for name in ("seeds", "first_seed"):
        with pytest.raises(ValueError, match=name):
            Scale(**{"seeds": 1, name: 2**63})


def test_a_file_of_another_kind_is_named(tmp_path):
    path = write_study(tmp_path / "rings.toml")
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text)
    assert load_study(path).name == "rings"
    path.write_bytes(text.decode().encode("utf-16"))
    with pytest.raises(ValueError, match=r"rings\.toml is not a TOML file: byte 1 is not UTF-8"):
        load_study(path)
    os.mkfifo(tmp_path / "pipe")
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match="more than 262144 bytes"):
        load_study(path)
    for other in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match=f"study = '{other}' is not valid: expected a TOML file"):
            load_study(other)
    with pytest.raises(LookupError, match="characters left out"):
        load_study("x" * 3000)


@pytest.mark.parametrize(
    ("content", "why"), [("no json", "not JSON"), ("[" * 9999, "not JSON"), ("[1]", "no address"), ("{}", "no address")]
)
def test_a_scheduler_file_is_checked_before_anything_connects(tmp_path, content, why):
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=why) as caught:
        scheduler_address(file)
    assert str(file) in str(caught.value)
    file.write_text('{"address": "tcp://host:1"}')
    assert scheduler_address(file) == "tcp://host:1"
    with pytest.raises(ValueError, match="Is a directory"):
        scheduler_address(tmp_path)


numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, -1, 10**6, 10**9, 2**62, 2**63, 1e30, 1e300, 1e-300])
)
words = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "a\x00", "\u202e", "r" * 300, "../x", "$x$", "{}", "\n", "exact", "circle", "hinge", "inf"]),
)
values = st.recursive(
    numbers | words | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def as_toml(value) -> str:
    """A value as TOML writes it in a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else repr(value)


def places_in(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places_in(item, (*path, key))


@pytest.fixture(scope="module")
def study_table(tmp_path_factory):
    path = write_study(tmp_path_factory.mktemp("base") / "rings.toml", extra=CRITERION, arms={"plain": ("hinge", "")})
    return tomllib.loads(path.read_text().replace('["study_plugin"]', "[]"))


def answer(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, err.getvalue()


def assert_one_line(code: int, err: str) -> None:
    assert code in (0, 1, 2)
    if code:
        assert re.fullmatch(r"ebm-vs-prob: error: [^\n]+\n", err), err
        assert "Traceback" not in err
        assert "Error:" not in err.partition("error: ")[2][:30]  # a Python exception that no one expected


@examples(60)
@given(data=st.data())
def test_any_mutation_of_a_study_is_planned_or_answered_in_one_line(study_table, tmp_path_factory, data):
    table = copy.deepcopy(study_table)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from([p for p in places_in(table) if p]))
        holder = table
        for key in path:
            holder = holder[key]
        change = data.draw(st.sampled_from(["replace", "drop", "rename"]))
        if change == "replace":
            holder[last] = data.draw(values)
        elif change == "drop":
            del holder[last]
        elif isinstance(holder, dict):
            holder[data.draw(words)] = holder.pop(last)
    file = tmp_path_factory.mktemp("mutated") / "rings.toml"
    text = "\n".join(f"{json.dumps(key, ensure_ascii=False)} = {as_toml(value)}" for key, value in table.items())
    file.write_text(text, encoding="utf-8")
    assert_one_line(*answer("plan", str(file), "--device", "cpu"))


@examples(40)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_for_a_study_are_answered_in_one_line(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "rings.toml"
    file.write_bytes(content)
    code, err = answer("plan", str(file), "--device", "cpu")
    assert code == 1
    assert_one_line(code, err)
    assert str(file) in err


#: Lines of a plugin; `hostile` is the method and the task of a study that has it.
LINES = (
    *("raise ValueError('a\\x1b\\nb')", "raise SystemExit(3)", "raise KeyboardInterrupt", "exit()", "def f(:", "\0"),
    *("class E(BaseException):\n    def __str__(self): raise ValueError\nraise E", "import no_such_module", "1 / 0"),
    *("import sys; sys.modules.pop(__name__)", "import sys; sys.modules[__name__] = None", "__name__ = 'other'"),
    *("__file__ = 3", "__file__ = None", "__path__ = [3]", "def __getattr__(n): raise OSError(n)"),
    "evp.register_task(type('T', (), {'name': 'hostile'}))",
    "evp.register_method(type('M', (), {'name': 'hostile'}))",
    "evp.register_method(type('M', (evp.get_method('hinge'),), {'name': 'hostile'}))",
    "evp.register_method(type('M', (evp.get_method('hinge'),), {'name': 'hostile', 'version': {1}}))",
    "evp.register_method(type('M', (evp.get_method('hinge'),), {'name': 'hostile', 'why_not': lambda task: 1 / 0}))",
    "evp.register_method(type('M', (evp.get_method('hinge'),), {'name': 'hostile', 'smoothing': 3}))",
    "evp.register_method(type('M', (evp.get_method('hinge'),), {'name': 'hostile', 'Options': None}))",
    "evp.register_task(type('T', (evp.get_task('horn').__class__,), {'name': 'hostile', 'specification': 3}))",
)


@examples(25)
@given(st.lists(st.sampled_from(LINES), max_size=3), st.sampled_from(["hinge", "hostile"]), st.booleans())
def test_any_plugin_is_planned_with_or_answered_in_one_line(tmp_path_factory, lines, method, own_task):
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "hostile.py").write_text("\n".join(["import ebm_vs_prob as evp", *lines]))
    path = write_study(folder / "rings.toml", {"a": (method, "")})
    text = path.read_text().replace('plugins = ["study_plugin"]', 'plugins = ["hostile"]')
    path.write_text(text.replace('name = "circle"', 'name = "hostile"') if own_task else text)
    before = list(sys.path)
    try:
        code, err = answer("plan", str(path), "--device", "cpu")
    finally:
        sys.path[:] = before
        sys.modules.pop("hostile", None)
        METHODS.unregister("hostile")
        TASKS.unregister("hostile")
    assert_one_line(code, err)
    assert not code or str(path) in err


@examples(60)
@given(
    st.sampled_from(["plan", "status", "report", "cite", "list", "run", ""]),
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_characters="\0"), max_size=8),
            st.sampled_from(
                ["--scale", "quick", "--json", "--store", "--workers", "-1", "9" * 400, "\udcff", "\u202e", "no/such"]
            ),
        ),
        max_size=4,
    ),
)
def test_any_command_line_is_answered_in_one_line(tmp_path_factory, verb, arguments):
    here = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    try:
        assert_one_line(*answer(verb, *(word for word in arguments if word not in ("--help", "--version"))))
    finally:
        os.chdir(here)
