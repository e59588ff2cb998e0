"""What a pool makes of workers that die, vanish or do not answer, tried with processes and a cluster that are none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import distributed
import pytest

from ebm_vs_prob.study.engines import Introduction, Job, dask, introduce, local
from ebm_vs_prob.study.engines.dask import DaskPool
from ebm_vs_prob.study.engines.dispatch import Gone, Introduced, Received, Started
from ebm_vs_prob.study.engines.local import LocalPool
from ebm_vs_prob.study.engines.processes import ENVIRONMENT
from ebm_vs_prob.study.worker import Receipt

JOB = Job("/nowhere", (), None, "cpu", 60.0)
GOOD = Introduction("here", 1, "0", "0", {}, "", "", False)


# ---- worker processes of this machine --------------------------------------------------------------------------------


class Process:
    """A process that says `words` and lives on, or is killed at once where it has none."""

    def __init__(self, connection, words):
        self.exitcode = None if words else -signal.SIGKILL
        self.connection = Connection(os.dup(connection.fileno())) if words else None
        for word in words:
            self.connection.send(word)

    def kill(self):
        self.exitcode = -signal.SIGKILL
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def join(self, timeout=None):
        assert self.exitcode is not None


@pytest.fixture
def processes(monkeypatch):
    """Every process that a pool starts: what they say is taken from `script`, then all are good."""
    made, script = [], []

    def start(pool, connection):
        made.append(Process(connection, script.pop(0) if script else [GOOD]))
        return made[-1]

    monkeypatch.setattr(LocalPool, "_process", start)
    yield made, script
    for process in made:
        process.kill()


def happened(pool, count):
    """The first `count` events, each waited for."""
    found = []
    for _ in range(50):
        found += pool.events(0.1)
        if len(found) >= count:
            break
    return found


def test_a_worker_that_is_killed_while_it_starts_is_replaced(processes):
    made, script = processes
    script += [[], [], [GOOD]]
    with LocalPool(JOB, 1) as pool:
        assert happened(pool, 1) == [Introduced("local-3", GOOD)]
    assert len(made) == 3
    assert all(process.exitcode is not None for process in made)  # none outlives the run


def test_where_no_worker_can_be_had_the_run_ends_in_one_line_with_the_cause(processes):
    made, script = processes
    script += [[]] * 100
    said = (
        r"^local workers cannot be started, 10 in a row .* its worker process was killed by SIGKILL.*; run again to go"
    )
    with pytest.raises(ConnectionError, match=said) as caught, LocalPool(JOB, 2) as pool:
        happened(pool, 1)
    assert "\n" not in str(caught.value)
    assert len(made) == 2 + 10 - 1


def test_deaths_at_the_start_are_counted_in_a_row(processes):
    made, script = processes
    for _ in range(3):
        script += [*[[]] * (local.FAILED_STARTS - 1), [GOOD]]
    with LocalPool(JOB, 1) as pool:
        for _ in range(3):
            (introduced,) = happened(pool, 1)
            pool.stop(introduced.worker)
    assert len(made) == 3 * local.FAILED_STARTS + 1


def test_a_worker_that_dies_at_work_is_told_of_and_replaced(processes):
    made, _ = processes
    with LocalPool(JOB, 1) as pool:
        happened(pool, 1)
        pool.give("local-1", "a batch", None)
        assert happened(pool, 1) == [Started("local-1")]
        made[0].kill()
        gone, introduced = happened(pool, 2)
    assert isinstance(gone, Gone)
    assert gone.worker == "local-1"
    assert "killed by SIGKILL, as the system does when memory is out" in gone.why
    assert introduced == Introduced("local-2", GOOD)


def test_a_worker_that_never_says_a_word_is_killed_and_replaced(processes, monkeypatch):
    made, script = processes
    script += [[1234]]  # its number, and no introduction
    with LocalPool(JOB, 1) as pool:
        assert happened(pool, 0) == []
        assert len(made) == 1
        with monkeypatch.context() as patch:
            patch.setattr(local, "START_LIMIT", -1.0)
            assert list(pool.events(0)) == []
        assert made[0].exitcode == -signal.SIGKILL
        assert happened(pool, 1) == [Introduced("local-2", GOOD)]


SPAWNING = """
import multiprocessing
import signal
import sys

HELD = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def tell(connection):
    connection.send([signal.Signals(number).name for number in HELD])


if __name__ == "__main__":
    from ebm_vs_prob.study.engines.processes import spawned

    for _ in range(2):
        ours, theirs = multiprocessing.Pipe()
        process = spawned(tell, theirs)
        print(*ours.recv())
        process.join()
