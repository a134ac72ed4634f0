"""Every kernel with the types of its arguments, and a compiler for a GPU that is not here."""

from types import SimpleNamespace

import numpy as np

from npsnn import _device, surrogate
from npsnn.adam import cuda as adam
from npsnn.conv2d import device as conv
from npsnn.functional import cuda as losses
from npsnn.leaky import cuda as leaky
from npsnn.linear import cuda as linear
from npsnn.pool2d import cuda as pool

HOPPER = (9, 0)
SIGMAS = (
    surrogate.fast_sigmoid(), surrogate.atan(), surrogate.sigmoid(), surrogate.straight_through_estimator(),
    surrogate.triangular(), surrogate.heaviside(), surrogate.spike_rate_escape(), surrogate.LSO(), surrogate.SFS(),
)  # fmt: skip
WINDOWS = ((2, 2), (2, 2), (0, 0))


def compiled(kernel, signature):
    """PTX."""
    from numba import cuda
    from numba.cuda import dispatcher

    known = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=HOPPER)
    try:
        return cuda.compile_ptx(kernel.py_func, signature, cc=HOPPER)[0]
    finally:
        dispatcher.get_current_device = known


def no_compiler():
    """Why not even an empty kernel compiles here; None where it does."""
    from numba import cuda, types

    try:
        cuda.compile_ptx(lambda total: None, (types.int64,), cc=HOPPER)
    except Exception as error:  # a library that is missing: numba-cuda's to raise
        return str(error)
    return None


def KERNELS():
    """(name, kernel, types) of each."""
    from numba import types

    i, flag = types.int64, types.boolean

    def row(kind):
        return types.Array(kind, 1, "C")

    spikes, place, labels = row(flag), row(types.uint8), row(i)
    for dtype in (np.float32, np.float64):
        kind, f = np.dtype(dtype), types.float32 if dtype == np.float32 else types.float64
        x = row(f)
        g = conv.Geometry((5, 5), (1, 1), (0, 0), WINDOWS)
        yield ("put", dtype), _device._put, (i, spikes, x)
        yield ("add", dtype), _device._add, (i, x, x, x)
        yield ("columns", dtype), conv._columns(), (i, x, x, i)
        for pooled in (True, False):
            where = place if pooled else x
            yield ("input", dtype, pooled), conv.input_gradient(g, kind, pooled), (i, x, where, x, x, *[i] * 8)
            for of_spikes in (True, False):
                X, name = spikes if of_spikes else x, (dtype, of_spikes, pooled)
                forward = conv.forward(g, kind, of_spikes, pooled)
                yield ("forward", *name), forward, (i, X, x, x, x, where, *[i] * 8)
                weights = conv.weight_gradient(g, kind, of_spikes, pooled)
                yield ("weights", *name), weights, (i, x, where, X, x, *[i] * 9)
        for of_spikes in (True, False):
            X = spikes if of_spikes else x
            yield ("products", dtype, of_spikes), linear._products(kind, of_spikes), (i, X, x, x, x, i, i)
            yield ("dense", dtype, of_spikes), linear._weight_gradient(kind, of_spikes), (i, x, X, x, i, i, i)
        yield ("dense input", dtype), linear._input_gradient(kind), (i, x, x, x, i, i)
        yield ("max", dtype), pool._max_forward(WINDOWS), (i, x, x, place, *[i] * 4)
        yield ("average", dtype), pool._average_forward(WINDOWS, kind), (i, x, x, *[i] * 4)
        yield ("max back", dtype), pool._backward(WINDOWS, kind, False), (i, x, place, x, *[i] * 4)
        yield ("average back", dtype), pool._backward(WINDOWS, kind, True), (i, x, x, x, *[i] * 4)
        for reset in ("subtract", "zero", "none"):
            yield ("leaky", dtype, reset), leaky._forward(kind, reset), (i, *[x] * 5, spikes, *[i] * 4)
            for formula in (*(sigma.formula for sigma in SIGMAS), None):
                for attached, constants in ((True, True), (False, False)):
                    back = leaky._backward(formula, kind, reset, attached, constants)
                    types_of = (i, *[x] * 7, f, f, i, flag, flag, flag, i, i, *[x] * 4)
                    yield ("leaky back", dtype, reset, formula, attached), back, types_of
        for of_spikes in (True, False):
            rec = (i, spikes if of_spikes else x, labels, f, x, x, x, i, i)
            yield ("ce_rate", dtype, of_spikes), losses._ce_rate(kind), rec
            yield ("ce_count", dtype, of_spikes), losses._ce_count(kind), rec
            yield ("mse_count", dtype, of_spikes), losses._mse_count(kind), (*rec, f, f)
        yield ("ce_max_membrane", dtype), losses._ce_max_membrane(kind), rec
        yield ("mse_membrane", dtype), losses._mse_membrane(kind), (*rec, f, f)
        yield ("adam", dtype), adam._update(), (i, x, x, x, x, x, *[f] * 8)
