"""_free: what is read of the memory that is free, and that nothing large is begun that cannot end."""

import numpy as np
import pytest

import npsnn
from npsnn import _free, backprop, cli, optim, spikegen, tiles, training
from npsnn import functional as SF

GB = 10**9


@pytest.fixture
def root(tmp_path):
    """A machine's files of which the text is given by name."""

    def make(**files):
        for name, text in files.items():
            path = tmp_path / PATHS[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


PATHS = {
    "meminfo": "proc/meminfo", "own": "proc/self/cgroup",
    **{name: f"sys/fs/cgroup/memory.{name}" for name in ("max", "current", "stat")},
    **{f"{name}_a": f"sys/fs/cgroup/a/memory.{name}" for name in ("max", "current")},
    **{f"{name}_ab": f"sys/fs/cgroup/a/b/memory.{name}" for name in ("max", "current")},
}  # fmt: skip
MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\nHugePages_Total:   0\n"
AVAILABLE = 9000 * 1024

READ = {
    "nothing can be read": ({}, None),
    "the system alone": ({"meminfo": MEMINFO}, AVAILABLE),
    "a file of another kind": ({"meminfo": "garbage\n\nMemAvailable: much kB\n"}, None),
    "no limit": ({"meminfo": MEMINFO, "max": "max\n", "current": "5000\n"}, AVAILABLE),
    "a lower limit": ({"meminfo": MEMINFO, "max": "70000\n", "current": "5000\n"}, 65000),
    "a higher limit": ({"meminfo": MEMINFO, "max": f"{2**40}\n", "current": "5000\n"}, AVAILABLE),
    "a limit alone": ({"max": "70000\n", "current": "5000\n"}, 65000),
    "a limit of unknown use": ({"meminfo": MEMINFO, "max": "70000\n"}, AVAILABLE),
    "files are given back": (
        {"max": "70000", "current": "69000", "stat": "anon 7\nactive_file 100\ninactive_file 30\nshmem 5\n"}, 1130,
    ),
    "more taken than the limit": ({"max": "70000", "current": "80000"}, 0),
    "its own group": ({"own": "0::/a/b\n", "max_ab": "70000", "current_ab": "5000"}, 65000),
    "the group above its own": (
        {"own": "1:memory:/x\n0::/a/b\n", "max_a": "60000", "current_a": "5000", "max_ab": "700000", "current_ab": "5"},
        55000,
    ),
    "another's group": ({"meminfo": MEMINFO, "own": "0::/c\n", "max_a": "60000", "current_a": "5000"}, AVAILABLE),
    "at the top": ({"own": "0::/\n", "max": "70000", "current": "5000"}, 65000),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_is_free(root, name):
    files, free = READ[name]
    assert _free.bytes_free(root(**files)) == free


def test_what_is_free_here_is_nothing_or_some():
    free = _free.bytes_free()
    assert free is None or free > 0


@pytest.fixture
def free(monkeypatch):
    """Let so many bytes be free, and nothing be too small to ask."""

    def set_free(count):
        monkeypatch.setattr(_free, "SMALL", 0)
        monkeypatch.setattr(_free, "bytes_free", lambda: count)

    return set_free


def test_as_much_as_is_free_may_be_taken_and_no_more(free):
    free(1000)
    _free.require(1000, "it", "take less")
    with pytest.raises(MemoryError, match=r"^it needs about 1.0 kB, 1.0 kB are free; take less$"):
        _free.require(1001, "it", "take less")
    free(None)
    _free.require(10**18, "it", "take less")


def test_what_is_small_asks_nobody(monkeypatch):
    monkeypatch.setattr(_free, "bytes_free", lambda: 0)
    _free.require(_free.SMALL, "it", "take less")
    with pytest.raises(MemoryError, match="needs about 67 MB, 0 B are free"):
        _free.require(_free.SMALL + 1, "it", "take less")


@pytest.mark.parametrize(
    "size, text",
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_940, "9.9 kB"), (128 * 10**12, "128 TB"), (17 * GB, "17 GB")],
)
def test_bytes_for_a_person(size, text):
    assert _free.text(size) == text


def small(**options):
    return npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), npsnn.Linear(2, 4), npsnn.Leaky(0.5), **options)


def never(*_):
    raise AssertionError("work was begun")


def test_a_long_run_is_refused_before_any_work_with_what_to_do(free, monkeypatch):
    free(7_600_000_000)
    monkeypatch.setattr(tiles, "forward_chunk", never)
    net, x = training.build(training.Settings(backend="reference"), 0), np.zeros((128, 1, 28, 28), np.float32)
    with pytest.raises(MemoryError) as caught:
        net.forward(x, 10_000)
    need = tiles.needs(net._run(net._params, (1, *x.shape), 10_000), (1, *x.shape), net.dtype)
    recordings = 2 * 10_000 * 128 * 10 * 4
    assert str(caught.value) == (
        f"the tape of T = 10000, B = 128 needs about {_free.text(need.once + 10_000 * need.step + recordings)}, "
        "7.6 GB are free; set memory_budget=, take a smaller batch or TBPTT"
    )


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("static", [True, False])
def test_what_is_asked_for_is_what_a_tape_and_recordings_take(free, backend, static):
    """One byte less is refused, and an inference of the same asks for its recordings alone."""
    if backend == "cpu":
        pytest.importorskip("numba", reason="the cpu backend needs Numba")
    T, B = 70, 6
    net = small(backend=backend)
    x, steps = (np.ones((B, 3), np.float32), T) if static else (np.ones((T, B, 3), np.float32), None)
    shape = (1, B, 3) if static else (T, B, 3)
    recordings = 2 * T * B * 4 * 4
    needs = tiles.needs(net._run(net._params, shape, T), shape, net.dtype)
    tape = needs.once + T * needs.step
    for call, need, words in (
        (net.forward, tape + recordings, "the tape of T = 70, B = 6 needs about "),
        (net, recordings, "the recording of T = 70, B = 6 needs about "),
    ):
        free(need)
        call(x, steps)
        free(need - 1)
        with pytest.raises(MemoryError, match=f"^{words}"):
            call(x, steps)
    free(2 * 6 * 4 * 4)
    net.step(np.ones((B, 3), np.float32), net.init_state(B))