"""


def test_signals_wait_until_a_process_stands_them_the_first_one_too(tmp_path):
    script = tmp_path / "spawning.py"
    script.write_text(SPAWNING)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert run.stdout.splitlines() == ["SIGHUP SIGINT SIGTERM"] * 2, run.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere no fork server is used")
def test_a_fork_server_that_is_dead_is_replaced(monkeypatch):
    servers = []

    class Server:
        def __init__(self):
            self.living, self.forked = True, 0
            servers.append(self)

        def alive(self):
            return self.living

        def hopeless(self):
            return False

        def fork(self, connection):
            self.forked += 1
            return Process(connection, [GOOD] if self.living else [])

        def close(self):
            self.living = False

    monkeypatch.setattr(local, "ForkServer", Server)
    with LocalPool(JOB, 2) as pool:
        happened(pool, 2)
        servers[0].living = False
        pool.stop("local-1")
        assert happened(pool, 1) == [Introduced("local-3", GOOD)]
    assert [server.forked for server in servers] == [2, 1]
    assert not any(server.living for server in servers)


# ---- workers of a cluster --------------------------------------------------------------------------------------------


class Answer:
    """A future that is answered when told."""

    def add_done_callback(self, callback):
        self.callback = callback

    def give(self, value):
        self.value = value
        self.callback(self)

    def result(self, timeout):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Cluster:
    """A client of dask, as much of it as a pool asks for."""

    status = "running"

    def __init__(self):
        self.threads, self.submitted, self.lost = {}, [], None

    def scheduler_info(self):
        return {"address": "tcp://there:8786"}

    def nthreads(self):
        if self.lost is not None:
            raise self.lost
        return dict(self.threads)

    def submit(self, function, *arguments, **options):
        self.submitted.append((Answer(), function, options))
        return self.submitted[-1][0]

    def subscribe_topic(self, topic, handler): ...

    def cancel(self, futures, force): ...

    def close(self, timeout): ...


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    monkeypatch.setattr(distributed, "Client", lambda **options: made)
    monkeypatch.setattr(dask, "LOOK", 0.0)
    return made


def test_it_is_said_why_no_worker_of_a_cluster_is_there(cluster):
    with DaskPool(JOB, "tcp://there:8786") as pool:
        assert list(pool.events(0)) == []
        start = "start one with: dask worker tcp://there:8786 --nthreads 1"
        assert pool.shortage() == f"waiting for workers at tcp://there:8786: none is connected; {start}"
        cluster.threads = {"a": 1}
        assert list(pool.events(0)) == []
        assert pool.shortage() == "workers at tcp://there:8786 have not answered yet: a"
        cluster.threads = {}
        assert [event.worker for event in pool.events(0)] == ["a"]
        assert "vanish before they can be used, as they do where importing the package" in pool.shortage()


@pytest.mark.parametrize("lost", [OSError("Stream is closed"), TypeError("of a client that gave up"), "closed"])
def test_a_lost_scheduler_is_said_in_one_line_with_what_to_do(cluster, lost):
    said = r"^the dask scheduler at tcp://there:8786 was lost: what is stored is kept, and the same command goes on .*"
    with DaskPool(JOB, "tcp://there:8786") as pool:
        list(pool.events(0))
        if isinstance(lost, str):
            cluster.status = lost
        else:
            cluster.lost = lost
        with pytest.raises(ConnectionError, match=said):
            list(pool.events(0))


def test_a_batch_goes_to_the_worker_it_is_for_and_an_answer_that_nobody_waits_for_is_none(cluster):
    cluster.threads = {"a": 1, "b": 1}
    with DaskPool(JOB, "tcp://there:8786") as pool:
        list(pool.events(0))
        for answer, function, _ in cluster.submitted:
            assert function is introduce
            answer.give(GOOD)
        assert {event.worker for event in pool.events(0)} == {"a", "b"}
        pool.give("a", "a batch", None)
        answer, _, options = cluster.submitted[-1]
        assert (options["workers"], options["allow_other_workers"], options["retries"]) == (["a"], False, 0)
        cluster.threads = {"b": 1}
        (gone,) = pool.events(0)
        assert (type(gone), gone.worker) == (Gone, "a")
        answer.give(Receipt(written=1))
        assert list(pool.events(0)) == []
        pool.give("b", "a batch", None)
        cluster.submitted[-1][0].give(Receipt(written=1))
        assert list(pool.events(0)) == [Received("b", Receipt(written=1))]


def test_a_worker_that_cannot_introduce_itself_is_introduced_with_its_fault(cluster):
    cluster.threads = {"a": 1}
    with DaskPool(JOB, "tcp://there:8786") as pool:
        list(pool.events(0))
        cluster.submitted[0][0].give(ModuleNotFoundError("No module named 'ebm_vs_prob'"))
        (event,) = pool.events(0)
    assert "No module named 'ebm_vs_prob'" in event.introduction.unlike(GOOD)


def test_pipes_are_closed_after_a_run(processes):
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with LocalPool(JOB, 3) as pool:
        happened(pool, 3)
    for process in processes[0]:
        process.kill()
    assert not multiprocessing.active_children()
    assert not descriptors or len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_that_a_batch_leaves_free_goes_back():
    """Pieces between what stays, which the C library keeps by itself: 200 MB in all, of which most is given back."""
    script = """
import torch
from pathlib import Path
from ebm_vs_prob.study.engines.processes import give_back

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

pieces = [torch.ones(250_000) for _ in range(200)]
pieces = pieces[::20]
before = held()
give_back()
print(before - held())
"""
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100
