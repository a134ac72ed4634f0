"""Every error that the API promises: its type, its words, that nothing was done, and that nothing that came in changed."""

import re
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import backprop, data, optim, spikegen, surrogate, utils
from npsnn import functional as SF

F32 = np.float32


def net(dtype=F32, backend="reference"):
    return npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), dtype=dtype, backend=backend, seed=0)


def tutorial():
    return npsnn.Sequential(
        npsnn.Conv2d(1, 12, 5), npsnn.MaxPool2d(2), npsnn.Leaky(0.5), npsnn.Conv2d(12, 64, 5), backend="reference"
    )


def one_channel():
    """A convolution that makes one channel, where the next but two expects twelve."""
    return npsnn.Sequential(
        npsnn.Conv2d(1, 1, 5), npsnn.MaxPool2d(2), npsnn.Leaky(0.5), npsnn.Conv2d(12, 64, 5), backend="reference"
    )


def wrong_channels():
    """The message that the interface quotes: one channel arrives where twelve are expected."""
    return npsnn.Conv2d(12, 64, 5).out_shape((50, 128, 1, 12, 12), "3 Conv2d")


def late_convolution():
    """A convolution to which a dense layer is put through."""
    return npsnn.Sequential(npsnn.Linear(28, 28), npsnn.Conv2d(1, 1, 3), backend="reference")


class Tensor:
    """As a tensor of PyTorch that requires grad."""

    requires_grad = True

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


