"""What follows when workers die, hang, are refused or do not come: decided by the dispatcher, whatever the engine."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from study_files import write_study

import ebm_vs_prob as evp
from ebm_vs_prob.core.text import LIMIT
from ebm_vs_prob.models.record import ReplicateStatus
from ebm_vs_prob.study import Store, plan_study
from ebm_vs_prob.study.engines import Dispatcher, Job, dask, dispatch, introduce, processes
from ebm_vs_prob.study.engines.dispatch import Gone, Introduced, Received, Started
from ebm_vs_prob.study.failures import TRACEBACK_LIMIT, reason_and_place
from ebm_vs_prob.study.shards import LONGEST_RECORD, Entry, record_text
from ebm_vs_prob.study.worker import Fault, Receipt, attempt
from ebm_vs_prob.testing.stores import stored_record

pytestmark = pytest.mark.usefixtures("plugin")


def unheard(trials, failed):
    pass


#: What a script says of a worker that does not begin its batch.
NEVER = "never"


class ScriptedPool:
    """Workers that do what `script` says of a batch's size and the number of tries.

    It is a function to an event, or None of a batch that is begun and does not end, or NEVER.
    """

    patience = 0.2

    def __init__(self, script, *introductions):
        self.script, self.given, self.stopped, self.taken = script, [], [], []
        self._events = [Introduced(f"w{n}", each) for n, each in enumerate(introductions)]
        self._introductions = dict(enumerate(introductions))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def give(self, worker, packed, root):
        self.given.append((worker, packed, root))
        event = self.script(worker, packed, root)
        if event != NEVER:
            self._events += [Started(worker)] if event is None else [Started(worker), event]
        if isinstance(event, Gone):
            self._replace(worker)

    def _replace(self, worker):
        self._events.append(Introduced(f"{worker}'", self._introductions[0]))

    def stop(self, worker):
        self.stopped.append(worker)
        self._replace(worker)

    def take_back(self, worker):
        self.taken.append(worker)

    def events(self, timeout):
        happened, self._events = self._events, []
        yield from happened

    def refuse(self, worker, why):
        pass

    def shortage(self):
        return "nobody came"


@pytest.fixture
def planned(tmp_path):
    return plan_study(write_study(tmp_path / "rings.toml", seeds=4, thickness="0.1"), device="cpu")


@pytest.fixture
def job(planned, tmp_path):
    token = tmp_path / "token"
    token.write_text("seen")
    (tmp_path / "store").mkdir()
    return Job(
        str(tmp_path / "store"), ("study_plugin",), planned.study.folder, "cpu", 5.0, str(token), token_text="seen"
    )


def dispatched(planned, job, script, *introductions, advanced=None):
    here = introduce(job)
    pool = ScriptedPool(script, *(introductions or [here]))
    store = Store(job.root)
    seen = [] if advanced is None else advanced
    Dispatcher(pool, store, job, here, lambda trials, failed: seen.append(len(trials))).run(planned.batches)
    assert sum(seen) == len(planned.trials)
    return pool, store


def does(worker, packed, root):
    return Received(worker, attempt(packed, root))


def test_a_batch_whose_worker_died_is_done_whole_by_another(planned, job):
    deaths = iter([True])

    def script(worker, packed, root):
        return Gone(worker, "it died") if next(deaths, False) else does(worker, packed, root)

    pool, store = dispatched(planned, job, script)
    assert len(planned.batches) == 1
    (first, packed, _), (second, again, _) = pool.given
    assert packed == again
    assert first != second
    assert store.incidents() == []
    assert store.sound({trial.key for trial in planned.trials}) == {trial.key for trial in planned.trials}


def test_a_trial_that_always_costs_its_worker_is_found_and_noted_as_stopped(planned, job):
    bad = planned.trials[2]

    bad_seed = f'"seed": {bad.seed}'
    pool, store = dispatched(planned, job, lambda w, p, r: Gone(w, "killed") if bad_seed in p else does(w, p, r))
    assert [len(incident["trials"]) for incident in store.incidents()] == [4, 2] or sorted(
        len(incident["trials"]) for incident in store.incidents()
    ) == [2, 4]
    assert store.stops() == {bad.key: "stopped from outside, 2 times: killed"}
    keys = {trial.key for trial in planned.trials}
    assert store.sound(keys) == keys - {bad.key}
    assert len(pool.given) == 2 + 2 + 1 + 2 + 1


def test_a_batch_over_its_time_limit_is_halved_at_once_and_alone_it_has_failed_by_itself(planned, job, monkeypatch):
    bad_seed = f'"seed": {planned.trials[1].seed}'
    monkeypatch.setattr(ScriptedPool, "patience", math.inf)
    clock = iter(range(0, 10**9, 6))  # every look at it is six seconds later
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: float(next(clock)))
    pool, store = dispatched(planned, job, lambda w, p, r: None if bad_seed in p else does(w, p, r))
    record = store.read(planned.trials[1].key)
    assert (record["status"], record["reason"]) == ("failed", "the trial took longer than the time limit of 5 s")
    assert len(pool.stopped) == 3
    assert store.stops() == {}


def test_time_in_which_the_driver_stood_still_does_not_count(planned, job, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: now[0])
    pool = None

    def script(worker, packed, root):
        now[0] += 1000.0  # stopped by Ctrl-Z, say, while the batch is under way
        return

    here = introduce(job)
    pool = ScriptedPool(script, here)
    dispatcher = Dispatcher(pool, Store(job.root), job, here, unheard)
    dispatcher._queue.extend(planned.batches)
    for event in pool.events(0):
        dispatcher._handle(event)
    dispatcher._hand_out()
    for event in pool.events(0):
        dispatcher._handle(event)
    now[0] += 1000.0
    dispatcher._look_at_the_clock()
    assert pool.stopped == []
    now[0] += 6.0
    dispatcher._look_at_the_clock()
    assert pool.stopped == ["w0"]


@pytest.fixture
def seconds(monkeypatch):
    """A clock that every look at it advances by a second."""
    clock = iter(range(10**9))
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(ScriptedPool, "patience", 20.0)


def test_a_batch_that_is_not_begun_is_told_of_and_given_to_another(planned, job, caplog, seconds):
    """A paused worker, or one at another client's work: it is not ended, and the batch's number of deaths stays."""
    here = introduce(job)
    keys = {trial.key for trial in planned.trials}

    def script(worker, packed, root):
        return NEVER if worker == "w0" else does(worker, packed, root)

    pool, store = dispatched(planned, job, script, here, here)
    assert [worker for worker, *_ in pool.given] == ["w0", "w1"]
    assert pool.given[0][1] == pool.given[1][1]
    assert (pool.taken, pool.stopped) == (["w0"], [])
    assert caplog.messages == ["worker w0 has not begun its batch: it is paused, stopped or at other work"]
    assert store.sound(keys) == keys
    assert store.incidents() == []


def test_a_batch_is_taken_back_though_others_are_under_way(tmp_path, seconds):
    """What others do does not keep a batch with a worker that does not begin it."""
    planned = plan_study(write_study(tmp_path / "rings.toml", seeds=4, thickness="0.3, 0.1"), device="cpu")
    batches = [*planned.batches[0].halves()]
    (tmp_path / "token").write_text("seen")
    (tmp_path / "store").mkdir()
    job = Job(
        str(tmp_path / "store"),
        ("study_plugin",),
        planned.study.folder,
        "cpu",
        1000.0,
        str(tmp_path / "token"),
        token_text="seen",
    )
    here = introduce(job)
    pool = ScriptedPool(lambda worker, *_: NEVER if worker == "w0" else None, here, here)
    advanced = []
    dispatcher = Dispatcher(pool, Store(job.root), job, here, lambda trials, failed: advanced.append(len(trials)))

    def finish(worker):
        if pool.taken and worker == "w1":  # its batch ends only when the other's is back
            pool._events.append(Received("w1", Receipt()))

    pool.events, events = (lambda timeout: (finish("w1"), *events(timeout))[1:]), pool.events
    dispatcher.run(batches)
    assert pool.taken == ["w0"]
    assert [worker for worker, *_ in pool.given] == ["w0", "w1", "w1"]
    assert sum(advanced) == sum(len(batch.trials) for batch in batches)


def test_where_no_worker_begins_a_batch_the_run_ends_in_one_line_that_names_them(planned, job, seconds):
    here = introduce(job)
    pool = ScriptedPool(lambda *_: NEVER, here, here)
    with pytest.raises(
        ConnectionError, match=r"^no worker begins a batch, .*: w0, w1: waited 20 s; run again to go on$"
    ):
        Dispatcher(pool, Store(job.root), job, here, unheard).run(planned.batches)
    assert pool.taken == ["w0", "w1"]


def test_a_worker_that_answers_after_all_is_given_batches_again(planned, job, seconds, monkeypatch):
    here = introduce(job)
    tries = iter([NEVER])
    monkeypatch.setattr(ScriptedPool, "take_back", lambda pool, worker: pool._events.append(Introduced(worker, here)))
    pool, _ = dispatched(planned, job, lambda w, p, r: next(tries, None) or does(w, p, r))
    assert [worker for worker, *_ in pool.given] == ["w0", "w0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "0" * 64}, "other code of the package"),
        ({"torch": "1.0"}, "it has torch 1.0"),
        ({"plugins": {}}, "plugin study_plugin"),
        ({"plugins": {"study_plugin": "0"}}, "plugin study_plugin"),
        ({"fault": "ValueError: no such module"}, "no such module"),
    ],
)
def test_a_worker_that_is_not_like_the_driver_is_refused_by_name_and_gets_nothing(planned, job, caplog, change, said):
    here = introduce(job)
    with caplog.at_level(logging.WARNING):
        pool, _ = dispatched(planned, job, does, replace(here, **change), here)
    assert {worker for worker, *_ in pool.given} == {"w1"}
    warnings = [record.getMessage() for record in caplog.records if "w0" in record.getMessage()]
    assert len(warnings) == 1
    assert said in warnings[0]


def test_where_no_worker_comes_the_run_ends_in_one_line_with_the_cause(planned, job):
    here = introduce(job)
    with pytest.raises(ConnectionError, match=r"^nobody came: waited 0\.2 s; run again to go on$"):
        Dispatcher(ScriptedPool(does), Store(job.root), job, here, unheard).run(planned.batches)
    other = replace(here, torch="1.0")
    with pytest.raises(ConnectionError, match=r"no worker can be used: of 1 refused, w0: it has torch 1\.0"):
        Dispatcher(ScriptedPool(does, other), Store(job.root), job, here, unheard).run(planned.batches)


def test_what_a_run_waits_for_is_said_once_while_it_waits(planned, job, caplog, monkeypatch):
    monkeypatch.setattr(dispatch, "QUIET", 0.05)
    with caplog.at_level(logging.WARNING), pytest.raises(ConnectionError):
        Dispatcher(ScriptedPool(does), Store(job.root), job, introduce(job), unheard).run(planned.batches)
    assert [record.getMessage() for record in caplog.records] == ["nobody came"]


def test_batches_for_a_gpu_go_to_workers_that_have_one(planned, job):
    here = introduce(job)
    batches = [replace(batch, device="cuda") for batch in planned.batches]
    pool = ScriptedPool(lambda worker, *_: Received(worker, Receipt()), here, replace(here, device="a GPU"))
    Dispatcher(pool, Store(job.root), job, here, unheard).run(batches)
    assert {worker for worker, *_ in pool.given} == {"w1"}
    pool = ScriptedPool(does, here)
    with pytest.raises(ConnectionError, match="none of the 1 workers has a CUDA device"):
        Dispatcher(pool, Store(job.root), job, here, unheard).run(batches)


def test_a_worker_tells_of_its_gpu_where_the_plan_wants_one(job, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert introduce(replace(job, device="cuda")).device == "a GPU"
    assert introduce(job).device == ""


def test_records_of_a_worker_that_does_not_see_the_store_come_back(planned, job):
    blind = introduce(replace(job, token="/nonexistent"))
    assert not blind.sees_store
    pool, store = dispatched(planned, job, does, blind)
    assert {root for *_, root in pool.given} == {None}
    keys = {trial.key for trial in planned.trials}
    assert store.sound(keys) == keys
    assert any(store.load_arrays(key) for key in keys)


def test_what_keeps_a_worker_from_a_batch(planned, job):
    with pytest.raises(OSError, match="worker w0: disk full at /store"):
        dispatched(planned, job, lambda worker, *_: Received(worker, Fault("store", "disk full at /store")))
    with pytest.raises(RuntimeError, match="worker w0: unknown method"):
        dispatched(planned, job, lambda worker, *_: Received(worker, Fault("code", "unknown method")))
    broken = iter([Fault("broken", "CUDA error")])
    pool, store = dispatched(
        planned, job, lambda w, p, r: Received(w, fault) if (fault := next(broken, None)) else does(w, p, r)
    )
    assert pool.stopped == ["w0"]
    assert store.incidents() == []


# ---- one batch on a worker ------------------------------------------------------------------------------------------


def outcome_of(tmp_path, fault, seeds=2):
    """The receipt of a batch of which seed 1 has a fault, its trials by seed, and the store."""
    options = f'fault = "{fault}"'
    plan = plan_study(write_study(tmp_path / "rings.toml", {"a": ("ring", options)}, seeds, "0.1"), device="cpu")
    (batch,) = plan.batches
    packed = dispatch.pack(batch, plan.study.plugins, plan.study.folder)
    return attempt(packed, str(tmp_path / "store")), {t.seed: t for t in plan.trials}, Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("exit", "SystemExit: told to exit (study_plugin.py, line"),
        ("interrupt", "KeyboardInterrupt:"),
        ("garbled", r"ValueError: \ud800\x1b[2J\u202exxxx"),
    ],
)
def test_whatever_a_trial_raises_is_its_own_failure_in_few_printable_words(tmp_path, fault, reason):
    receipt, trials, store = outcome_of(tmp_path, fault)
    assert (receipt.written, receipt.failed, receipt.stopped) == (2, 1, {})
    record = store.read(trials[1].key)
    assert record["status"] == "failed"
    assert record["reason"].startswith(reason)
    assert record["reason"].isprintable()
    assert len(record["reason"]) < 3000
    assert len(record["traceback"]) < 30_000
    assert store.read(trials[0].key)["status"] == "done"


def struck(plugin, monkeypatch, strike):
    """Have `strike` change what the training of seed 1 returns, given it and the place of that seed, or raise."""
    train = plugin.Ring.train.__func__

    def train_and_strike(cls, model):
        training, seeds = train(cls, model), list(model.setting.seeds)
        return strike(training, seeds.index(1)) if 1 in seeds else training

    monkeypatch.setattr(plugin.Ring, "train", classmethod(train_and_strike))


def assert_failed_alone(receipt, trials, store, said):
    """Seed 1 has failed by itself, once, for a bounded printable reason, and the others are kept."""
    assert isinstance(receipt, Receipt), receipt
    assert (receipt.written, receipt.failed, receipt.stopped, receipt.incidents) == (3, 1, {}, [])
    states = {seed: store.read(trial.key) for seed, trial in trials.items()}
    assert [states[seed]["status"] for seed in range(3)] == ["done", "failed", "done"]
    why = states[1]["reason"]
    assert re.search(said, why), why
    assert why.isprintable()
    assert len(why) <= LIMIT
    assert len(states[1]["traceback"]) <= TRACEBACK_LIMIT


def status_of(**told):
    def strike(training, r):
        status = list(training.status)
        status[r] = ReplicateStatus(**{"ok": False, "step": 7, **told})
        return replace(training, status=tuple(status))

    return strike


def steps_of(steps):
    def strike(training, r):
        cost = list(training.cost)
        cost[r] = cost[r].model_copy(update={"steps": steps})
        return replace(training, cost=tuple(cost))

    return strike


def some_of(cases, *quick):
    """Cases, of which the others than the quick ones wait for the slow suite: each trains a study."""
    return [pytest.param(case, marks=[] if case in quick else [pytest.mark.slow]) for case in cases]


MISFITS = {
    "a reason of a lone surrogate": (status_of(reason="\ud800 bad"), r"training: step 7: \\ud800 bad"),
    "a reason of controls": (status_of(reason="a\x1b[2J\u202eb\nc\x00"), r"step 7: a\\x1b\[2J\\u202eb c\\x00"),
    "a long reason": (status_of(reason="x" * 2_000_000), r"step 7: x+.*characters left out"),
    "negative steps": (steps_of(-1), "steps: Input should be greater than or equal to 0"),
    "huge steps": (steps_of(2**70), "steps: Input should be less than"),
    "steps of thousands of digits": (steps_of(10**5000), r"steps: .*4300 digits"),
    "half a step": (steps_of(2.5), "steps: Input should be a valid integer"),
    "steps that are no number": (steps_of("\ud800"), r"steps: '\\ud800' is no Unicode text"),
    "steps of a type of their own": (steps_of({3}), r"steps: .*\{3\}"),
    "no status": (lambda training, r: replace(training, status=training.status[:r]), "IndexError"),
}


@pytest.mark.parametrize("what", some_of(MISFITS, "a reason of a lone surrogate", "negative steps"))
def test_a_trial_whose_result_no_record_can_hold_has_failed_alone(plugin, tmp_path, monkeypatch, what):
    strike, said = MISFITS[what]
    struck(plugin, monkeypatch, strike)
    assert_failed_alone(*outcome_of(tmp_path, "none", seeds=3), said)


MISMEASURED = {
    "metric": ("\ud800", r"metrics\.0\.metric: '\\ud800' is no Unicode text"),
    "unit": ("a\udcff", r"metrics\.0\.unit: 'a\\udcff' is no Unicode text"),
    "n": (-1, r"metrics\.0\.n: Input should be greater than or equal to 0"),
}


@pytest.mark.parametrize("column", some_of(MISMEASURED, "unit"))
def test_a_trial_whose_numbers_no_record_can_hold_has_failed_alone(tmp_path, monkeypatch, column):
    value, said = MISMEASURED[column]
    whole = evp.evaluate

    def evaluate(model, *arguments):
        table = whole(model, *arguments)
        seeds = list(model.setting.seeds)
        wrong = table["replicate"].map(lambda replicate: seeds[replicate] == 1)
        table[column] = table[column].astype(object).mask(wrong, value)
        return table

    monkeypatch.setattr("ebm_vs_prob.metrics.evaluate", evaluate)
    assert_failed_alone(*outcome_of(tmp_path, "none", seeds=3), said)


def test_a_note_that_is_no_text_is_kept_as_text(tmp_path, monkeypatch):
    whole = evp.evaluate

    def evaluate(*arguments):
        table = whole(*arguments)
        table.attrs["notes"] = {"kl": "\ud800" + "x" * 10**6}
        return table

    monkeypatch.setattr("ebm_vs_prob.metrics.evaluate", evaluate)
    receipt, trials, store = outcome_of(tmp_path, "none")
    assert (receipt.written, receipt.failed) == (2, 0)
    note = store.read(trials[0].key)["notes"]["kl"]
    assert note.startswith(r"\ud800xxx")
    assert len(note) <= LIMIT


def test_a_record_that_is_too_long_to_be_read_is_not_written():
    with pytest.raises(ValueError, match=r"cannot be kept: traceback: \d+ characters are too many"):
        record_text(Entry("0" * 64, stored_record(traceback="x" * LONGEST_RECORD)))


def named(file="<made>", function="made"):
    """An error raised by code that says it is of that file and function."""
    exec(compile("raise ValueError('a')", "made", "exec").replace(co_filename=file, co_name=function))


class Mute(Exception):
    def __str__(self):
        raise KeyboardInterrupt


def raise_group():
    error = ValueError("x")
    for _ in range(3000):
        error = ExceptionGroup("g", [error])
    raise error


def raise_chain():
    error = None
    for number in range(20_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    raise error


def raise_(error, **members):
    for name, value in members.items():
        setattr(error, name, value)
    raise error


HOSTILE = {
    "a file that is no name": (lambda: named("a\0b"), r"ValueError: a \(.*, line \d+, in "),
    "a file of a long name": (lambda: named("x" * 5000), r"ValueError: a \(.*, line \d+, in "),
    "a function of no text": (lambda: named(function="\ud800\x1b" * 5000), "ValueError: a "),
    "text that interrupts": (lambda: raise_(Mute()), "Mute: <Mute whose text cannot be had: KeyboardInterrupt>"),
    "groups of groups": (raise_group, "ExceptionGroup: g"),
    "causes of causes": (raise_chain, "ValueError: 19999"),
    "notes that are none": (lambda: raise_(ValueError("n"), __notes__=5), "ValueError: n"),
    "notes that interrupt": (lambda: raise_(ValueError("n"), __notes__=[Mute()]), "ValueError: n"),
    "a class of a long name": (lambda: raise_(type("E" * 10**6, (Exception,), {})("a")), "EEE.*characters left out"),
    "an error of its own": (lambda: raise_(type("Own", (BaseException,), {})("b")), "Own: b"),
}


@pytest.mark.parametrize("what", some_of(HOSTILE, "a file of a long name", "text that interrupts"))
def test_a_trial_whose_error_is_hard_to_tell_of_has_failed_alone(plugin, tmp_path, monkeypatch, what):
    throw, said = HOSTILE[what]
    struck(plugin, monkeypatch, lambda training, r: throw())
    assert_failed_alone(*outcome_of(tmp_path, "none", seeds=3), said)


def test_a_trial_that_interrupts_in_this_process_has_failed_alone(plugin, tmp_path, monkeypatch):
    def interrupt(training, r):
        raise KeyboardInterrupt("a trial's own")

    struck(plugin, monkeypatch, interrupt)
    path = write_study(tmp_path / "rings.toml", seeds=2, thickness="0.1")
    frame = evp.run_study(path, store=tmp_path / "store", engine="serial", device="cpu")
    assert frame.groupby("seed")["status"].first().to_dict() == {0: "done", 1: "failed"}


class Full(io.StringIO):
    """A stream of which the reader has left."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        self.write("")


