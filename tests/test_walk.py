"""The network layer by layer: what it computes as one, seen between the layers."""

import numpy as np
import pytest

import npsnn
from npsnn import surrogate, tiles, walk
from tests.helpers import close
from tests.twins import same_bits

T, B = tiles.STEPS + 3, 6  # two blocks of steps, several chunks


def network(backend, dtype=np.float64, **neuron):
    sg = surrogate.fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Conv2d(1, 2, 2), npsnn.Leaky(0.6, 0.4, sg, **neuron), npsnn.Conv2d(2, 3, 2), npsnn.MaxPool2d(2),
        npsnn.Leaky(0.7, 0.3, sg, learn_beta=True), npsnn.Flatten(), npsnn.Linear(6, 3), npsnn.Leaky(0.8, 0.2, sg),
        dtype=dtype, backend=backend, seed=2,
    )  # fmt: skip
    net.params["0.weight"] *= 4
    net.params["2.weight"] *= 2
    net.params["6.weight"] *= 2
    return net


def draw(rng, net, static):
    return rng.standard_normal((B, 1, 4, 6) if static else (T, B, 1, 4, 6)).astype(net.dtype), T if static else None


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_forward_has_the_bits_of_the_network_in_one_piece_or_two(backend, rng, static):
    net = network(backend, np.float32)
    x, steps = draw(rng, net, static)
    spk_rec, mem_rec, tape = net.forward(x, steps)
    done = list(walk.forward(tape.layers, tape.run, x[None] if static else x, tape.before))
    assert [d.i for d in done] == list(range(8))
    assert len(done[0].y) == (1 if static else T) and done[0].U is None
    same_bits((done[-1].y, done[-1].U), (spk_rec, mem_rec))
    for i, neurons in tape.neurons().items():
        same_bits(done[i].U, neurons.U)
        assert 0.02 < done[i].y.mean() < 0.98
    later = net.forward(x, steps, state=tape.state)[2]
    if not static:
        both = np.concatenate([x, x])
        same_bits(later.neurons()[7].U, net.forward(both)[2].neurons()[7].U[T:])
    again = list(walk.forward(later.layers, later.run, x[None] if static else x, later.before))
    same_bits(again[-1].U, later.neurons()[7].U)
    from_neurons = walk.forward(tape.layers, tape.run, done[0].y, tape.before, first=1)
    same_bits([d.y for d in from_neurons][-1], spk_rec)


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_backward_is_the_networks_with_every_step_of_every_membrane(backend, rng, static, detach):
    net = network(backend, detach_reset=detach)
    x, steps = draw(rng, net, static)
    spk_rec, _, tape = net.forward(x, steps)
    dspk, dmem = rng.standard_normal((2, *spk_rec.shape))
    dafter = tuple(rng.standard_normal(U.shape) for U in tape.state.U)
    grads = net.backward(tape, dspk, dmem, input_grad=True, dstate=dafter)
    caches = [done.cache for done in walk.forward(tape.layers, tape.run, x[None] if static else x, tape.before)]
    back = {b.i: b for b in walk.backward(tape.layers, tape.run, caches, dspk, dmem, dafter)}
    assert list(back) == list(range(7, -1, -1))
    assert [i for i, b in back.items() if b.dU is not None] == [7, 4, 1]
    close(back[0].dx[0] if static else back[0].dx, grads["input"])
    close(back[6].dy.sum(axis=(0, 1)), grads["6.bias"])
    for i in (7, 4, 1):
        assert back[i].dU.shape[:2] == (T, B)
    close(back[1].dU.sum(axis=(0, 1, 3, 4)), grads["0.bias"])  # a step's dU is the gradient of its current
    close(back[1].dU.sum(axis=0, keepdims=True) if static else back[1].dU, back[1].dx)


def test_a_stochastic_surrogate_keeps_the_noise_of_its_run(backend, rng):
    neuron = npsnn.Leaky(0.5, spike_grad=surrogate.SSO(seed=3))
    net = npsnn.Sequential(npsnn.Linear(3, 4), neuron, dtype=np.float64, backend=backend, seed=1)
    x = 3 * rng.standard_normal((5, B, 3))
    spk_rec, _, tape = net.forward(x)
    d = rng.standard_normal(spk_rec.shape)
    caches = [done.cache for done in walk.forward(tape.layers, tape.run, x, tape.before)]
    dx = list(walk.backward(tape.layers, tape.run, caches, d))[-1].dx
    close(dx, net.backward(tape, d, input_grad=True)["input"])
