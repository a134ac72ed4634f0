"""The Numba twins against the law: the same functions, the same caches, the same numbers.

On general data sums are ordered differently, so values agree to rounding: 1e-13 of the largest entry in float64, 1e-5 in
float32 (about 1,000 terms of 2^-53 and 2^-24). Where no sum is reordered, or every sum is exact, the bits agree.
"""

import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="the cpu backend needs Numba")

from npsnn import backends, surrogate  # noqa: E402

LAW, CPU = backends.load("reference"), backends.load("cpu")
TOLERANCE = {np.float64: 1e-13, np.float32: 1e-5}
DTYPES = [np.float64, np.float32]

# kernel, stride, padding: overlapping, gaps between windows, non-square, padding beyond what a window needs
GEOMETRIES = [
    ((5, 5), (1, 1), (0, 0)),
    ((3, 2), (2, 3), (1, 2)),
    ((1, 4), (3, 1), (0, 3)),
    ((2, 2), (3, 3), (0, 0)),
    ((3, 3), (2, 2), (4, 4)),
]
POOLS = [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1)), ((3, 3), (1, 2), (1, 0)), ((2, 3), (3, 3), (1, 1))]

SURROGATES = [
    surrogate.fast_sigmoid(), surrogate.atan(), surrogate.sigmoid(), surrogate.straight_through_estimator(),
    surrogate.triangular(), surrogate.heaviside(), surrogate.spike_rate_escape(), surrogate.LSO(), surrogate.SFS(B=-0.5),
    surrogate.SSO(seed=3).for_run(), surrogate.custom_surrogate(lambda x: (np.abs(x) < 0.5) * 1.0),
]  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(20261)


def agree(ours, law, dtype, factor=1.0):
    for a, b in zip(ours, law, strict=True):
        if b is None:
            assert a is None
            continue
        assert a.dtype == b.dtype == dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=factor * TOLERANCE[dtype] * max(np.abs(b).max(), 1e-30))


def sparse(rng, shape, dtype, share=0.5):
    return (rng.standard_normal(shape) * (rng.random(shape) < share)).astype(dtype)


@pytest.mark.parametrize("op", backends.OPS)
def test_same_functions_and_signatures(op):
    law, cpu = getattr(LAW, op), getattr(CPU, op)
    names = [n for n in vars(law) if n.endswith(("_forward", "_backward", "_step"))]
    assert names
    for name in names:
        assert inspect.signature(getattr(cpu, name)) == inspect.signature(getattr(law, name)), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel, stride, padding", GEOMETRIES)
