"""The door to a GPU: what it says where there is none, and that every kernel compiles for one."""

import inspect
import re
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from npsnn import _cuda, backends, cli

MESSAGES = {
    "Error at driver init: CUDA driver library cannot be found.": "no NVIDIA driver is installed",
    "[100] Call to cuInit results in CUDA_ERROR_NO_DEVICE": "the driver sees no GPU",
    "CUDA driver version is insufficient for CUDA runtime version": "the NVIDIA driver is too old for the CUDA package",
    "something\n  else": "the CUDA driver says: something else",
    "": "the CUDA driver says: RuntimeError",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_missing_is_said_in_a_line(monkeypatch, capsys, message):
    def current_context():
        raise RuntimeError(message)

    monkeypatch.setattr(_cuda, "package", lambda: "numba_cuda")
    monkeypatch.setattr(_cuda, "driver", lambda: SimpleNamespace(current_context=current_context))
    assert _cuda.available() == (False, MESSAGES[message])
    with pytest.raises(ValueError, match=f'backend "cuda" cannot run here: {MESSAGES[message]}$'):
        backends.resolve("cuda")
    assert cli.main(["info"]) == 0
    assert f'cuda        backend "cuda" cannot run here: {MESSAGES[message]}\n' in capsys.readouterr().out


def test_no_package(monkeypatch):
    monkeypatch.setattr(_cuda, "package", lambda: "")
    assert _cuda.available() == (False, 'no CUDA package is installed: pip install "npsnn[cuda]"')


def test_a_device_is_named(monkeypatch):
    device = SimpleNamespace(name=b"Some GPU")
    fake = SimpleNamespace(current_context=lambda: None, get_current_device=lambda: device)
    monkeypatch.setattr(_cuda, "package", lambda: "numba_cuda")
    monkeypatch.setattr(_cuda, "driver", lambda: fake)
    monkeypatch.setattr(_cuda, "SIMULATED", False)
    assert _cuda.available() == (True, "Some GPU")


@pytest.mark.parametrize("name", ["numba_cuda", "numba_cuda_mlir"])
def test_a_package_that_lacks_a_part_of_itself_is_named(monkeypatch, name):
    def driver():
        raise ModuleNotFoundError("No module named 'cuda'")

    monkeypatch.setattr(_cuda, "package", lambda: name)
    monkeypatch.setattr(_cuda, "driver", driver)
    assert _cuda.available() == (False, f"{name} cannot be imported: No module named 'cuda'")


def test_the_successor_is_the_second_choice_and_no_simulator(monkeypatch):
    installed = {"numba_cuda", "numba_cuda_mlir", "numba.cuda"}
    monkeypatch.setattr(_cuda.importlib.util, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(_cuda, "SIMULATED", False)
    assert _cuda.package() == "numba_cuda"
    installed.remove("numba_cuda")
    assert _cuda.package() == "numba_cuda_mlir"
    monkeypatch.setattr(_cuda, "SIMULATED", True)
    assert _cuda.package() == "numba.cuda"
    installed.remove("numba.cuda")
    assert _cuda.package() == ""


def test_asking_imports_no_package_where_none_is():
    code = "import sys; sys.modules['numba'] = None; from npsnn import _cuda; print(_cuda.available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("(False, ") and not done.stderr


def test_every_kernel_compiles():
    """For an H100, in both dtypes, with no double precision among float32 and no atomic operation: needs no GPU.

    And with no local memory: a thread's arrays are in registers.
    """
    if _cuda.SIMULATED:
        pytest.skip("the simulator compiles nothing")
    if (package := _cuda.package()) not in ("numba_cuda", "numba_cuda_mlir"):
        pytest.skip('needs numba-cuda or numba-cuda-mlir, and a compiler: pip install "numba-cuda[cu12]"')
    from tests.cuda.kernels import KERNELS, compiled, no_compiler

    if (why := no_compiler()) is not None:
        pytest.skip(f"{package} has no compiler here: {why}")
    for name, kernel, signature in KERNELS():
        # numba-cuda-mlir 0.6 takes NaN != x for false, and folds it away: the PTX would not show it
        assert "!=" not in inspect.getsource(kernel.py_func), name
        ptx = compiled(kernel, signature)
        assert not re.search(r"\b(atom|red)\.", ptx), name
        assert ".local" not in ptx, name
        if np.float64 not in name:
            assert ".f64" not in ptx, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_shape_wants_more_shared_memory_than_a_block_has(dtype):
    """48 KB, on every GPU. The sizes of the kernels' shared arrays, for every shape that they take."""
    if _cuda.SIMULATED:
        pytest.skip("the simulator's blocks are small")
    if not _cuda.package():
        pytest.skip('needs a CUDA package: pip install "npsnn[cuda]"')
    from npsnn.conv2d import routed, spikes
    from npsnn.conv2d.geometry import Geometry, sizes

    size, taken = np.dtype(dtype).itemsize, {"weights": 0, "input": 0}
    pools = [((q, q), (q, q), (0, 0)) for q in (1, 2, 3, 5)]
    for k, pool, O, C, n in product((1, 2, 3, 5, 7, 11, 31), pools, (1, 33, 64, 200), (1, 3, 12, 65), (31, 34, 70)):
        g = Geometry((k, k), (1, 1), (0, 0), pool)
        s = sizes((2, C, n, n), O, g)
        if min(s.H_out, s.W_out) < 1:
            continue
        if t := spikes.tile_of(g, dtype, s):
            wide = t.outputs * _cuda.LANES
            words = spikes.WARPS * t.channels * spikes.words_of(g).words
            taken["weights"] = max(
                taken["weights"], (t.channels * k * k + spikes.WARPS) * wide * size + 4 * (spikes.WARPS * wide + words)
            )
        if part := routed.slice_of(g, dtype, s):
            rows = part.windows * pool[0][0] * pool[0][1]
            at_once = max(1, routed.OUTPUTS * routed.SUMS // (routed.EACH * rows))
            deltas = routed.GROUPS * rows * at_once
            taken["input"] = max(taken["input"], (part.pixels + deltas) * size + 4 * part.pitch)
            assert part.each <= routed.EACH and rows * part.each <= routed.SUMS
    assert 40_000 < taken["weights"] <= 48 * 1024, taken
    assert 20_000 < taken["input"] <= 48 * 1024, taken
