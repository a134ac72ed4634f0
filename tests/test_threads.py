"""_threads: every chunk once, errors come back, the number of threads is the user's, a forked child has its own."""

import os
import threading
import time

import pytest

from npsnn import _threads


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = _threads.count()
    _threads.set_count(request.param)
    yield request.param
    _threads.set_count(before)


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 17, 100])
def test_every_chunk_is_done_once(threads, chunks):
    done = []
    _threads.share(chunks, lambda begin, end: done.extend(range(begin, end)))
    assert sorted(done) == list(range(chunks))


def test_several_threads_work_at_once():
    before = _threads.count()
    _threads.set_count(3)
    meeting = threading.Barrier(3, timeout=30)
    try:
        _threads.share(3, lambda begin, end: meeting.wait())  # each waits until all three are in
    finally:
        _threads.set_count(before)
    assert not meeting.broken


@pytest.mark.parametrize(("threads", "chunks", "within"), [(4, 2, 2), (5, 2, 2), (3, 1, 3), (2, 4, 1), (6, 3, 2)])
def test_what_is_shared_within_has_the_threads_that_are_left_over(threads, chunks, within):
    before, counting, most, now = _threads.count(), threading.Lock(), [0], [0]
    meetings = [threading.Barrier(within, timeout=30) for _ in range(chunks)]

    def inner(which):
        with counting:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meetings[which].wait()  # until as many are in as there should be
        with counting:
            now[0] -= 1

    def outer(begin, end):
        for which in range(begin, end):
            _threads.share(within, lambda first, last, which=which: [inner(which) for _ in range(first, last)])

    _threads.set_count(threads)
    try:
        _threads.share(chunks, outer)
        assert within <= most[0] <= threads
    finally:
        _threads.set_count(before)


def test_what_is_shared_within_is_one_piece_where_no_thread_is_left_over():
    before, pieces = _threads.count(), []
    _threads.set_count(3)
    try:
        _threads.share(3, lambda begin, end: _threads.share(10, lambda first, last: pieces.append((first, last))))
    finally:
        _threads.set_count(before)
    assert pieces == [(0, 10)] * 3


def test_an_error_comes_back_when_all_have_ended(threads):
    ended = []

    def work(begin, end):
        if begin == 0:
            raise ArithmeticError("of chunk 0")
        time.sleep(0.02)
        ended.append(begin)

    with pytest.raises(ArithmeticError, match="of chunk 0"):
        _threads.share(8, work)
    seen = len(ended)
    time.sleep(0.1)
    assert len(ended) == seen


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"NPSNN_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "5"}, 3),
        ({"NUMBA_NUM_THREADS": "5"}, 5),
        ({}, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
    ],
)
def test_the_number_of_threads(monkeypatch, environment, expected):
    for name in ("NPSNN_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _threads.default_count() == expected


@pytest.mark.parametrize("wish", ["0", "two", "-1", "1.5"])
def test_a_number_of_threads_that_is_none(monkeypatch, wish):
    monkeypatch.setenv("NPSNN_NUM_THREADS", wish)
    with pytest.raises(ValueError, match=r"NPSNN_NUM_THREADS is '.*', expected a whole number above 0"):
        _threads.default_count()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    before = _threads.count()
    _threads.set_count(2)
    try:
        _threads.share(4, lambda begin, end: None)  # now the parent has a thread, which the child will not have
        child = os.fork()
        if child == 0:
            done = []
            _threads.share(4, lambda begin, end: done.append(end - begin))
            os._exit(0 if sum(done) == 4 and _threads.count() == 2 else 1)
        deadline = time.monotonic() + 60
        while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert status == (child, 0)
    finally:
        _threads.set_count(before)