def test_a_memory_budget_needs_no_more_than_it_says(free):
    x = np.ones((6, 3), np.float32)
    free(20_000)
    with pytest.raises(MemoryError, match="set memory_budget=, take a smaller batch or TBPTT"):
        small(backend="reference").forward(x, 100)
    net = small(backend="reference", memory_budget=100)
    with pytest.raises(ValueError, match="memory_budget is 100 bytes"):
        net.forward(x, 100)
    with pytest.raises(MemoryError, match="set a smaller memory_budget=, take a smaller batch or TBPTT"):
        small(backend="reference", memory_budget=10**6).forward(x, 100)


def test_truncation_is_the_way_out_that_it_says(free):
    net = small(backend="reference")
    batch = [(np.ones((6, 3), np.float32), np.zeros(6, int))]
    free(20_000)
    arguments = net, batch, optim.Adam(net), SF.ce_rate_loss()
    with pytest.raises(MemoryError):
        backprop.BPTT(*arguments, num_steps=100, time_var=False)
    assert backprop.TBPTT(*arguments, num_steps=100, time_var=False, K=10) > 0


def test_an_allocation_that_fails_all_the_same_leaves_everything_as_it_was(monkeypatch):
    """In the middle of forward, and of backward: the next try is that of a network that never failed."""
    net, twin = small(backend="reference"), small(backend="reference")
    x, y, loss = np.ones((6, 3), np.float32), np.zeros(6, int), SF.ce_rate_loss()
    optimizer, other = optim.Adam(net), optim.Adam(twin)

    def fail(*_):
        raise MemoryError("Unable to allocate 9.6 GiB for an array with shape (1, 2)")

    for name in ("forward_chunk", "backward_chunk"):
        with monkeypatch.context() as patch:
            patch.setattr(tiles, name, fail)
            with pytest.raises(MemoryError, match="Unable to allocate"):
                backprop.BPTT(net, [(x, y)], optimizer, loss, num_steps=5, time_var=False)
        assert optimizer.t == 0
        np.testing.assert_array_equal(net.flat_params, twin.flat_params)
    for n, o in ((net, optimizer), (twin, other)):
        backprop.BPTT(n, [(x, y)], o, loss, num_steps=5, time_var=False)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_parameters_that_do_not_fit_are_refused(free):
    free(10**6)
    with pytest.raises(MemoryError) as caught:
        npsnn.Sequential(npsnn.Linear(10_000, 1_000))
    assert str(caught.value) == (
        "Sequential: a network of 10,001,000 parameters needs about 40 MB, 1.0 MB are free; take smaller layers"
    )


def test_a_training_step_of_the_tutorial_reads_no_file(monkeypatch):
    pytest.importorskip("numba", reason="the cpu backend needs Numba")
    net = training.build(training.Settings(backend="cpu"), 0)
    monkeypatch.setattr(_free, "bytes_free", never)
    net._check_memory((1, 128, 1, 28, 28), 50, (50, 128, 10), True)
    _, need, what = net._measured
    assert 2**20 < need < _free.SMALL and what == "the tape of T = 50, B = 128"


def test_codes_and_films_are_refused_too(free, tmp_path):
    free(1000)
    with pytest.raises(MemoryError, match=r"^spikegen.rate: a code of 1,000 steps of shape \(4,\) needs about 16 kB"):
        spikegen.rate(np.ones(4, np.float32), 1000)
    pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')
    from matplotlib.figure import Figure

    from npsnn import spikeplot

    fig = Figure(figsize=(2, 3), dpi=100)
    film = spikeplot.animator(np.ones((500, 1, 1)), fig, fig.subplots())
    film._draw_was_started = True  # else it complains that nobody watched it
    with pytest.raises(MemoryError) as caught:
        spikeplot.save(film, tmp_path / "film.gif")
    assert str(caught.value) == (
        "save: a GIF of 500 frames of 200 x 300 needs about 90 MB, 1.0 kB are free; take fewer steps (num_steps=), a "
        "smaller figure, or .mp4, of which a frame is kept at a time"
    )
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_it_in_a_line(tmp_path, capsys):
    steps = str(10**16)
    assert cli.main(["train", "--num-steps", steps, "--backend", "reference", "--out", str(tmp_path / "a")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"npsnn: the tape of T = {steps}, B = 128 needs about ") and err.count("\n") == 1
