"""_jit: the cache on disk helps where it can and never harms, kernels are plain Python, and callers may be threads.

Each check is a Python process of its own: Numba reads its settings once, at import.
"""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")

ROOT = Path(__file__).parents[1]


def python(program, *, folder=ROOT, **environment):
    """What `program` prints; warnings are errors."""
    settings = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=settings, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


ADAM = """
    import numpy as np
    from npsnn import _jit
    from npsnn.adam import cpu

    p, g, m, v = (np.ones(3) for _ in range(4))
    cpu.adam_step(p, g, m, v, 1, lr=0.5, b1=0.0, b2=0.0, eps=1.0, weight_decay=0.0)
    assert (p == 0.75).all(), p
"""


def test_importing_compiles_nothing():
    program = """
        import importlib
        from npsnn import backends
        for op in backends.OPS:
            module = importlib.import_module(f"npsnn.{op}.cpu")
            kernels = [k.compiled for k in vars(module).values() if hasattr(k, "compiled")]
            assert op == "leaky" or kernels
            assert not any(k.signatures for k in kernels), op
    """
    python(program)


LEAKY = """
    import numpy as np
    from npsnn import surrogate
    from npsnn.leaky import cpu

    for sigma in (surrogate.fast_sigmoid(), surrogate.heaviside()):
        S, cache = cpu.leaky_forward(np.ones((2, 1, 1)), np.array(0.5), np.array(1.0), num_steps=2, sigma=sigma)
        cpu.leaky_backward(S, None, cache)
        stats = cpu._backward_kernels(sigma.formula)[1].compiled.stats
        print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_the_next_process_finds_the_compiled_kernels(tmp_path):
    """Also the backward kernels that a factory makes, one a surrogate: hits and misses of two surrogates."""
    assert python(LEAKY, NUMBA_CACHE_DIR=str(tmp_path)) == ["0", "1", "0", "1"]
    assert python(LEAKY, NUMBA_CACHE_DIR=str(tmp_path)) == ["1", "0", "1", "0"]


def test_without_a_folder_to_write_to_kernels_still_run(tmp_path):
    """A regular file stands where each folder would be, which stops even root."""
    shutil.copytree(ROOT / "npsnn", tmp_path / "npsnn", ignore=shutil.ignore_patterns("__pycache__", "embedded"))
    for folder in [tmp_path / "npsnn", *(f for f in (tmp_path / "npsnn").rglob("*") if f.is_dir())]:
        (folder / "__pycache__").touch()
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "below")
    environment = {"NUMBA_CACHE_DIR": nowhere, "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    program = ADAM + "    print(_jit.cache_folder())\n"
    assert python(program, folder=tmp_path, **environment)[0] == "nowhere:"


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


def test_several_python_threads_may_call_at_once():
    """Where Numba's own threading layer would end the process."""
    program = """
        import threading
        import numpy as np
        from npsnn.pool2d import cpu

        X = np.random.default_rng(0).normal(size=(64, 3, 8, 8))
        settings = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
        Y, _ = cpu.avgpool2d_forward(X, **settings)
        same = []

        def work():
            for _ in range(50):
                same.append((cpu.avgpool2d_forward(X, **settings)[0] == Y).all())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(same) == 200 and all(same)
    """
    python(program, NPSNN_NUM_THREADS="3")


def test_kernels_are_plain_python():
    """Without compilation every op gives the law's numbers."""
    program = """
        import numpy as np
        from npsnn import backends, surrogate

        law, cpu = backends.load("reference"), backends.load("cpu")
        rng = np.random.default_rng(0)

        def quarters(*shape):
            return rng.integers(-4, 5, shape) / 4

        def equal(a, b):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))

        def run(op, name, given, d, kwargs, *more):
            results = []
            for backend in (law, cpu):
                module = getattr(backend, op)
                Y, cache = getattr(module, name + "_forward")(*given, **kwargs)
                back = getattr(module, name + "_backward")(*d, cache, *more)
                results.append((Y, *(back if isinstance(back, tuple) else (back,))))
            equal(*results)

        X, W, b, dY = quarters(2, 2, 5, 4), quarters(3, 2, 3, 2), quarters(3), quarters(2, 3, 3, 2)
        run("conv2d", "conv2d", (X, W, b), (dY,), {"stride": (2, 3), "padding": (1, 1)}, W)
        window = {"kernel": (2, 2), "stride": (2, 1), "padding": (1, 0)}
        run("pool2d", "maxpool2d", (X,), (quarters(2, 2, 3, 3),), window)
        run("pool2d", "avgpool2d", (X,), (quarters(2, 2, 3, 3),), window)
        V = quarters(3, 5)
        run("linear", "linear", (quarters(4, 5), V, b), (quarters(4, 3),), {}, V)
        for sigma in (surrogate.heaviside(), surrogate.SSO(seed=1).for_run()):
            for reset in ("subtract", "zero", "none"):
                settings = {"num_steps": 3, "sigma": sigma, "reset_mechanism": reset, "detach_reset": False}
                given = quarters(3, 2, 4), np.array(0.5), np.array(0.5)
                run("leaky", "leaky", given, (quarters(3, 2, 4), None), settings)
        steps = []
        for backend in (law, cpu):
            p, g, m, v = np.ones(2), np.array([0.5, -2.0]), np.zeros(2), np.zeros(2)
            backend.adam.adam_step(p, g, m, v, 1, lr=0.1, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.0)
            steps.append((p, m, v))
        equal(*steps)
    """
    python(program, NUMBA_DISABLE_JIT="1")
