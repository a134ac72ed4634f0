"""What the surroundings may be: no home, an ASCII terminal, -O, warnings as errors, NumPy alone, a pipe nobody reads.

Many of these at once in one process: each must hold in the company of the others, and a process takes long to start.
"""

import ast
import json
import locale
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import _cuda, _threads, cli, data, optim, spikegen, surrogate, utils
from npsnn import functional as SF
from npsnn.data.download import MIRRORS

PACKAGE = Path(npsnn.__file__).parent
ROOT = PACKAGE.parent
SMALL = ["--num-steps", "2", "--channels", "1", "1", "--batch-size", "3000", "--epochs", "1", "--backend", "reference"]


def process(*arguments, cwd, environment, stdout=subprocess.PIPE):
    """A Python process with these variables and no others but the path."""
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    if os.name == "nt":
        environment.setdefault("SYSTEMROOT", os.environ.get("SYSTEMROOT", ""))
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=300
    )


# --- a hostile environment -------------------------------------------------------------------------------------------

HOSTILE = """
    import contextlib, importlib, io, json, pkgutil, socket, sys, warnings

    assert sys.flags.optimize == 1 and not __debug__
    assert sys.stdout.encoding == "ascii"

    def no_network(*_, **__):
        raise OSError("the network was asked for")

    socket.socket.connect = socket.getaddrinfo = socket.create_connection = no_network

    import npsnn

    names = [m.name for m in pkgutil.walk_packages(npsnn.__path__, "npsnn.")]
    skip = ("npsnn.__main__", "npsnn._device", "npsnn.resident", "npsnn.conv2d.device")
    have_numba = importlib.util.find_spec("numba") is not None
    compiled = ("cpu", "image", "_lanes", "_vectors", "_jit")
    found = 0
    for name in names:
        last = name.split(".")[-1]
        if name in skip or last == "cuda" or (last in compiled and not have_numba):
            continue
        importlib.import_module(name)
        found += 1

    import numpy as np
    from tests.test_errors import CASES

    wrong = []
    for i, (call, kind, message) in enumerate(CASES):
        try:
            with np.errstate(all="ignore"):
                call()
        except Exception as error:
            if type(error) is not kind or message not in str(error) or "\\n" in str(error):
                wrong.append([i, message, repr(error)])
        else:
            wrong.append([i, message, "nothing was raised"])

    importlib.reload(npsnn)
    from npsnn import cli, data

    try:
        data.download_mnist("mnist")
    except ConnectionError as error:
        download = str(error)

    out, err = io.StringIO(), io.StringIO()
    status = cli.main(["train", *json.loads(sys.argv[1]), "--out", "a b"])
    print(json.dumps([len(names), found, wrong, len(CASES), download, status]))
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(the process, what it found, its folder) of a run without a home, -O, warnings as errors, ASCII, no network."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "file").touch()
    below_a_file = str(folder / "file" / "below")  # which stops even root
    environment = {
        "PYTHONPATH": str(ROOT), "HOME": below_a_file, "XDG_CACHE_HOME": below_a_file, "NUMBA_CACHE_DIR": below_a_file,
        "MPLCONFIGDIR": below_a_file, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii:strict", "COLUMNS": "20", "TERM": "dumb", "NPSNN_NUM_THREADS": "1000",
    }  # fmt: skip
    done = process(
        "-O", "-W", "error", "-c", textwrap.dedent(HOSTILE), json.dumps(SMALL), cwd=folder, environment=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    return done, json.loads(done.stdout.decode("ascii").splitlines()[-1]), folder


def test_every_module_imports_with_warnings_as_errors_and_without_asserts(hostile):
    modules, found, *_ = hostile[1]
    assert modules >= 90 and found >= 50


def test_every_error_is_the_same_with_asserts_left_out(hostile):
    _, _, wrong, cases, *_ = hostile[1]
    assert wrong == [] and cases > 150


def test_a_run_needs_no_home_no_terminal_and_no_network(hostile):
    done, found, folder = hostile
    assert found[5] == 0
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "epoch 1/1: train loss" in out and "\na b: checkpoint.npz" in out
    assert "Traceback" not in err and "npsnn" not in err
    assert {"checkpoint.npz", "history.csv", "settings.json"} <= {path.name for path in (folder / "a b").iterdir()}


def test_without_a_terminal_there_is_no_progress_bar(hostile):
    done = hostile[0]
    assert b"\r" not in done.stdout + done.stderr and b"image/s" not in done.stderr


def test_without_a_network_a_download_says_so_in_a_line(hostile):
    said = hostile[1][4]
    assert said.startswith("train-images-idx3-ubyte.gz could not be fetched (https://") and "\n" not in said
    assert said.count("the network was asked for") == len(MIRRORS)
    assert "npsnn.data.mnist(split) without root needs no network" in said


# --- NumPy alone -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numpy_alone(tmp_path_factory):
    """A folder from which NumPy and npsnn can be imported, and nothing else that is installed."""
    folder = tmp_path_factory.mktemp("alone")
    beside = Path(np.__file__).parents[1]
    for path in (PACKAGE, ROOT / "tests", beside / "numpy", beside / "numpy.libs"):
        if path.exists():
            (folder / path.name).symlink_to(path, target_is_directory=True)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="makes symbolic links")
def test_numpy_is_enough(numpy_alone):
    """The whole of tests/numpy_only.py, then a training run of the command line, without site-packages (-S)."""
    program = """
        from tests import numpy_only
        from npsnn import cli
        import json, sys

        numpy_only.main()
        sys.exit(cli.main(["train", *json.loads(sys.argv[1]), "--out", "run"]))
    """
    done = process(
        "-S", "-c", textwrap.dedent(program), json.dumps([*SMALL, "--backend", "auto"]),
        cwd=numpy_alone, environment={"PYTHONPATH": str(numpy_alone)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert "backend reference\n" in done.stdout.decode()
    assert done.stderr.decode() == 'npsnn: plots need Matplotlib: pip install "npsnn[plot]"\n'


def test_a_simulated_gpu_is_called_one(monkeypatch):
    monkeypatch.setattr(_cuda, "SIMULATED", True)
    assert _cuda.device_name() == "simulated on the CPU (NUMBA_ENABLE_CUDASIM=1)"


# --- output ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has other pipes")
@pytest.mark.parametrize("arguments", [["info"], ["train", *SMALL, "--out", "a"]], ids=["info", "train"])
def test_a_pipe_that_nobody_reads_ends_a_command_quietly(tmp_path, arguments):
    read, write = os.pipe()
    os.close(read)
    try:
        done = process(
            "-m", "npsnn", *arguments, cwd=tmp_path, environment={"PYTHONPATH": str(ROOT)}, stdout=write
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.returncode == 141
    assert done.stderr in (b"", b"npsnn: the last checkpoint is kept; to go on: npsnn train --resume a\n")


@pytest.mark.parametrize("command", ["train", "eval", "check", "golden", "compare", "info"])
def test_help_fits_a_narrow_terminal(command, monkeypatch, capsys):
    """However narrow: every option is there, in ASCII."""

    def words(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert out.isascii()
        return out

    narrow, wide = words(20), words(10_000)
    assert {w for w in wide.split() if w.startswith("--")} == {w for w in narrow.split() if w.startswith("--")}


@pytest.fixture
def turkish(tmp_path, monkeypatch):
    """The locale of a decimal comma and a dotless i; made here where the system has only its source."""
    name, before = "tr_TR.UTF-8", locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        made = None
        if shutil.which("localedef"):
            made = subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", tmp_path / name], capture_output=True)
        if made is None or made.returncode:
            pytest.skip(f"the locale {name} is not installed here, nor what makes it")
        monkeypatch.setenv("LOCPATH", str(tmp_path))
        locale.setlocale(locale.LC_ALL, name)
    yield
    locale.setlocale(locale.LC_ALL, before)


def test_a_locale_changes_no_number_and_no_name(turkish, tmp_path, capsys):
    assert locale.localeconv()["decimal_point"] == ","
    arguments = ["train", *SMALL, "--beta", "0.5", "--out", str(tmp_path / "a"), "--no-plots", "--no-progress"]
    assert cli.main(arguments) == 0
    assert "train loss 2." in capsys.readouterr().out
    settings = json.loads((tmp_path / "a" / "settings.json").read_text("utf-8"))["settings"]
    assert (settings["beta"], settings["kernel_size"]) == (0.5, 5)
    head, row = ((tmp_path / "a" / "history.csv").read_text("utf-8")).splitlines()
    assert len(head.split(",")) == len(row.split(",")) and float(row.split(",")[1]) > 2


# --- threads and chance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", ["0", "two"])
def test_a_number_of_threads_that_is_none_is_named(tmp_path, wish):
    """Where it matters: an import does not need it."""
    environment = {"PYTHONPATH": str(ROOT), "NPSNN_NUM_THREADS": wish}
    assert process("-c", "import npsnn", cwd=tmp_path, environment=environment).returncode == 0
    done = process("-m", "npsnn", "train", *SMALL, "--out", "a", cwd=tmp_path, environment=environment)
    assert done.returncode == 2
    assert done.stderr.decode() == f"npsnn: NPSNN_NUM_THREADS is {wish!r}, expected a whole number above 0\n"


def step_of_training(seed=3):
    """Everything that draws, once; a list of arrays."""
    generator = npsnn.Generator(seed)
    neurons = npsnn.Leaky(0.5, spike_grad=surrogate.SSO(seed=1))
    net = npsnn.Sequential(
        npsnn.Linear(4, 3), neurons, npsnn.Linear(3, 2), npsnn.Leaky(0.5), backend="reference", seed=generator
    )
    x, y = np.ones((6, 4), np.float32), np.array([0, 1, 0, 1, 0, 1])
    loader = data.DataLoader(utils.valid_split((x, y), None, 0.5, seed=2)[0], 2, shuffle=True, seed=generator)
    optimizer = optim.Adam(net)
    npsnn.backprop.BPTT(net, loader, optimizer, SF.ce_rate_loss(), num_steps=4, time_var=False)
    return [net.flat_params.copy(), spikegen.rate(x / 2, 5, seed=generator)]  # fmt: skip


def test_numpys_global_random_state_is_neither_read_nor_changed():
    kept = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        before = np.random.get_state()  # noqa: NPY002
        first = step_of_training()
        after = np.random.get_state()  # noqa: NPY002
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        np.random.seed(2)  # noqa: NPY002
        for a, b in zip(step_of_training(), first, strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        np.random.set_state(kept)  # noqa: NPY002


def test_far_more_threads_than_chunks_change_no_bit():
    pytest.importorskip("numba", reason="the cpu backend needs Numba")
    x, results, before = np.random.default_rng(0).uniform(-1, 2, (9, 7, 6)).astype(np.float32), [], _threads.count()
    try:
        for threads in (1, 1000):
            _threads.set_count(threads)
            net = npsnn.Sequential(npsnn.Linear(6, 3), npsnn.Leaky(0.5), backend="cpu", seed=0)
            spk_rec, mem_rec, tape = net.forward(x)
            results.append([spk_rec, mem_rec, *net.backward(tape, spk_rec, mem_rec).values()])
    finally:
        _threads.set_count(before)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_clock_that_can_jump_and_no_global_random_state_is_in_the_source():
    """time.time() goes back when a clock is set; np.random's functions share one state with the whole program."""
    allowed = {"default_rng", "MT19937", "Generator"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                written = ast.unparse(node)
                assert written not in ("time.time", "datetime.now", "datetime.datetime.now", "random.random"), path
                if ast.unparse(node.value) == "np.random":
                    assert node.attr in allowed, f"{path}: {written}"