class Stubborn:
    def flush(self):
        raise RuntimeError("no flush")


def close_stdout(training, r):
    sys.stdout.close()
    return training


def lose_stdout(training, r):
    sys.stdout = None
    return training


def replace_stdout(training, r):
    sys.stdout = Stubborn()
    return training


def print_much(training, r):
    print("x" * 100_000, flush=True)
    sys.stderr.write("\ud800")
    return training


@pytest.mark.parametrize("stdout", [None, Full, Stubborn, io.StringIO], ids=str)
@pytest.mark.parametrize("strike", [close_stdout, lose_stdout, replace_stdout, print_much])
def test_no_stream_ends_a_worker_or_a_trial(planned, job, plugin, monkeypatch, stdout, strike):
    struck(plugin, monkeypatch, strike)
    (batch,) = planned.batches
    packed = dispatch.pack(batch, job.plugins, job.folder)
    said, heard = [], iter([job, (packed, job.root), (packed, job.root)])

    class Pipe:
        send = staticmethod(said.append)

        @staticmethod
        def recv():
            try:
                return next(heard)
            except StopIteration:
                raise EOFError from None

    monkeypatch.setattr(processes, "_pass_signals", lambda: None)
    monkeypatch.setattr(sys, "stdout", stdout and stdout())
    monkeypatch.setattr(sys, "stderr", stdout and stdout())
    processes.serve(Pipe)
    _, introduction, first, second = said
    assert introduction.fault == ""
    assert (first.written, first.failed, first.stopped) == (4, 0, {})
    assert second.kept == 4


