"""Every kernel with the types of its arguments, and a compiler for a GPU that is not here."""

from types import SimpleNamespace
from unittest import mock

import numpy as np

from npsnn import _cuda, _device, surrogate
from npsnn.adam import cuda as adam
from npsnn.conv2d import device as conv
from npsnn.conv2d import routed, spikes
from npsnn.conv2d.geometry import NO_POOL, Geometry, sizes
from npsnn.functional import cuda as losses
from npsnn.leaky import cuda as leaky
from npsnn.linear import cuda as linear
from npsnn.pool2d import cuda as pool

HOPPER = (9, 0)
MLIR = _cuda.package() == "numba_cuda_mlir"
SIGMAS = (
    surrogate.fast_sigmoid(), surrogate.atan(), surrogate.sigmoid(), surrogate.straight_through_estimator(),
    surrogate.triangular(), surrogate.heaviside(), surrogate.spike_rate_escape(), surrogate.LSO(), surrogate.SFS(),
)  # fmt: skip
WINDOWS = ((2, 2), (2, 2), (0, 0))


def compiled(kernel, signature):
    """PTX. Both packages ask which GPU is here, though told which one to compile for: they hear of a Hopper."""
    if MLIR:
        from numba_cuda_mlir import tools

        answered = mock.patch.object(tools, "_cached_cc", HOPPER)
    else:
        from numba.cuda import dispatcher

        device = SimpleNamespace(compute_capability=HOPPER)
        answered = mock.patch.object(dispatcher, "get_current_device", lambda: device)
    with answered:
        return _cuda.driver().compile_ptx(kernel.py_func, signature, cc=HOPPER)[0]


def no_compiler():
    """Why not even an empty kernel compiles here, in a line; None where it does."""
    try:
        compiled(SimpleNamespace(py_func=lambda total: None), (types().int64,))
    except Exception as error:  # a library that is missing: the package's to raise
        return " ".join(str(error).split())[:200]
    return None


def types():
    """The types of a kernel's arguments: each package has its own."""
    if MLIR:
        from numba_cuda_mlir import types
    else:
        from numba import types
    return types


def KERNELS():
    """(name, kernel, types) of each."""
    known = types()
    i, flag = known.int64, known.boolean

    def row(kind):
        return known.Array(kind, 1, "C")

    fired, place, labels = row(flag), row(known.uint8), row(i)
    for dtype in (np.float32, np.float64):
        kind, f = np.dtype(dtype), known.float32 if dtype == np.float32 else known.float64
        x = row(f)
        whole = Geometry((5, 5), (1, 1), (0, 0), WINDOWS)
        at = sizes((1, 12, 12, 12), 64, whole)
        tile, part = spikes.tile_of(whole, kind, at), routed.slice_of(whole, kind, at)
        yield ("put", dtype), _device._put, (i, fired, x)
        yield ("add", dtype), _device._add, (i, x, x, x)
        yield ("tiled", dtype), spikes._tiled(kind), (i, x, x, i, i)
        yield ("arranged", dtype), routed.arranged(kind, 25, part), (i, x, x, i, i)
        yield ("add shares", dtype), spikes.add_shares(kind, 25, tile, part), (i, *[x] * 4, *[i] * 5)
        for pooled in (True, False):
            where, g = place if pooled else x, whole if pooled else whole._replace(pool=NO_POOL)
            part = routed.slice_of(g, kind, sizes((1, 12, 12, 12), 64, g))
            yield ("input", dtype, pooled), conv.input_gradient(g, kind, pooled), (i, x, where, x, x, *[i] * 8)
            yield ("routed", dtype, pooled), routed.input_gradient(g, kind, pooled, part), (i, x, where, x, x, *[i] * 9)
            yield ("of spikes", dtype, pooled), spikes.forward(g, kind, pooled), (i, fired, x, x, x, where, *[i] * 9)
            weights = spikes.weight_gradient(g, kind, pooled, tile)
            yield ("weights of spikes", dtype, pooled), weights, (i, x, where, fired, x, *[i] * 12)
            for of_spikes in (True, False):
                X, name = fired if of_spikes else x, (dtype, of_spikes, pooled)
                forward = conv.forward(g, kind, of_spikes, pooled)
                yield ("forward", *name), forward, (i, X, x, x, x, where, *[i] * 8)
                weights = conv.weight_gradient(g, kind, of_spikes, pooled)
                yield ("weights", *name), weights, (i, x, where, X, x, *[i] * 9)
        for of_spikes in (True, False):
            X = fired if of_spikes else x
            for even in (True, False):
                products = linear._products(kind, of_spikes, 10, even)
                yield ("products", dtype, of_spikes, even), products, (i, X, x, x, x, i, i, i)
            yield ("dense", dtype, of_spikes), linear._weight_gradient(kind, of_spikes), (i, x, X, x, i, i, i)
        yield ("dense input", dtype), linear._input_gradient(kind), (i, x, x, x, i, i)
        yield ("max", dtype), pool._max_forward(WINDOWS), (i, x, x, place, *[i] * 4)
        yield ("average", dtype), pool._average_forward(WINDOWS, kind), (i, x, x, *[i] * 4)
        yield ("max back", dtype), pool._backward(WINDOWS, kind, False), (i, x, place, x, *[i] * 4)
        yield ("average back", dtype), pool._backward(WINDOWS, kind, True), (i, x, x, x, *[i] * 4)
        for reset in ("subtract", "zero", "none"):
            yield ("leaky", dtype, reset), leaky._forward(kind, reset), (i, *[x] * 5, fired, *[i] * 4)
            for formula in (*(sigma.formula for sigma in SIGMAS), None):
                for attached, constants in ((True, True), (False, False)):
                    back = leaky._backward(formula, kind, reset, attached, constants)
                    types_of = (i, *[x] * 7, f, f, i, flag, flag, flag, i, i, *[x] * 4)
                    yield ("leaky back", dtype, reset, formula, attached), back, types_of
        for of_spikes in (True, False):
            rec = (i, fired if of_spikes else x, labels, f, x, x, x, i, i)
            yield ("ce_rate", dtype, of_spikes), losses._ce_rate(kind), rec
            yield ("ce_count", dtype, of_spikes), losses._ce_count(kind), rec
            yield ("mse_count", dtype, of_spikes), losses._mse_count(kind), (*rec, f, f)
        yield ("ce_max_membrane", dtype), losses._ce_max_membrane(kind), rec
        yield ("mse_membrane", dtype), losses._mse_membrane(kind), (*rec, f, f)
        yield ("adam", dtype), adam._update(), (i, x, x, x, x, x, x)
