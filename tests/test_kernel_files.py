"""_kernel_files: machine code on disk helps where it can, is used only where it is of the same source, and never harms.

Each check is a Python process of its own: Numba reads its settings once, at import.
"""

import os
import shutil
import sys

import pytest

from tests.processes import ROOT, python
from tests.test_imports import PACKAGE, imports

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn._kernel_files import KernelFiles, sources

ADAM = """
    import numpy as np
    from npsnn import _jit
    from npsnn.adam import cpu

    p, g, m, v = (np.ones(3) for _ in range(4))
    cpu.adam_step(p, g, m, v, 1, lr=0.5, b1=0.0, b2=0.0, eps=1.0, weight_decay=0.0)
    assert (p == 0.75).all(), p
"""


def tree(folder):
    """A copy of the package to edit."""
    ignored = shutil.ignore_patterns("__pycache__", "embedded", "*.xz")
    shutil.copytree(ROOT / "npsnn", folder / "npsnn", ignore=ignored)
    return folder


FUSED = """
    import numpy as np
    import npsnn
    from npsnn.leakylinear import cpu

    sigma = npsnn.surrogate.fast_sigmoid()
    net = npsnn.Sequential(npsnn.Leaky(0.5, spike_grad=sigma), npsnn.Linear(3, 2), backend="cpu")
    spk_rec, _, tape = net.forward(np.ones((2, 3), np.float32), 3)
    net.backward(tape, np.ones_like(spk_rec))
    kernels = cpu._forward, cpu._backward_kernel(sigma.formula)
    print(*(sum(kernel.compiled.stats.cache_hits.values()) for kernel in kernels))
"""


def test_copies_of_one_source_share_and_an_edit_anywhere_below_is_seen(tmp_path):
    """Forward and backward, of which the latter encloses a surrogate's formula."""
    first, second = tree(tmp_path / "first"), tree(tmp_path / "second")

    def hits(folder):
        return python(FUSED, folder=folder, NUMBA_CACHE_DIR=str(tmp_path / "kept"))

    assert hits(first) == ["0", "0"]
    assert hits(second) == hits(first) == ["1", "1"]
    above = second / "npsnn" / "network.py"
    above.write_text(above.read_text("utf-8") + "\n", "utf-8")
    assert hits(second) == ["1", "1"]
    below = second / "npsnn" / "_sums.py"
    below.write_text(below.read_text("utf-8") + "\n", "utf-8")
    assert hits(second) == ["0", "0"]
    assert hits(second) == hits(first) == ["1", "1"]  # neither has taken the other's place


def test_an_edit_beside_the_source_is_seen(tmp_path):
    """In __pycache__, whose name says nothing of the source."""
    copy = tree(tmp_path)
    lanes = copy / "npsnn" / "_lanes.py"
    program = ADAM + "    print(sum(cpu._update.compiled.stats.cache_hits.values()))"
    found = [python(program, folder=copy, NUMBA_CACHE_DIR="") for _ in range(2)]
    lanes.write_text(lanes.read_text("utf-8") + "\n", "utf-8")
    found += [python(program, folder=copy, NUMBA_CACHE_DIR="") for _ in range(2)]
    assert found == [["0"], ["1"]] * 2


FORMULA = """
    import numpy as np
    from npsnn import surrogate
    from npsnn.leaky import cpu
    import theirs

    sigma = surrogate.Surrogate("theirs", theirs.formula)
    S, cache = cpu.leaky_forward(np.ones((2, 1, 1)), np.array(0.5), np.array(1.0), num_steps=2, sigma=sigma)
    dI, *_ = cpu.leaky_backward(S, None, cache)
    print(sum(cpu._backward_kernels(sigma.formula)[1].compiled.stats.cache_hits.values()), dI[1].item())
"""


def test_an_edit_of_a_formula_that_is_not_npsnns_is_seen(tmp_path):
    """sigma' = 3, then 5: dI[1] = dS[1] sigma', and the neuron fires at step 1."""
    formula = "def formula(x, one, a, b):\n    return {} * one\n"
    found = []
    for slope in (3, 3, 5):
        (tmp_path / "theirs.py").write_text(formula.format(slope), "utf-8")
        paths = os.pathsep.join([str(ROOT), str(tmp_path)])
        found.append(python(FORMULA, NUMBA_CACHE_DIR=str(tmp_path / "kept"), PYTHONPATH=paths))
    assert found == [["0", "3.0"], ["1", "3.0"], ["0", "5.0"]]