def test_conv2d(rng, dtype, kernel, stride, padding):
    X, W = sparse(rng, (37, 3, 9, 11), dtype), rng.standard_normal((5, 3, *kernel)).astype(dtype)
    b = rng.standard_normal(5).astype(dtype)
    for bias in (b, None):
        Y, cache = LAW.conv2d.conv2d_forward(X, W, bias, stride=stride, padding=padding)
        Y2, cache2 = CPU.conv2d.conv2d_forward(X, W, bias, stride=stride, padding=padding)
        dY = sparse(rng, Y.shape, dtype)
        agree([Y2], [Y], dtype)
        options = {"bias": bias is not None, "input_grad": True}
        agree(
            CPU.conv2d.conv2d_backward(dY, cache2, W, **options), LAW.conv2d.conv2d_backward(dY, cache, W, **options), dtype
        )
    assert CPU.conv2d.conv2d_backward(dY, cache2, W, input_grad=False)[0] is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear(rng, dtype):
    X, W = sparse(rng, (37, 130), dtype), rng.standard_normal((7, 130)).astype(dtype)
    b, dY = rng.standard_normal(7).astype(dtype), sparse(rng, (37, 7), dtype)
    Y, cache = LAW.linear.linear_forward(X, W, b)
    Y2, cache2 = CPU.linear.linear_forward(X, W, b)
    agree([Y2], [Y], dtype)
    agree(CPU.linear.linear_backward(dY, cache2, W), LAW.linear.linear_backward(dY, cache, W), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dyadic_sums_have_the_same_bits(rng, dtype):
    def quarters(*shape):
        return (rng.integers(-4, 5, shape) / 4).astype(dtype)

    X, W, b, dY = quarters(5, 3, 7, 6), quarters(4, 3, 3, 2), quarters(4), quarters(5, 4, 5, 5)
    arguments = {"stride": (1, 1), "padding": (0, 0)}
    Y, cache = LAW.conv2d.conv2d_forward(X, W, b, **arguments)
    np.testing.assert_array_equal(CPU.conv2d.conv2d_forward(X, W, b, **arguments)[0], Y)
    for a, b_ in zip(CPU.conv2d.conv2d_backward(dY, cache, W), LAW.conv2d.conv2d_backward(dY, cache, W), strict=True):
        np.testing.assert_array_equal(a, b_)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel, stride, padding", POOLS)
def test_maxpool2d(rng, dtype, kernel, stride, padding):
    ties = (rng.random((7, 3, 9, 11)) < 0.3).astype(dtype)
    for X in (ties, -1 - ties):
        Y, cache = LAW.pool2d.maxpool2d_forward(X, kernel=kernel, stride=stride, padding=padding)
        Y2, cache2 = CPU.pool2d.maxpool2d_forward(X, kernel=kernel, stride=stride, padding=padding)
        np.testing.assert_array_equal(Y2, Y)
        np.testing.assert_array_equal(cache2.place, cache.place)
        assert cache2.place.dtype == cache.place.dtype
        dY = rng.standard_normal(Y.shape).astype(dtype)
        agree([CPU.pool2d.maxpool2d_backward(dY, cache2)], [LAW.pool2d.maxpool2d_backward(dY, cache)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel, stride, padding", POOLS)
def test_avgpool2d(rng, dtype, kernel, stride, padding):
    X = rng.standard_normal((7, 3, 9, 11)).astype(dtype)
    Y, cache = LAW.pool2d.avgpool2d_forward(X, kernel=kernel, stride=stride, padding=padding)
    Y2, cache2 = CPU.pool2d.avgpool2d_forward(X, kernel=kernel, stride=stride, padding=padding)
    dY = rng.standard_normal(Y.shape).astype(dtype)
    agree([Y2], [Y], dtype)
    agree([CPU.pool2d.avgpool2d_backward(dY, cache2)], [LAW.pool2d.avgpool2d_backward(dY, cache)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigma", SURROGATES, ids=str)
def test_leaky(rng, dtype, sigma):
    # 3 x 5 x 77 neurons are more than one block of 1,024; the forward bits are the law's.
    beta, theta = rng.random((5, 1)).astype(dtype), (rng.random(77) + 0.3).astype(dtype)
    U_before = rng.standard_normal((3, 5, 77)).astype(dtype)
    for reset, detach, T_given in itertools.product(("subtract", "zero", "none"), (True, False), (1, 6)):
        I = rng.standard_normal((T_given, 3, 5, 77)).astype(dtype)
        options = {"num_steps": 6, "sigma": sigma, "reset_mechanism": reset, "detach_reset": detach}
        S, cache = LAW.leaky.leaky_forward(I, beta, theta, U_before, **options)
        S2, cache2 = CPU.leaky.leaky_forward(I, beta, theta, U_before, **options)
        np.testing.assert_array_equal(S2, S)
        np.testing.assert_array_equal(cache2.U, cache.U)
        assert 0.05 < S.mean() < 0.95
        dS, dmem = rng.standard_normal(S.shape).astype(dtype), rng.standard_normal(S.shape).astype(dtype)
        for upstream in ((dS, dmem), (dS, None), (None, dmem)):
            agree(
                CPU.leaky.leaky_backward(*upstream, cache2),
                LAW.leaky.leaky_backward(*upstream, cache),
                dtype,
                factor=10,  # six steps of a recurrence, and constants summed over 1,155 neurons
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_leaky_clips_beta_and_stops_its_gradient(rng, dtype):
    beta, theta = np.array([-0.25, 0.0, 1.0, 1.25], dtype), np.array(1.0, dtype)
    options = {"num_steps": 4, "sigma": surrogate.fast_sigmoid()}
    I = rng.standard_normal((4, 2, 4)).astype(dtype)
    _, cache = LAW.leaky.leaky_forward(I, beta, theta, **options)
    _, cache2 = CPU.leaky.leaky_forward(I, beta, theta, **options)
    np.testing.assert_array_equal(cache2.U, cache.U)
    dbeta = CPU.leaky.leaky_backward(I, None, cache2)[1]
    agree([dbeta], [LAW.leaky.leaky_backward(I, None, cache)[1]], dtype, factor=10)
    assert dbeta[0] == dbeta[3] == 0 and dbeta[1] != 0 and dbeta[2] != 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_has_the_laws_bits(rng, dtype, weight_decay):
    start = [rng.standard_normal(101).astype(dtype) for _ in range(3)] + [rng.random(101).astype(dtype)]
    law, cpu = [a.copy() for a in start], [a.copy() for a in start]
    for t in (1, 2, 3):
        for adam, arrays in ((LAW.adam, law), (CPU.adam, cpu)):
            adam.adam_step(*arrays, t, lr=0.01, b1=0.9, b2=0.999, eps=1e-8, weight_decay=weight_decay)
    for a, b in zip(cpu, law, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(cpu[1], start[1])
    assert (cpu[0] != start[0]).all()


def one_of_each(n=70):
    """(arrays of every op's forward and backward) on n images or rows of fixed random data."""
    rng = np.random.default_rng(5)
    X, W = sparse(rng, (n, 3, 8, 7), np.float32), rng.standard_normal((5, 3, 3, 2)).astype(np.float32)
    Y, conv = CPU.conv2d.conv2d_forward(X, W, W[:, 0, 0, 0], stride=(1, 1), padding=(1, 0))
    P, pool = CPU.pool2d.maxpool2d_forward(Y, kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    I = P.reshape(7, n // 7, -1)
    V = rng.standard_normal((6, I.shape[2])).astype(np.float32)
    options = {"num_steps": 7, "sigma": surrogate.fast_sigmoid()}
    S, leaky = CPU.leaky.leaky_forward(I, np.array(0.5, np.float32), np.array(1.0, np.float32), **options)
    Z, linear = CPU.linear.linear_forward(S.reshape(n, -1), V, None)
    dS, dV, db = CPU.linear.linear_backward(Z, linear, V)
    dI, dbeta, dtheta, _ = CPU.leaky.leaky_backward(dS.reshape(S.shape), None, leaky)
    dY = CPU.pool2d.maxpool2d_backward(dI.reshape(P.shape), pool)
    return [Y, P, leaky.U, S, Z, dV, db, dI, dbeta, dtheta, dY, *CPU.conv2d.conv2d_backward(dY, conv, W)]


def test_bits_do_not_depend_on_the_number_of_threads():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread is all there is")
    before = numba.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 1):
            numba.set_num_threads(threads)
            results.append(one_of_each())
    finally:
        numba.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_rows_forward_bits_do_not_depend_on_its_neighbours(rng):
    X, W = sparse(rng, (70, 3, 8, 7), np.float32), rng.standard_normal((5, 3, 3, 2)).astype(np.float32)
    whole, _ = CPU.conv2d.conv2d_forward(X, W, None, stride=(1, 1), padding=(0, 0))
    some, _ = CPU.conv2d.conv2d_forward(X[33:36].copy(), W, None, stride=(1, 1), padding=(0, 0))
    np.testing.assert_array_equal(some, whole[33:36])
    rows, V = X.reshape(70, -1), rng.standard_normal((6, 168)).astype(np.float32)
    np.testing.assert_array_equal(
        CPU.linear.linear_forward(rows[50:51].copy(), V, None)[0], CPU.linear.linear_forward(rows, V, None)[0][50:51]
    )


def test_kernels_are_plain_python():
    """NUMBA_DISABLE_JIT=1 runs them, so that a reader can step through."""
    code = (
        "import numpy as np, npsnn\n"
        "from npsnn import surrogate\n"
        "net = npsnn.Sequential(npsnn.Conv2d(1, 2, 2), npsnn.MaxPool2d(2), npsnn.Leaky(0.5), npsnn.Flatten(),\n"
        "    npsnn.Linear(2, 3), npsnn.Leaky(0.5, spike_grad=surrogate.SSO()), backend='cpu', dtype=np.float64)\n"
        "law = npsnn.Sequential(*net.layers[:-1], npsnn.Leaky(0.5), backend='reference', dtype=np.float64)\n"
        "x = np.random.default_rng(0).standard_normal((2, 1, 3, 3)) * 9\n"
        "S, U, tape = net.forward(x, 3)\n"
        "S2, U2, _ = law.forward(x, 3)\n"
        "assert (S == S2).all() and np.allclose(U, U2, rtol=1e-13)\n"
        "grads = net.backward(tape, dspk=np.ones_like(S))\n"
        "npsnn.optim.Adam(net).step(grads)\n"
    )
    run_python(code, NUMBA_DISABLE_JIT="1")


def run_python(code, **environment):
    root = str(Path(backends.__file__).parent.parent)
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LEAKY_TWICE = (
    "import numpy as np\n"
    "from npsnn import surrogate\n"
    "from npsnn.leaky import cpu\n"
    "I = np.ones((2, 1, 3), np.float32)\n"
    "S, cache = cpu.leaky_forward(I, np.float32(0.5) * np.ones(()).astype('f'), np.ones((), 'f'),\n"
    "    num_steps=2, sigma=surrogate.fast_sigmoid())\n"
    "cpu.leaky_backward(S, None, cache)\n"
    "kernel = cpu._backward_kernel(surrogate.fast_sigmoid_derivative)\n"
    "print(sum(kernel.compiled.stats.cache_hits.values()) if kernel.compiled.stats.cache_path else 'no cache')\n"
)


def test_the_disk_cache_serves_the_next_process(tmp_path):
    first = run_python(LEAKY_TWICE, NUMBA_CACHE_DIR=str(tmp_path))
    second = run_python(LEAKY_TWICE, NUMBA_CACHE_DIR=str(tmp_path))
    assert (first.strip(), second.strip()) == ("0", "1")


def test_a_cache_folder_that_cannot_be_written_costs_the_cache_alone(tmp_path):
    (tmp_path / "file").write_text("")
    assert run_python(LEAKY_TWICE, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"))
