"""The folder of what can be made again: where it is, how large it gets, and that the compiler uses it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebm_vs_prob.core import caches
from ebm_vs_prob.core.caches import (
    COMPILER_VARIABLE,
    cache_folder,
    compiler_cache,
    compiler_folder,
    remembered,
    trim,
)

DAY = 86400


def test_the_environment_says_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("EBM_VS_PROB_CACHE", "here")
    assert cache_folder() == Path.cwd() / "here"
    monkeypatch.delenv("EBM_VS_PROB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "ebm_vs_prob"


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(2, 60)), max_size=8, unique_by=lambda file: file[1]),
    st.integers(0, 300),
)
def test_what_was_not_used_for_longest_goes_first_and_the_rest_is_bounded(files, most):
    with tempfile.TemporaryDirectory() as folder:
        for size, days in files:
            path = Path(folder, str(days % 3), f"{days}-{size}")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x" * size)
            os.utime(path, (time.time() - days * DAY,) * 2)
        trim(Path(folder), most)
        left = sorted(int(path.name.partition("-")[0]) for path in Path(folder).rglob("*-*"))
        kept = [file for file in sorted(files, key=lambda file: file[1]) if file[1] in left]
        assert kept == sorted(files, key=lambda file: file[1])[: len(kept)]
        assert sum(size for size, _ in kept) <= most
        if len(kept) < len(files):  # no more is removed than has to be
            sizes = [size for size, _ in sorted(files, key=lambda file: file[1])]
            assert sum(sizes[: len(kept) + 1]) > most


def test_what_is_in_use_stays_and_a_folder_that_is_not_there_is_none(tmp_path):
    (tmp_path / "young").write_bytes(b"x" * 100)
    (tmp_path / "read").write_bytes(b"x" * 100)
    os.utime(tmp_path / "read", (time.time(), time.time() - 9 * DAY))
    trim(tmp_path, 10)
    assert sorted(os.listdir(tmp_path)) == ["read", "young"]
    trim(tmp_path / "nowhere", 10)


@pytest.fixture
def own(monkeypatch, tmp_path):
    import torch._inductor.codecache  # noqa: F401  which sets the variable

    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)
    return tmp_path / "cache" / "compiler"


def test_the_compiler_keeps_what_it_makes_there_and_the_environment_is_as_it_was(own):
    from torch._inductor import codecache, config

    before, threads = codecache._HEADER_DIR, config.compile_threads
    with compiler_cache():
        assert os.environ[COMPILER_VARIABLE] == str(own)
        assert Path(codecache._HEADER_DIR).parent == own
        assert config.compile_threads == 1
    assert COMPILER_VARIABLE not in os.environ
    assert (codecache._HEADER_DIR, config.compile_threads) == (before, threads)
    assert own.stat().st_mode & 0o077 == 0


def test_a_folder_of_the_users_for_the_compiler_stands(own, monkeypatch, tmp_path):
    monkeypatch.setenv(COMPILER_VARIABLE, str(tmp_path / "mine"))
    with compiler_cache():
        assert os.environ[COMPILER_VARIABLE] == str(tmp_path / "mine")
    assert os.environ[COMPILER_VARIABLE] == str(tmp_path / "mine")


def test_torchs_own_folder_is_no_users(own, monkeypatch):
    """torch sets the variable itself when its compiler is imported."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    monkeypatch.setenv(COMPILER_VARIABLE, default_cache_dir())
    with compiler_cache():
        assert os.environ[COMPILER_VARIABLE] == str(own)
    assert os.environ[COMPILER_VARIABLE] == default_cache_dir()


def test_where_the_folder_cannot_be_the_compilers_own_is_taken(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)
    assert compiler_folder() is None
    with compiler_cache():
        assert COMPILER_VARIABLE not in os.environ


def test_it_is_trimmed_once_in_a_process(own, monkeypatch):
    trimmed = []
    monkeypatch.setattr(caches, "trim", lambda folder, most: trimmed.append((folder, most)))
    for _ in range(3):
        with compiler_cache():
            pass
    assert trimmed == [(own, caches.MOST_BYTES)]


# ---- answers ---------------------------------------------------------------------------------------------------------


def counted(answer):
    asked = []

    def make():
        asked.append(1)
        return answer

    return make, asked


def test_an_answer_is_kept_until_the_question_is_another(monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path))
    make, asked = counted({"b": [1, "é", None], "a": 0.1})
    for _ in range(2):
        answer = remembered(["a question", 1], make)
        assert list(answer.items()) == [("b", [1, "é", None]), ("a", 0.1)]
    assert len(asked) == 1
    remembered(["a question", 2], make)
    assert len(asked) == 2


def test_whatever_lies_in_its_place_is_no_answer(monkeypatch, tmp_path):
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path))
    make, asked = counted("the answer")
    remembered("q", make)
    (path,) = tmp_path.rglob("*.json")
    whole = path.read_bytes()
    for content in (
        b"",
        b"[]",
        b"1",
        b"\xff",
        whole[:-3],
        whole.replace(b"the", b"eht"),
        b'{"answer": "x"}',
        b"[" * 10**5,
    ):
        path.write_bytes(content)
        asked.clear()
        assert remembered("q", make) == "the answer"
        assert asked == [1]
        assert path.read_bytes() == whole
    path.unlink()
    path.mkdir()
    assert remembered("q", make) == "the answer"


def test_a_folder_that_cannot_be_written_costs_no_answer(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EBM_VS_PROB_CACHE", str(tmp_path / "file"))
    assert remembered("q", lambda: [1]) == [1]
