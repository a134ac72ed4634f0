"""PyTorch's tensors and pandas' frames as arguments: welcome where they are arrays, else refused in a line."""

import numpy as np
import pytest

import npsnn
from npsnn import functional as SF
from npsnn import optim

torch = pytest.importorskip("torch", reason="needs PyTorch")
F32 = np.float32


def network():
    return npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), backend="reference", seed=0)


X = np.random.default_rng(0).uniform(0, 2, (4, 3)).astype(F32)
Y = np.array([0, 1, 1, 0])


def run(x, y, d=None):
    net = network()
    spk_rec, mem_rec, tape = net.forward(x, 5)
    loss, dmem = SF.mse_membrane_loss().value_and_grad(mem_rec, y)
    grads = net.backward(tape, dmem=dmem if d is None else d)
    optim.Adam(net).step(grads)
    return [spk_rec, np.array(loss), net.flat_params.copy()]


def same(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


def test_tensors_are_welcome_and_not_changed():
    x, y, d = torch.from_numpy(X.copy()), torch.from_numpy(Y.copy()), torch.ones(5, 4, 2)
    same(run(x, y, d), run(X, Y, np.ones((5, 4, 2), F32)))
    np.testing.assert_array_equal(x.numpy(), X)
    same(run(x.T.contiguous().T, y), run(X, Y))


def test_a_tensor_that_requires_grad_is_refused_with_what_to_do():
    net, x = network(), torch.ones(4, 3, requires_grad=True)
    for call in (
        lambda: net(x, 5),
        lambda: net.step(x, net.init_state(4)),
        lambda: SF.ce_rate_loss()(torch.zeros(5, 4, 2, requires_grad=True), Y),
        lambda: net.load_state_dict(dict(torch.nn.Sequential(torch.nn.Linear(3, 2)).named_parameters())),
        lambda: npsnn.Leaky(torch.tensor(0.5, requires_grad=True)),
        lambda: optim.Adam(net).step(dict(torch.nn.Sequential(torch.nn.Linear(3, 2)).named_parameters())),
    ):
        with pytest.raises(TypeError, match=r"^[^\n]*requires grad, which no array can; pass its \.detach\(\)$"):
            call()
    np.testing.assert_array_equal(net(x.detach(), 5)[0], net(np.ones((4, 3), F32), 5)[0])


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(4, 3, dtype=torch.bfloat16),
        torch.ones(4, 3).to_sparse(),
        torch.ones(4, 3, device="meta"),
        torch.ones(4, 3, dtype=torch.float64),
        torch.ones(4, 3, dtype=torch.uint8),
        torch.ones(4, 3, dtype=torch.complex64),
    ],
    ids=["bfloat16", "sparse", "meta", "float64", "uint8", "complex64"],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_other_tensors_are_refused_in_a_line(x):
    with pytest.raises(TypeError, match=r"^x is [^\n]*$") as caught:
        network()(x, 5)
    if x.dtype == torch.float64:
        assert "convert it: np.asarray(x, np.float32)" in str(caught.value)
        np.testing.assert_array_equal(network()(np.asarray(x, np.float32), 5)[0], network()(np.ones((4, 3), F32), 5)[0])


def test_frames_and_series_are_welcome():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    same(run(pandas.DataFrame(X), pandas.Series(Y)), run(X, Y))
    with pytest.raises(TypeError, match="x is object, expected float32; it holds 'x'"):
        network()(pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"], "c": [1, 2]}), 5)
    with pytest.raises(TypeError, match="x is object, expected float32; it holds <NA>"):
        network()(pandas.DataFrame({"a": [1.0, None], "b": [1.0, 2.0], "c": [3.0, 4.0]}, dtype="Float32"), 5)