@pytest.mark.parametrize(("fault", "said"), [("memory", "can't allocate memory"), ("file", "/nonexistent/data")])
def test_what_the_environment_did_is_no_record_but_a_stop(tmp_path, fault, said):
    receipt, trials, store = outcome_of(tmp_path, fault)
    assert (receipt.written, receipt.failed) == (1, 0)
    assert said in receipt.stopped[trials[1].key]
    assert "study_plugin.py, line" in receipt.stopped[trials[1].key]
    assert store.read(trials[1].key) is None
    assert bool(receipt.incidents) == (fault == "memory")


def test_an_error_is_placed_in_the_code_that_called_a_library():
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert "(test_dispatch.py, line" in reason_and_place(caught.value)


def test_a_batch_that_is_too_large_for_memory_is_halved(tmp_path):
    receipt, trials, store = outcome_of(tmp_path, "crowded", seeds=4)
    assert (receipt.written, receipt.failed, receipt.stopped) == (4, 0, {})
    assert len(receipt.incidents) == 2
    assert store.sound({trial.key for trial in trials.values()}) == {trial.key for trial in trials.values()}


def test_a_process_that_lost_its_gpu_gives_the_batch_back(tmp_path):
    answer, trials, store = outcome_of(tmp_path, "lost_gpu")
    assert answer.kind == "broken"
    assert "CUDA error" in answer.text
    assert store.read(trials[0].key) is None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), RuntimeError("a bug")])