class OnDevice:
    """As an array of CuPy."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.\nPlease use `.get()`.")


LINEAR = {"weight": np.ones((2, 3), F32), "bias": np.ones(2, F32)}
HUGE = 10**18

X = np.ones((4, 3), F32)
REC = np.zeros((5, 4, 2), F32)
Y = np.array([0, 1, 0, 1])


def forward_tape(n):
    return n, n.forward(X, 5)[2]


def backward(**arguments):
    n, tape = forward_tape(net())
    return n.backward(tape, **arguments)


def adam_step(**changes):
    n = net()
    grads = {name: np.zeros_like(p) for name, p in n.params.items()}
    grads.update(changes)
    return optim.Adam(n).step({k: v for k, v in grads.items() if v is not None})


def bptt(loader=((X, Y),), **options):
    n = net()
    return backprop.BPTT(n, loader, optim.Adam(n), **{"criterion": SF.ce_rate_loss(), **options})


def nan_at(shape, *at, value=np.nan):
    x = np.ones(shape, F32)
    x[at] = value
    return x


CASES = [
    # images and recordings at the door
    (lambda: net()(np.ones((4, 3), np.uint8), 5), TypeError, "x is uint8, the network computes in float32; convert it: "
     "x.astype(np.float32), and for images of 0..255 divide by 255"),
    (lambda: net()(np.ones((4, 3), bool), 5), TypeError, "x is bool, the network computes in float32"),
    (lambda: net()(np.ones((4, 3)), 5), TypeError, "x is float64, the network computes in float32: that would lose digits"),
    (lambda: net()(np.ones((4, 3), complex), 5), TypeError, "x is complex128, expected float32"),
    (lambda: net()(np.array([[None] * 3]), 5), TypeError, "x is object, expected float32"),
    (lambda: net()(np.ma.masked_array(X), 5), TypeError, "x is a masked array; fill it first: x.filled(0)"),
    (lambda: net()([[1.0, 2.0], [3.0]], 5), TypeError, "x is not an array"),
    (lambda: net()(nan_at((4, 3), 2, 1), 5), ValueError, "x has 1 NaN, first non-finite value at (2, 1)"),
    (lambda: net()(nan_at((4, 3), 0, 2, value=-np.inf), 5), ValueError, "x has 1 inf, first non-finite value at (0, 2)"),
    (lambda: net()(X), ValueError, "x has shape (4, 3), expected (T, B, *features)"),
    (lambda: net()(X[0], 5), ValueError, "x has shape (3,), expected (B, *features) with num_steps"),
    (lambda: net()(X[:0], 5), ValueError, "no step, no sample or no feature in it"),
    (lambda: net()(X, 0), ValueError, "num_steps must be at least 1, got 0"),
    (lambda: net()(X, 2.0), TypeError, "num_steps must be an integer, got 2.0"),
    (lambda: net()(X, True), TypeError, "num_steps must be an integer, got True"),
    (lambda: net()(np.ones((4, 3), np.int64), 5), TypeError, "x is int64, the network computes in float32; convert it: "),
    (lambda: net(np.float64)(np.ones((4, 3), np.longdouble), 5), TypeError, "the network computes in float64: that would"),
    (lambda: net()(nan_at((4, 3), slice(None), 1), 5), ValueError, "x has 4 NaN, first non-finite value at (0, 1)"),
    (lambda: net()(np.ones((5, 0, 3), F32)), ValueError, "x has shape (5, 0, 3): no step, no sample or no feature in it"),
    (lambda: net()(np.ones((4, 3), F32), -5), ValueError, "num_steps must be at least 1, got -5"),
    (lambda: net().step(X.astype(float), net().init_state(4)), TypeError, "x_t is float64, the network computes in float32"),
    (lambda: net().step(nan_at((4, 3), 1, 2), net().init_state(4)), ValueError, "x_t has 1 NaN"),
    (lambda: net().step(np.ones((4, 7), F32), net().init_state(4)), ValueError, "0 Linear: input has 7 features"),
    (lambda: net()([[1.0, 2.0, 3.0]], 5), TypeError, "x is float64, the network computes in float32: that would lose digits; "
     "convert it: np.asarray(x, np.float32)"),
    (lambda: net()(np.array([["a"] * 3]), 5), TypeError, "x is <U1, expected float32"),
    (lambda: net()(np.zeros((4, 3), "M8[s]"), 5), TypeError, "x is datetime64[s], expected float32"),
    (lambda: net()(np.zeros(4, [("a", F32)]), 5), TypeError, "x is [('a', '<f4')], expected float32"),
    (lambda: net()(np.array([[1, "2", 3]], object), 5), TypeError, "x is object, expected float32; it holds '2'"),
    (lambda: net()(Tensor(), 5), TypeError, "x requires grad, which no array can; pass its .detach()"),
    (lambda: net()(OnDevice(), 5), TypeError, "x is not an array: Implicit conversion to a NumPy array is not allowed. Please "
     "use `.get()`."),
    # axes: what to write where that can be told
    (lambda: net()(X[0], 5), ValueError, "expected (B, *features) with num_steps; add a batch axis: x[None]"),
    (lambda: net().step(X[0], net().init_state(1)), ValueError, "x_t has shape (3,), expected (B, *features); add a batch axis: "
     "x_t[None]"),
    (lambda: net()(X), ValueError, "expected (T, B, *features); where it has no time axis give num_steps, where it has no batch "
     "axis x[:, None]"),
    (lambda: net()(F32(1), 5), ValueError, "x has shape (), expected (B, *features) with num_steps"),
    (lambda: tutorial()(np.ones((1, 28, 28), F32), 5), ValueError, "x has shape (1, 28, 28), expected (B, channels, height, width) "
     "with num_steps; add a batch axis: x[None]"),
    (lambda: tutorial()(np.ones((9, 28, 28), F32), 5), ValueError, "with num_steps; add a channel axis: np.expand_dims(x, -3)"),
    (lambda: tutorial()(np.ones((5, 9, 28, 28), F32)), ValueError, "expected (T, B, channels, height, width); add a channel axis: "
     "np.expand_dims(x, -3)"),
    (lambda: tutorial()(np.ones((9, 1, 28, 28), F32)), ValueError, "x has shape (9, 1, 28, 28), expected (T, B, channels, height, "
     "width); where it has no time axis give num_steps"),
    (lambda: tutorial()(np.ones((5, 9, 1, 28, 28), F32), 5), ValueError, "with num_steps; where it has a time axis, leave num_steps "
     "out"),
    (lambda: tutorial()(np.ones((9, 28, 28, 1), F32), 5), ValueError, "0 Conv2d: input has 28 channels (shape (1, 9, 28, 28, 1)), "
     "weight expects 1; channels come before height and width: np.moveaxis(x, -1, -3)"),
    (lambda: late_convolution()(np.ones((9, 28), F32), 5), ValueError, "1 Conv2d: input has shape (1, 9, 28), expected (T, B, "),
    (lambda: npsnn.Sequential(npsnn.Linear(784, 2))(np.ones((9, 1, 28, 28), F32), 5), ValueError, "0 Linear: input has 28 features "
     "(shape (1, 9, 1, 28, 28)), weight expects 784; put a Flatten() before it"),
    # shapes, by layer
    (lambda: one_channel()(np.zeros((128, 1, 28, 28), F32), 50), ValueError,
     "3 Conv2d: input has 1 channel (shape (50, 128, 1, 12, 12)), weight expects 12"),
    (lambda: net().summary((3,), 0), ValueError, "num_steps must be at least 1, got 0"),
    (lambda: net().summary((7,), 5), ValueError, "0 Linear: input has 7 features"),
    (lambda: net().summary((0,), 5), ValueError, "input_shape must be at least 1, got 0"),
    (wrong_channels, ValueError, "3 Conv2d: input has 1 channel (shape (50, 128, 1, 12, 12)), weight expects 12"),
    (lambda: tutorial()(np.ones((2, 3, 28, 28), F32), 5), ValueError,
     "0 Conv2d: input has 3 channels (shape (1, 2, 3, 28, 28)), weight expects 1"),
    (lambda: tutorial()(np.ones((2, 1, 4, 28), F32), 5), ValueError, "0 Conv2d: kernel (5, 5) does not fit input 4x28"),
    (lambda: tutorial()(np.ones((2, 1, 10, 10), F32), 5), ValueError, "3 Conv2d: kernel (5, 5) does not fit input 3x3"),
    (lambda: tutorial()(np.ones((2, 784), F32), 5), ValueError,
     "x has shape (2, 784), expected (B, channels, height, width) with num_steps"),
    (lambda: net()(np.ones((4, 7), F32), 5), ValueError, "0 Linear: input has 7 features (shape (1, 4, 7)), weight expects 3"),
    (lambda: npsnn.Sequential(npsnn.Leaky(np.ones(4) / 2))(X, 5), ValueError, "0 Leaky: beta has shape (4,), which does not "
     "broadcast against one sample's features (3,)"),
    (lambda: npsnn.Sequential(npsnn.Leaky(np.ones((2, 3)) / 2))(X, 5), ValueError, "0 Leaky: beta has shape (2, 3)"),
    # layers
    (lambda: npsnn.Conv2d(0, 1, 3), ValueError, "Conv2d: in_channels must be at least 1, got 0"),
    (lambda: npsnn.Conv2d(1, 1.5, 3), TypeError, "Conv2d: out_channels must be an integer, got 1.5"),
    (lambda: npsnn.Conv2d(1, 1, 0), ValueError, "Conv2d: kernel_size must be at least 1, got 0"),
    (lambda: npsnn.Conv2d(1, 1, (3, 3, 3)), ValueError, "Conv2d: kernel_size must be an integer or a pair"),
    (lambda: npsnn.Conv2d(1, 1, 3, stride=0), ValueError, "Conv2d: stride must be at least 1, got 0"),
    (lambda: npsnn.Conv2d(1, 1, 3, padding=-1), ValueError, "Conv2d: padding must be at least 0, got -1"),
    (lambda: npsnn.Conv2d(1, 1, 3, bias=1), TypeError, "Conv2d: bias must be True or False, got 1"),
    (lambda: npsnn.MaxPool2d(2, padding=2), ValueError, "MaxPool2d: padding (2, 2) is more than half of kernel_size (2, 2)"),
    (lambda: npsnn.AvgPool2d(True), TypeError, "AvgPool2d: kernel_size must be an integer, got True"),
    (lambda: npsnn.Linear(3, -2), ValueError, "Linear: out_features must be at least 1, got -2"),
    (lambda: npsnn.Leaky(1.05), ValueError, "Leaky: beta must be in [0, 1], got 1.05"),
    (lambda: npsnn.Leaky(-0.1), ValueError, "Leaky: beta must be in [0, 1], got -0.1"),
    (lambda: npsnn.Leaky(float("nan")), ValueError, "Leaky: beta has 1 NaN"),
    (lambda: npsnn.Leaky("a half"), TypeError, "Leaky: beta must be a number or an array of numbers, got 'a half'"),
    (lambda: npsnn.Leaky(0.5, threshold=0), ValueError, "Leaky: threshold must be greater than 0, got 0"),
    (lambda: npsnn.Leaky(0.5, threshold=-1), ValueError, "Leaky: threshold must be greater than 0, got -1"),
    (lambda: npsnn.Leaky(0.5, threshold=np.inf), ValueError, "Leaky: threshold has 1 inf"),
    (lambda: npsnn.Leaky(0.5, reset_mechanism="soft"), ValueError,
     "Leaky: reset_mechanism must be one of subtract, zero, none, got 'soft'"),
    (lambda: npsnn.Leaky(0.5, spike_grad=surrogate.atan), TypeError, "Leaky: spike_grad must be a surrogate, such as "),
    (lambda: npsnn.Leaky(0.5, learn_beta=1), TypeError, "Leaky: learn_beta must be True or False, got 1"),
    (lambda: npsnn.Leaky(np.full((9, 9), 1.5)), ValueError, "Leaky: beta must be in [0, 1], got a ndarray of shape (9, 9)"),
    (lambda: npsnn.Sequential(npsnn.Leaky(0.5, threshold=1e-60)), ValueError, "0 Leaky: threshold is 1e-60, which is 0 or inf in "
     "float32"),
    (lambda: npsnn.Leaky(0.5, threshold=1e60).forward(REC, {}), ValueError, "Leaky: threshold is 1e+60, which is 0 or inf in "),
    (lambda: npsnn.Sequential(npsnn.Leaky(0.5, spike_grad=surrogate.sigmoid(1e60))), ValueError, "0 Leaky: a constant of "
     "sigmoid(slope=1e+60) is 0 or inf in float32"),
    (lambda: npsnn.Sequential(npsnn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(1e-60))), ValueError, "0 Leaky: a constant of fast_"),
    # sizes that no array has
    (lambda: npsnn.Conv2d(1, 1, 2**31), ValueError, "Conv2d: kernel_size must be at most 2147483647, got 2147483648"),
    (lambda: npsnn.Conv2d(1, 1, 3, stride=(1, 10**30)), ValueError, "Conv2d: stride must be at most 2147483647, got 1000"),
    (lambda: npsnn.MaxPool2d(2**31 - 1, padding=2**31), ValueError, "MaxPool2d: padding must be at most 2147483647"),
    (lambda: npsnn.Conv2d(1, 1, 2**31 - 1), ValueError, "Conv2d: weight of shape (1, 1, 2147483647, 2147483647) is larger than any "),
    (lambda: npsnn.Linear(2**40, 2**40), ValueError, "Linear: weight of shape (1099511627776, 1099511627776) is larger than any "),
    (lambda: net()(X, HUGE), MemoryError, "the recording of T = 1000000000000000000, B = 4 needs about 64 EB, more than there are "
     "addresses; take a smaller batch or fewer steps"),
    (lambda: net().forward(X, HUGE), MemoryError, "the tape of T = 1000000000000000000, B = 4 needs about 96 EB, more than there are "
     "addresses; set memory_budget=, take a smaller batch or TBPTT"),
    (lambda: npsnn.Sequential(npsnn.Conv2d(1, 1, 3, padding=2**31 - 1), npsnn.MaxPool2d(2**31 - 1))(nan_at((1, 1, 5, 5), 0, value=1), 1),
     MemoryError, "0 Conv2d: one output of shape (1, 4294967297, 4294967297) needs about 74 EB"),
    (lambda: npsnn.Conv2d(1, 1, 3, padding=2**31 - 1).forward(np.ones((1, 5, 5)), {"weight": np.ones((1, 1, 3, 3)), "bias": np.ones(1)}),
     MemoryError, "Conv2d: an output of shape (1, 4294967297, 4294967297) needs about 148 EB"),
    (lambda: npsnn.Leaky(0.5).forward(X[None], {}, num_steps=HUGE), MemoryError, "Leaky: an output of shape (1000000000000000000, 4, "
     "3) needs about 96 EB"),
    (lambda: spikegen.rate(X, HUGE), MemoryError, "spikegen.rate: a code of 1,000,000,000,000,000,000 steps of shape (4, 3) needs "),
    (lambda: spikegen.rate(X, time_var_input=True, first_spike_time=HUGE), MemoryError, "spikegen.rate: a code of 1,000,000,000,000,"),
    (lambda: spikegen.latency(X, HUGE), MemoryError, "spikegen.latency: a code of 1,000,000,000,000,000,000 steps of shape (4, 3) "),
    (lambda: spikegen.latency(X, 5, tau=1e300), ValueError, "a spike's time is not finite: tau 1e+300 is too large, or threshold "),
    (lambda: spikegen.latency(X, 5, threshold=1e-9, normalize=True), ValueError, "a spike's time is not finite: tau 1 is too "),
    # a layer alone
    (lambda: npsnn.Linear(3, 2).forward(X, None), TypeError, "Linear: params must map names to arrays, got NoneType"),
    (lambda: npsnn.Linear(3, 2).forward(X, {**LINEAR, 1: 2}), ValueError, "Linear: params are 1, bias, weight, expected bias, weight"),
    (lambda: npsnn.Linear(3, 2).forward(X, {**LINEAR, "weight": Tensor()}), TypeError, "Linear: weight requires grad, which no array"),
    (lambda: npsnn.Linear(3, 2).forward(X, {**LINEAR, "bias": nan_at(2, 1)}), ValueError, "Linear: bias has 1 NaN"),
    (lambda: npsnn.Linear(3, 2).forward(X, {**LINEAR, "bias": np.ones(2)}), TypeError, "Linear: bias is float64, the input is float32"),
    (lambda: npsnn.Linear(3, 2).forward(Tensor(), LINEAR), TypeError, "Linear: x requires grad, which no array can; pass its .detach()"),
    (lambda: npsnn.MaxPool2d(2).forward(nan_at((1, 4, 4), 0, 1, 2), {}), ValueError, "MaxPool2d: x has 1 NaN, first non-finite value at "
     "(0, 1, 2)"),
    (lambda: npsnn.Linear(3, 2).backward(X, None, LINEAR), TypeError, "Linear: cache must be what forward gave, got NoneType"),
    (lambda: npsnn.Leaky(0.5).backward(REC, npsnn.Flatten().forward(REC, {})[1], {}), TypeError, "Leaky: cache must be what forward "
     "gave, got tuple"),
    # surrogates
    (lambda: surrogate.fast_sigmoid(slope=0), ValueError, "fast_sigmoid: slope must be greater than 0, got 0"),
    (lambda: surrogate.atan(alpha=-1), ValueError, "atan: alpha must be greater than 0, got -1"),
    (lambda: surrogate.sigmoid(slope=np.inf), ValueError, "sigmoid: slope must be finite, got inf"),
    (lambda: surrogate.SSO().primitive(0.5), ValueError, "has no primitive"),
    (lambda: surrogate.custom_surrogate(3), TypeError, "custom_surrogate: fn must be callable, got 3"),
    (lambda: surrogate.custom_surrogate(lambda a, b: a), TypeError, "takes 2 arguments"),
    (lambda: surrogate.custom_surrogate(lambda x: x[:1]).derivative(np.ones(3)), ValueError, "has shape (1,), expected (3,)"),
    (lambda: surrogate.atan().derivative(1j), TypeError, "takes real numbers, got complex128"),
    # the network
    (lambda: npsnn.Sequential(), ValueError, "Sequential: needs at least one layer"),
    (lambda: npsnn.Sequential(np.tanh), TypeError, "Sequential: layer 0 is no layer of npsnn"),
    (lambda: npsnn.Sequential(npsnn.Flatten(), dtype=np.float16), TypeError, "dtype must be float32 or float64, got float16"),
    (lambda: net(backend="gpu"), ValueError, 'backend must be "auto" or one of reference, cpu, cuda, got \'gpu\''),
    (lambda: npsnn.Sequential(npsnn.Flatten(), seed="0"), TypeError, "seed"),
    (lambda: npsnn.Sequential(npsnn.Flatten(), dtype="half a float"), TypeError, "Sequential: dtype must be float32 or float64, got "
     "'half a float'"),
    (lambda: npsnn.Sequential(npsnn.Flatten(), dtype=">f4"), TypeError, "Sequential: dtype must be float32 or float64, got >f4"),
    (lambda: net().params.update({"0.bias": [1e300, 0]}), ValueError, "0.bias has 1 inf, first non-finite value at (0,)"),
    (lambda: net().params.update({"0.bias": Tensor()}), TypeError, "0.bias requires grad, which no array can; pass its .detach()"),
    (lambda: net().load_state_dict({**net().params, "0.bias": Tensor()}), TypeError, "state dict: 0.bias requires grad, which no "),
    (lambda: net()(X, np.ones((2, 2), int)), TypeError, "num_steps must be an integer, got array([[1, 1], [1, 1]])"),
    (lambda: backward(), ValueError, "backward: give dspk, dmem or both"),
    (lambda: backward(dspk=REC[:4]), ValueError, "dspk has shape (4, 4, 2), expected (5, 4, 2)"),
    (lambda: backward(dmem=REC.astype(int)), TypeError, "dmem is int64"),
    (lambda: backward(dspk=nan_at((5, 4, 2), 3, 1, 1)), ValueError, "dspk has 1 NaN, first non-finite value at (3, 1, 1)"),
    (lambda: backward(dspk=np.full((5, 4, 2), 3e38, F32)), ValueError, "0 Linear: the gradient of "),
    (lambda: net().backward(None, REC), TypeError, "backward: tape must be what forward gave, got NoneType"),
    (lambda: backward(dspk=Tensor()), TypeError, "dspk requires grad, which no array can; pass its .detach()"),
    (lambda: backward(dspk=REC, dstate=3), TypeError, "dstate must be a sequence of arrays, one a neuron layer, got int"),
    (lambda: net()(X, 5, state=4), TypeError, "state must be what init_state, step or a tape gave, got int"),
    (lambda: backward(dspk=REC, dstate=[]), ValueError, "dstate has 0 entries, the network has 1 neuron layers"),
    (lambda: (lambda n: n.backward(n.forward(X, 5)[2], dmem=REC))(npsnn.Sequential(npsnn.Linear(3, 2), backend="reference")), ValueError,
     "backward: dmem given, but the last layer, Linear(3, 2), has no membrane"),
    (lambda: net().init_state(0), ValueError, "batch_size must be at least 1, got 0"),
    (lambda: net().step(X, net().init_state(3)), ValueError, "state is for 3 samples, x has 4"),
    (lambda: net()(X, 5, state=npsnn.State(4, ())), ValueError, "state has 0 neuron layers, the network has 1"),
    (lambda: net()(X, 5, state=npsnn.State(4, (np.zeros((4, 3), F32),))), ValueError,
     "1 Leaky: state has shape (4, 3), expected (4, 2)"),
    # losses and accuracies
    (lambda: SF.ce_rate_loss()(REC, Y[:3]), ValueError, "targets has shape (3,), expected (4,)"),
    (lambda: SF.ce_rate_loss()(REC, np.array([0, 1, 2, 0])), ValueError, "targets must lie in 0..1 for 2 outputs, got 2 at sample 2"),
    (lambda: SF.ce_rate_loss()(REC, np.array([0, 1, 10**9, 0])), ValueError, "for 2 outputs, got 1000000000 at sample 2"),
    (lambda: SF.ce_rate_loss()(REC, np.array([0, 1, 2**64 - 1, 0], np.uint64)), ValueError, "got 18446744073709551615 at sample 2"),
    (lambda: SF.ce_rate_loss()(REC, np.array([0, 1, 0, -1])), ValueError, "targets must lie in 0..1 for 2 outputs, got -1 at sample 3; "
     "no number says that a sample is ignored"),
    (lambda: SF.ce_rate_loss()(REC, Y / 2), TypeError, "targets must be integers (class numbers), got float64; convert them: "
     "np.asarray(targets, np.int64)"),
    (lambda: SF.ce_rate_loss()(REC, Y > 0), TypeError, "targets must be integers (class numbers), got bool; convert them"),
    (lambda: SF.ce_rate_loss()(REC, list("abab")), TypeError, "targets must be integers (class numbers), got <U1"),
    (lambda: SF.ce_rate_loss()(REC, np.eye(2, dtype=int)[Y]), ValueError, "targets has shape (4, 2), expected (4,); for one-hot use "
     "targets.argmax(1)"),
    (lambda: SF.accuracy_rate(REC, np.eye(2)[Y]), ValueError, "for one-hot use targets.argmax(1)"),
    (lambda: SF.ce_rate_loss()(REC, Y[:, None]), ValueError, "targets has shape (4, 1), expected (4,); for a column use targets[:, 0]"),
    (lambda: SF.ce_rate_loss()(REC, np.zeros(5, int)), ValueError, "targets has shape (5,), expected (4,); the recording has 5 steps: "
     "time comes first, then the batch"),
    (lambda: SF.mse_membrane_loss()(None, Y), TypeError, "mse_membrane_loss: the recording is None: the network's last layer has no "),
    (lambda: SF.ce_rate_loss()(REC > 0, Y), TypeError, "ce_rate_loss: the recording is bool, expected float32 or float64; convert it: "
     "np.asarray(rec, np.float32)"),
    (lambda: SF.ce_rate_loss()(Tensor(), Y), TypeError, "ce_rate_loss: the recording requires grad, which no array can; pass its "),
    (lambda: SF.accuracy_rate(REC.astype(complex), Y), TypeError, "accuracy_rate: the recording is complex128, expected float32 or "),
    (lambda: SF.mse_count_loss(10**400), ValueError, "mse_count_loss: correct_rate must be finite, got an integer beyond the floats"),
    (lambda: SF.ce_count_loss()(REC[0], Y), ValueError, "ce_count_loss: the recording has shape (4, 2), expected (T, B, classes)"),
    (lambda: SF.ce_count_loss()(REC[:0], Y), ValueError, "no step, no sample or no class in it"),
    (lambda: SF.accuracy_rate(REC.astype(int), Y), TypeError, "accuracy_rate: the recording is int64"),
    (lambda: SF.accuracy_temporal(nan_at((5, 4, 2), 0, 0, 0), Y), ValueError, "accuracy_temporal: the recording has 1 NaN"),
    (lambda: SF.mse_count_loss(correct_rate=1.5), ValueError, "mse_count_loss: correct_rate must be in [0, 1], got 1.5"),
    (lambda: SF.mse_membrane_loss(on_target=np.inf), ValueError, "mse_membrane_loss: on_target must be finite, got inf"),
    (lambda: SF.l1_rate_sparsity("much"), TypeError, "l1_rate_sparsity: Lambda must be a number, got 'much'"),
    # optimiser
    (lambda: optim.Adam([]), TypeError, "Adam: net must be a Sequential, got list"),
    (lambda: optim.Adam(net(), lr=-1), ValueError, "Adam: lr must be at least 0, got -1"),
    (lambda: optim.Adam(net(), betas=(0.9, 1.0)), ValueError, "Adam: betas[1] must be in [0, 1), got 1.0"),
    (lambda: optim.Adam(net(), betas=0.9), ValueError, "Adam: betas must be a pair, got 0.9"),
    (lambda: optim.Adam(net(), eps=np.nan), ValueError, "Adam: eps must be finite, got nan"),
    (lambda: adam_step(**{"0.bias": None}), ValueError, "grads: no gradient for 0.bias"),
    (lambda: optim.Adam(net()).step(None), TypeError, "grads: must map names to arrays, got NoneType"),
    (lambda: adam_step(**{"0.bias": Tensor()}), TypeError, "grads: 0.bias requires grad, which no array can; pass its .detach()"),
    (lambda: adam_step(**{"0.bias": [0.0, 0.0]}), TypeError, "grads: 0.bias is float64, the network computes in float32: that would "
     "lose digits; convert it: np.asarray(..., np.float32)"),
    (lambda: adam_step(extra=X), ValueError, "grads: no parameter 'extra'"),
    (lambda: adam_step(**{"0.bias": np.zeros(3, F32)}), ValueError, "grads: 0.bias has shape (3,), expected (2,)"),
    (lambda: adam_step(**{"0.bias": nan_at(2, 1)}), ValueError, "grads: 0.bias has 1 NaN"),
    # training loops
    (lambda: bptt(num_steps=5), ValueError, "num_steps is for static data: leave it out, or set time_var=False"),
    (lambda: bptt(time_var=False), ValueError, "time_var=False needs num_steps"),
    (lambda: bptt(time_var=False, num_steps=5, time_first=False), ValueError, "time_first=False is for data that varies"),
    (lambda: bptt(time_var=False, num_steps=5, criterion=SF.accuracy_rate), TypeError, "criterion must be a loss"),
    (lambda: bptt((), time_var=False, num_steps=5), ValueError, "the loader gave no batch"),
    (lambda: backprop.TBPTT(net(), (), None, SF.ce_rate_loss(), num_steps=5, time_var=False, K=6), ValueError,
     "K is 6, num_steps is 5"),
    (lambda: backprop.TBPTT(net(), (), None, SF.ce_rate_loss(), K=0), ValueError, "K must be at least 1, got 0"),
    (lambda: backprop.BPTT(tutorial(), (), None, SF.mse_membrane_loss()), ValueError, "mse_membrane_loss reads the membrane"),
    # data
    (lambda: data.mnist("valid"), ValueError, "split"),
    (lambda: data.DataLoader((X, Y), 0), ValueError, "batch_size must be at least 1, got 0"),
    (lambda: data.DataLoader((X, Y[:3]), 2), ValueError, "3"),
    (lambda: utils.data_subset((X, Y), 5), ValueError, "subset"),
    (lambda: npsnn.Generator(-1), ValueError, "seed"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, message", CASES, ids=[f"{i}-{m[:40]}" for i, (_, _, m) in enumerate(CASES)])
def test_the_error_says_what_came_and_what_was_expected(call, kind, message):
    with np.errstate(all="ignore"), pytest.raises(kind, match=re.escape(message)) as caught:
        call()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_the_page_of_faults_has_every_row_and_names_tests_that_exist():
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "faults.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)\|(.*)\|(.*)\|$", page, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 109))
    for number, _, seen, named in rows:
        files = re.findall(r"`([a-z0-9_/]+\.py)(?:::(\w+))?`", named) + re.findall(r"\(see tests/([\w/.]+)()\)", named)
        assert files or "**not**" in seen.lower(), f"row {number} has no test, and does not say so"
        for file, test in files:
            assert (tests / file).exists(), f"row {number}: {file}"
            assert not test or f"\ndef {test}(" in (tests / file).read_text("utf-8"), f"row {number}: {test}"


def test_a_lossless_conversion_is_made():
    n = net(np.float64)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(F32)
    np.testing.assert_array_equal(n(x, 3)[1], n(x.astype(np.float64), 3)[1])
    half = x.astype(np.float16)
    np.testing.assert_array_equal(net()(half, 3)[1], net()(half.astype(F32), 3)[1])
    swapped, fortran = x.astype(">f4"), np.asfortranarray(x)
    for other in (swapped, fortran, np.repeat(x, 2, axis=0)[::2], np.repeat(x, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(net()(other, 3)[1], net()(x, 3)[1])


def test_read_only_arrays_are_welcome():
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    for backend in ("reference", "cpu"):
        if backend == "cpu":
            pytest.importorskip("numba", reason="the cpu backend needs Numba")
        n = net(backend=backend)
        spk_rec, mem_rec, tape = n.forward(x, 5)
        _, dspk = SF.ce_rate_loss().value_and_grad(spk_rec, y)
        for a in (spk_rec, mem_rec, dspk):
            a.flags.writeable = False
        grads = n.backward(tape, dspk)
        for a in grads.values():
            a.flags.writeable = False
        optim.Adam(n).step(grads)


LOSSES = [SF.ce_rate_loss(), SF.ce_count_loss(), SF.ce_max_membrane_loss(), SF.mse_count_loss(), SF.mse_membrane_loss(),
          SF.l1_rate_sparsity()]  # fmt: skip


def test_nothing_that_came_in_is_changed():
    rng = np.random.default_rng(1)
    x, rec = rng.standard_normal((6, 4, 3)).astype(F32), rng.standard_normal((6, 4, 2)).astype(F32)
    kept = x.copy(), rec.copy(), Y.copy()
    n = net()
    for loss in LOSSES:
        loss(rec, Y)
    SF.accuracy_rate(rec, Y), SF.accuracy_temporal(rec, Y)
    n(x), n(x[0], 3)
    _, _, tape = n.forward(x)
    grads = n.backward(tape, rec, rec, input_grad=True)
    before = {name: d.copy() for name, d in grads.items()}
    optim.Adam(n, weight_decay=0.1).step(grads)
    n.load_state_dict(n.state_dict())
    _, state = n.step(x[0], n.init_state(4))
    n.step(x[1], state)
    for a, b in zip((x, rec, Y), kept, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, d in grads.items():
        np.testing.assert_array_equal(d, before[name])


def test_a_refused_step_leaves_network_and_optimiser_as_they_were():
    n = net()
    optimizer, before = optim.Adam(n), n.state_dict()
    with pytest.raises(ValueError, match="no gradient"):
        optimizer.step({})
    assert optimizer.t == 0 and not optimizer.m.any()
    for name, p in n.params.items():
        np.testing.assert_array_equal(p, before[name])


def test_shapes_and_values_are_refused_before_any_work(monkeypatch):
    """No op is loaded, so none can have run."""

    def never(name):
        raise AssertionError("an op was asked for")

    n, x = one_channel(), np.zeros((2, 1, 28, 28), F32)
    monkeypatch.setattr(npsnn.network.backends, "load", never)
    for call in (lambda: n(x, 5), lambda: n.forward(x, 5), lambda: n.step(x, n.init_state(2))):
        with pytest.raises(ValueError, match="3 Conv2d: input has 1 channel"):
            call()
    for spoilt in (x.astype(float), x[:0], nan_at(x.shape, 1, 0, 3, 3)):
        with pytest.raises((ValueError, TypeError), match=r"^x "):
            n(spoilt, 5)


def test_a_refused_gradient_leaves_the_tape_as_good_as_new():
    n, tape = forward_tape(net())
    d = np.random.default_rng(0).standard_normal(REC.shape).astype(F32)
    before = n.backward(tape, d)
    for spoilt in (d[:4], d.astype(float), nan_at(d.shape, 1, 1, 1)):
        with pytest.raises((ValueError, TypeError)):
            n.backward(tape, spoilt)
    after = n.backward(tape, d)
    for name, g in before.items():
        np.testing.assert_array_equal(after[name], g)


# --- what would mean nothing ----------------------------------------------------------------------------------------


def masked(a):
    return np.ma.masked_array(a, mask=np.ones(a.shape, bool))


def foreign_tape():
    other = npsnn.Sequential(npsnn.Linear(3, 5), npsnn.Leaky(0.5), backend="reference")
    return net().backward(other.forward(X, 5)[2], np.zeros((5, 4, 5), F32))


SILENT = {
    "masked targets": lambda: SF.ce_rate_loss()(REC, masked(Y)),
    "masked recording": lambda: SF.ce_rate_loss()(masked(REC), Y),
    "one axis for a step": lambda: net().step(np.ones(3, F32), net().init_state(3)),
    "no feature for a step": lambda: npsnn.Sequential(npsnn.Flatten()).step(np.ones((4, 0), F32), npsnn.State(4, ())),
    "another network's tape": foreign_tape,
    "masked beta": lambda: npsnn.Leaky(masked(np.ones(3) / 2)),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_means_nothing_is_refused(name):
    with pytest.raises((ValueError, TypeError)):
        SILENT[name]()


def test_a_ragged_constant_is_refused_by_name():
    with pytest.raises((ValueError, TypeError), match=r"^Leaky: beta"):
        npsnn.Leaky([[0.5], [0.5, 0.5]])


def test_params_update_reaches_the_network():
    n = net()
    n.params.update({"0.bias": np.full(2, 9, F32)})
    assert n.params["0.bias"].tolist() == [9, 9]


def test_parameters_are_neither_added_nor_taken_away():
    n = net()
    for call in (lambda: n.params.pop("0.bias"), lambda: n.params.clear(), lambda: n.params.setdefault("x", 1)):
        with pytest.raises(TypeError, match="a network's parameters can be assigned to, not added or taken away"):
            call()
    assert list(n.params) == ["0.weight", "0.bias"]


def test_the_cpu_backend_without_numba_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(npsnn.backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'backend "cpu" needs Numba: pip install "npsnn\[fast\]"'):
        net(backend="cpu")
    assert net(backend="auto").backend == "reference"
