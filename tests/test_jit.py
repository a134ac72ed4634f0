"""_jit: kernels are found by the next process, are plain Python, and callers may be threads.

Each check is a Python process of its own: Numba reads its settings once, at import.
"""

import shutil

import pytest

from tests.processes import ROOT, python

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")


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


NETWORK = """
    import numpy as np
    import npsnn
    from numba.core.runtime import rtsys
    from npsnn import _jit

    kernels, compile_ = [], _jit._compile

    def compile_and_remember(kernel):
        kernels.append(compile_(kernel))
        return kernels[-1]

    _jit._compile = compile_and_remember
    layers = [
        npsnn.Conv2d(1, 2, 2), npsnn.Leaky(0.5), npsnn.Conv2d(2, 3, 2, padding=1), npsnn.Leaky(0.5),
        npsnn.Conv2d(3, 2, 2, padding=1), npsnn.MaxPool2d(2), npsnn.Leaky(0.5), npsnn.Flatten(), npsnn.Linear(32, 2),
        npsnn.Leaky(0.5),
    ]
    net = npsnn.Sequential(*layers, backend="cpu")
    spk_rec, _, tape = net.forward(np.ones((2, 1, 7, 7), np.float32), 3)
    npsnn.optim.Adam(net, lr=0.1).step(net.backward(tape, np.ones_like(spk_rec)))
    held = rtsys.get_allocation_stats()
    assert held.mi_alloc > 100
    print(sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels), held.mi_alloc - held.mi_free)
"""


def test_the_next_process_compiles_nothing(tmp_path):
    """Of a network in which neurons are fused with all that they can be: forward, backward and the update.

    And all memory that kernels took is given back, though helpers do not count who holds it.
    """
    settings = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NRT_STATS": "1"}
    (first, held), (next_, held_next) = (python(NETWORK, **settings) for _ in range(2))
    assert int(first) >= 11 and next_ == held == held_next == "0"


TRAIN = """
    import hashlib
    import numpy as np
    import npsnn
    from npsnn import _jit
    from npsnn.adam import cpu

    rng = np.random.default_rng(0)
    net = npsnn.Sequential(npsnn.Leaky(np.full(7, 0.7), learn_beta=True), backend="cpu")
    optimizer = npsnn.optim.Adam(net, lr=0.1)
    for _ in range(3):
        spk_rec, mem_rec, tape = net.forward(rng.standard_normal((9, 3, 7)).astype(np.float32))
        dspk, dmem = (rng.standard_normal(spk_rec.shape).astype(np.float32) for _ in range(2))
        optimizer.step(net.backward(tape, dspk, dmem))
    assert 0 < spk_rec.mean() < 1
    stats = cpu._update.compiled.stats
    kept = "hit" if stats.cache_hits else "miss" if stats.cache_path else "nowhere"
    print(kept, hashlib.sha256(mem_rec.tobytes() + net.flat_params.tobytes()).hexdigest())
"""


VARIANTS = """
    import sys
    import numpy as np
    from npsnn import surrogate
    from npsnn.leaky import cpu, reference

    I = np.linspace(0, 1.5, 7).reshape(1, 1, 7)
    for name in sys.argv[1:]:
        results = []
        for op in (reference, cpu):
            settings = dict(num_steps=3, sigma=getattr(surrogate, name)())
            S, cache = op.leaky_forward(I, np.array(0.5), np.array(1.0), **settings)
            results.append(op.leaky_backward(np.ones((3, 1, 7)), None, cache)[0])
        assert np.allclose(*results, rtol=1e-12, atol=0), (name, results)
        stats = cpu._backward_kernels(settings["sigma"].formula)[1].compiled.stats
        print(sum(stats.cache_hits.values()))
"""


def test_kernels_of_one_name_are_not_mistaken_for_each_other(tmp_path):
    """One kernel a surrogate, each kept by a process of its own; a process that loads them all has the right ones."""
    names = ["fast_sigmoid", "SFS", "atan"]
    for name in names:
        assert python(VARIANTS, name, NUMBA_CACHE_DIR=str(tmp_path)) == ["0"]
    assert python(VARIANTS, *names, NUMBA_CACHE_DIR=str(tmp_path)) == ["1"] * 3
    assert python(VARIANTS, *reversed(names), NUMBA_CACHE_DIR=str(tmp_path)) == ["1"] * 3


def test_every_kernel_that_a_factory_makes_has_a_name_of_its_own():
    from npsnn import surrogate
    from npsnn.leaky import cpu as leaky
    from npsnn.leakyconvpool2d import cpu as fused

    formulas = {getattr(surrogate, name)().formula for name in ("fast_sigmoid", "atan", "sigmoid", "LSO", "SFS", "SSO")}
    made = [[*leaky._backward_kernels(formula), fused._backward_kernel(formula)] for formula in formulas]
    names = [kernel.compiled.py_func.__qualname__ for kernels in made for kernel in kernels]
    assert len(formulas) > 4 and len(set(names)) == len(names)


def test_where_kernels_are_kept_changes_no_bit(tmp_path):
    """In a folder that the user names, beside the source, or nowhere; compiled just now, or found there.

    Nowhere: a regular file stands where each folder would be, which stops even root.
    """
    tree, named = tmp_path / "npsnn", str(tmp_path / "named")
    shutil.copytree(ROOT / "npsnn", tree, ignore=shutil.ignore_patterns("__pycache__", "embedded", "*.xz"))
    found = [python(TRAIN, folder=tmp_path, NUMBA_CACHE_DIR=folder) for folder in (named, named, "", "")]
    for folder in [tree, *(f for f in tree.rglob("*") if f.is_dir() and f.name != "__pycache__")]:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        (folder / "__pycache__").touch()
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "below")
    environment = {"NUMBA_CACHE_DIR": nowhere, "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    program = TRAIN + "    assert _jit.cache_folder().startswith('nowhere:')\n"
    found.append(python(program, folder=tmp_path, **environment))
    assert [kept for kept, _ in found] == ["miss", "hit", "miss", "hit", "nowhere"]
    assert len({digest for _, digest in found}) == 1


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