def test_files_that_the_environment_refuses_are_not_done_without(tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr("ebm_vs_prob.comparison.containers.to_netcdf", refuse)
    receipt, trials, store = outcome_of(tmp_path, "none")
    if isinstance(error, RuntimeError):  # the model's, which costs it only the pictures
        assert store.read(trials[0].key)["notes"]["arrays"] == "RuntimeError: a bug"
        return
    assert set(receipt.stopped) == {trials[0].key}
    assert store.read(trials[0].key) is None
    assert store.read(trials[1].key)["status"] == "done"


@pytest.mark.uses_global_generator  # dask draws from it
def test_netcdf_asks_no_scheduler_for_a_lock_and_needs_no_temporary_folder(monkeypatch, tmp_path):
    import numpy as np
    from distributed import Client, LocalCluster

    from ebm_vs_prob.comparison.containers import to_netcdf

    def refuse(*_, **__):
        raise OSError("the scheduler is gone")

    arrays = {"samples_x": np.zeros((4, 0)), "samples_y": np.ones((4, 2))}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        monkeypatch.setattr("distributed.Lock.acquire", refuse)
        monkeypatch.setattr("tempfile.mkdtemp", refuse)
        content = client.submit(to_netcdf, arrays, np.zeros(3), {"trial": "a"}).result()
    assert content[:4] == b"\x89HDF"


def test_a_store_that_cannot_be_written_ends_the_run_with_its_path(tmp_path, monkeypatch):
    path = write_study(tmp_path / "rings.toml", seeds=1, thickness="0.1")

    def full(self, entries):
        raise OSError(28, "No space left on device", str(self.root / "shards" / "x.zip"))

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OSError, match=r"the store cannot be used: .*No space left on device.*shards/x\.zip"):
        evp.run_study(path, store=tmp_path / "store", engine="serial", device="cpu")


