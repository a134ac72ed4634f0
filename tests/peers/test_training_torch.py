"""Ten steps of training, npsnn's Adam beside PyTorch's, in float64 from the same weights."""

import numpy as np
import pytest

import npsnn
from tests.peers import torch_network as peer
from tests.peers.compare_network import BACKENDS, close

torch = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("ignore")

TRAINED = [
    ("Conv2d", {"in_channels": 1, "out_channels": 3, "kernel_size": 3}),
    ("MaxPool2d", {"kernel_size": 2}),
    ("Leaky", {"beta": 0.6, "learn_beta": True, "spike_grad": ("fast_sigmoid", {"slope": 5})}),
    ("Flatten", {}),
    ("Linear", {"in_features": 27, "out_features": 4}),
    ("Leaky", {"beta": 0.8, "learn_threshold": True, "spike_grad": ("atan", {})}),
]


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ten_steps_of_adam(backend, weight_decay):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 2, (6, 1, 8, 8)), rng.integers(0, 4, 6)
    net = peer.build(TRAINED, dtype=np.float64, backend=backend, seed=3)
    weights = {name: peer.tensor(value).requires_grad_() for name, value in net.params.items()}
    settings = {"lr": 0.02, "weight_decay": weight_decay}
    adam, torch_adam = npsnn.optim.Adam(net, **settings), torch.optim.Adam(weights.values(), **settings)
    loss_fn, losses = npsnn.functional.ce_rate_loss(), []
    for _ in range(10):
        spk_rec, _, tape = net.forward(x, num_steps=8)
        loss, dspk = loss_fn.value_and_grad(spk_rec, y)
        adam.step(net.backward(tape, dspk=dspk))
        losses.append((loss, torch_step(weights, torch_adam, x, y)))
        for name, value in weights.items():
            close(net.params[name], value.detach().numpy(), name)
    mine, theirs = np.array(losses).T
    close(mine, theirs, "the losses")
    assert mine[-1] < mine[0] - 0.05


def torch_step(weights, optimizer, x, y):
    values = {name: value.detach().numpy() for name, value in weights.items()}
    result = peer.run(TRAINED, values, x, num_steps=8)
    loss = peer.ce_rate_loss(result.spk_rec, torch.tensor(y))
    found = peer.gradients(result, loss)
    for name, value in weights.items():
        value.grad = peer.tensor(found[name])
    optimizer.step()
    return loss.item()