def test_whatever_a_kernel_imports_is_among_the_sources():
    reached, ahead = set(), list(PACKAGE.glob("*/cpu.py"))
    while ahead:
        file = ahead.pop()
        if file not in reached:
            reached.add(file)
            for name in imports(file):
                path = PACKAGE.parent.joinpath(*name.split("."))
                found = [path.with_suffix(".py"), path / "__init__.py"]
                ahead += [f for f in found if f.is_file() and f != PACKAGE / "__init__.py" and PACKAGE in f.parents]
    assert len(reached) > 30 and reached <= {*sources()}


def test_a_file_of_something_else_is_not_used(tmp_path):
    """Of other types, another stamp or another Numba, under the name that was asked for."""
    files = KernelFiles(str(tmp_path), "kernel", "stamp")
    keys = [("types", "processor", "function"), ("others", "processor", "function")]
    for key in keys:
        files.save(key, f"code for {key[0]}")
    assert [files.load(key) for key in keys] == ["code for types", "code for others"]
    assert len([*tmp_path.iterdir()]) == 2
    one, other = (files._path(key) for key in keys)
    one.write_bytes(other.read_bytes())
    assert files.load(keys[0]) is None and files.load(keys[1]) == "code for others"
    assert KernelFiles(str(tmp_path), "kernel", "later").load(keys[1]) is None
    assert files.load(("others", "processor", "enclosing another")) is None
    files.flush()
    assert files.load(keys[1]) is None and not [*tmp_path.iterdir()]


def test_another_numba_is_another_file(tmp_path, monkeypatch):
    files = KernelFiles(str(tmp_path), "kernel", "stamp")
    files.save(("types", "processor"), "code")
    assert files.load(("types", "processor")) == "code"
    monkeypatch.setattr("numba.__version__", "0.0")
    assert files.load(("types", "processor")) is None


# `update` steps with a kernel that was never called, so that it is looked for on disk: whether it was found there.
UPDATE = """
    import os
    import shutil
    from pathlib import Path
    import numpy as np
    from npsnn import _jit
    from npsnn.adam import cpu

    def update(kernel, dtype=np.float32):
        p, g, m, v = (np.full(3, x, dtype) for x in (1, 0.5, 0, 0))
        kernel(p, g, m, v, *(dtype(s) for s in (0.5, 1, 0, 1, 0, 1, 0.5, 0)))
        assert (p == 0.75).all(), p
        hits, misses = (sum(n.values()) for n in (kernel.compiled.stats.cache_hits, kernel.compiled.stats.cache_misses))
        assert hits + misses == 1
        return bool(hits)

    def new():
        return _jit.jit(cpu._update.compiled.py_func)

    assert not update(new()) and update(new())
    (file,) = Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc")
"""


def test_a_damaged_cache_is_compiled_again_and_mended(tmp_path):
    """Empty, cut off, zeros at the end, other bytes, one of the machine code: as after a crash, or on a bad disk."""
    program = """
    whole = file.read_bytes()
    half, at = len(whole) // 2, whole.index(b".text")
    damaged = [b"", whole[:half], whole[:-1], whole[:half] + bytes(len(whole) - half), bytes(reversed(whole))]
    for bad in (*damaged, whole[:at] + b"!" + whole[at + 1 :]):
        file.write_bytes(bad)
        assert not update(new()) and update(new()), bad[:9]
    file.unlink()
    assert not update(new()) and update(new())
    kernel = new()
    shutil.rmtree(file.parent)
    assert not update(kernel) and update(new())
    kernel = new()
    shutil.rmtree(file.parent)
    file.parent.touch()
    assert not update(kernel)
    """
    python(UPDATE + program, NUMBA_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="takes root's power over permissions with capset")
def test_a_folder_that_may_only_be_read(tmp_path):
    """What is in it is found, what is not is compiled; a process that begins with it keeps its kernels elsewhere."""
    program = """
    import ctypes
    import tempfile

    header, powers = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    assert libc.capget(header, powers) == 0
    powers[0] &= ~2  # CAP_DAC_OVERRIDE
    assert libc.capset(header, powers) == 0
    first, second = new(), new()
    file.parent.chmod(0o500)
    try:
        tempfile.TemporaryFile(dir=file.parent).close()
    except PermissionError:
        pass
    else:
        print("ignored")
        raise SystemExit
    assert update(first) and not update(second, np.float64)
    assert new().compiled.stats.cache_path != str(file.parent)
    """
    if python(UPDATE + program, NUMBA_CACHE_DIR=str(tmp_path), HOME=str(tmp_path / "home")) == ["ignored"]:
        pytest.skip("this file system ignores permissions")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_costs_only_the_cache(tmp_path):
    limit = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    """
    program = ADAM.replace("    p, g", limit + "p, g", 1)
    python(program, NUMBA_CACHE_DIR=str(tmp_path))
    assert not [f for f in tmp_path.rglob("*.nbc") if f.stat().st_size]