def test_a_done_record_without_its_files_is_redone(tmp_path):
    path = write_study(tmp_path / "rings.toml", seeds=2, thickness="0.1")
    run = lambda **options: evp.run_study(path, store=tmp_path / "store", engine="serial", device="cpu", **options)  # noqa: E731
    frame = run()
    store = Store(tmp_path / "store")
    first, other = frame.drop_duplicates("trial").sort_values("seed")["trial"]
    record = {name: value for name, value in store.read(first).items() if name not in ("trial", "schema", "files")}
    store.forget({first})
    from ebm_vs_prob.study.shards import Entry

    store.write([Entry(first, record)])
    before = store.read(other)
    assert not store.load_arrays(first)
    run()
    assert Store(tmp_path / "store").load_arrays(first)
    assert Store(tmp_path / "store").read(other) == before


def test_what_failed_by_itself_is_run_again_only_when_asked_for(tmp_path):
    path = write_study(tmp_path / "rings.toml", {"a": ("ring", 'fault = "raise"')}, 2, "0.1")
    store = tmp_path / "store"

    def written():
        frame = evp.load_results(path, store=store)
        records = {key: Store(store).read(key) for key in frame["trial"].unique()}
        return {record["status"]: record["provenance"]["seconds"] for record in records.values()}

    evp.run_study(path, store=store, engine="serial", device="cpu")
    first = written()
    evp.run_study(path, store=store, engine="serial", device="cpu")
    assert written() == first
    evp.run_study(path, store=store, engine="serial", device="cpu", retry_failed=True)
    assert written()["done"] == first["done"]
    assert written()["failed"] != first["failed"]


def test_what_was_stopped_from_outside_is_tried_again_by_the_next_run(plugin, tmp_path, monkeypatch):
    path = write_study(tmp_path / "rings.toml", {"a": ("ring", 'fault = "memory"')}, 2, "0.1")
    frame = evp.run_study(path, store=tmp_path / "store", engine="serial", device="cpu")
    stopped = frame[frame["status"] == "failed"]
    assert list(stopped["seed"]) == [1]
    assert "can't allocate memory" in stopped["reason"].iloc[0]
    monkeypatch.setattr(plugin, "strike", lambda *_: None)  # memory is there again
    frame = evp.run_study(path, store=tmp_path / "store", engine="serial", device="cpu")
    assert set(frame["status"]) == {"done"}
    assert Store(tmp_path / "store").stops() == {}


def test_a_scheduler_that_does_not_answer_is_told_of_and_given_up(job, monkeypatch, caplog):
    """As one does whose process is stopped: its port stays open, and dask's own calls wait for ever."""
    monkeypatch.setattr(dask, "ANSWER_QUIET", 0.1)
    monkeypatch.setattr(dask, "ANSWER_LIMIT", 0.4)
    told = threading.Event()
    pool = dask.DaskPool(job, "")
    pool._address = "tcp://somewhere:1"
    pool._client = SimpleNamespace(status="running", nthreads=told.wait)
    said = (
        r"^the dask scheduler at tcp://somewhere:1 was lost, it did not answer for 0\.4 s: .* the same command goes on"
    )
    with pytest.raises(ConnectionError, match=said):
        next(pool.events(0))
    told.set()
    assert caplog.messages == ["the dask scheduler at tcp://somewhere:1 does not answer: waiting for it"]


def test_a_scheduler_that_answers_late_is_gone_on_with(job, monkeypatch, caplog):
    monkeypatch.setattr(dask, "ANSWER_QUIET", 0.1)
    pool = dask.DaskPool(job, "")
    pool._address = "tcp://somewhere:1"
    pool._client = SimpleNamespace(status="running", nthreads=lambda: time.sleep(0.4) or {})
    assert list(pool.events(0)) == []
    assert len(caplog.messages) == 1
    assert list(pool._look()) == []
    assert not pool._stuck


def test_the_wait_for_local_workers_has_no_end_of_its_own():
    from ebm_vs_prob.study.engines.local import LocalPool

    assert LocalPool.patience == math.inf
