"""A drawn network in npsnn beside the same network in torch.

Spikes are equal. Anything else is within 1e-11 of the largest entry of torch's array (`close`): a gradient's small
entries are differences of large terms, so each entry cannot be held to its own size. Where a whole gradient cancels,
its terms are the measure (`torch_network.backward`).
"""

import hashlib
import importlib.util

import numpy as np
from hypothesis import assume

import npsnn
from tests.peers import torch_network as peer

TOLERANCE = 1e-11
TIE = 1e-12
BACKENDS = ["reference", *(["cpu"] if importlib.util.find_spec("numba") else [])]


def run_ours(case, backend):
    """(spk_rec, mem_rec, tape, loss, gradients) of npsnn."""
    net = peer.build(case.description, dtype=np.float64, backend=backend)
    for name, value in case.params.items():
        net.params[name][...] = value
    spk_rec, mem_rec, tape = net.forward(case.x, case.num_steps)
    loss, cotangents = 0.0, {"spk": np.zeros_like(spk_rec), "mem": None}
    for name, arguments in case.terms:
        term = getattr(npsnn.functional, name)(**arguments)
        value, d = term.value_and_grad(spk_rec if term.on == "spk" else mem_rec, case.targets)
        loss += value
        cotangents[term.on] = d if cotangents[term.on] is None else cotangents[term.on] + d
    grads = net.backward(tape, dspk=cotangents["spk"], dmem=cotangents["mem"], input_grad=True)
    return spk_rec, mem_rec, tape, loss, grads


def run_torch(case, neuron=peer.leaky_neuron):
    """(torch's run, its loss, its gradients by name, the size of their terms)."""
    result = peer.run(case.description, case.params, case.x, case.num_steps, neuron)
    loss = peer.total_loss(result, case.targets, case.terms)
    return result, loss.item(), *peer.backward(result, loss)


def error(ours, theirs, size=0.0):
    """The largest difference as a share of the largest entry, or of `size`; 0 where both are zero throughout."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).max()
    return 0.0 if difference == 0 else float(difference / max(np.abs(theirs).max(), size, np.finfo(float).tiny))


def close(ours, theirs, what, size=0.0):
    off = error(ours, theirs, size)
    assert off < TOLERANCE, f"{what} differs by {off:.1e} of its largest entry"


def margin(result):
    """How near the nearest membrane lies to its threshold: below TIE, rounding decides a spike."""
    return min((float((U - theta).abs().min()) for _, U, theta in result.neurons.values()), default=np.inf)


def same_spikes(S, S_torch, U_torch, theta, what):
    """Equal; if not, say how far from the threshold the first difference lies."""
    wrong = np.not_equal(S, S_torch)
    if wrong.any():
        t = int(np.argmax(wrong.reshape(len(S), -1).any(axis=1)))
        off = np.abs(U_torch - theta)[t][wrong[t]]
        raise AssertionError(f"{what}: {wrong.sum()} spikes differ, first at step {t}, |U - theta| = {off}")


def compare(case, theirs, backend):
    """Every neuron's spikes and membranes, the recordings, the loss and every gradient."""
    result, loss_torch, grads_torch, sizes = theirs
    spk_rec, mem_rec, tape, loss, grads = run_ours(case, backend)
    neurons = tape.neurons()
    for i, (S, U, theta) in result.neurons.items():
        S, U, theta = (a.detach().numpy() for a in (S, U, theta))
        same_spikes(neurons[i].S, S, U, theta, f"{backend}, {i} Leaky")
        close(neurons[i].U, U, f"{backend}, {i} Leaky: U")
    if result.mem_rec is None:
        assert mem_rec is None
        close(spk_rec, result.spk_rec.detach().numpy(), f"{backend}: the output")
    else:
        assert np.array_equal(spk_rec, result.spk_rec.detach().numpy())
        close(mem_rec, result.mem_rec.detach().numpy(), f"{backend}: mem_rec")
    close(loss, loss_torch, f"{backend}: the loss")
    assert set(grads) == set(grads_torch)
    for name, d in grads_torch.items():
        close(grads[name], d, f"{backend}: the gradient of {name}", sizes[name])


def check(case, tied, neuron=peer.leaky_neuron):
    """(case, firing rates, which gradients are not zero throughout), once every backend agrees with torch.

    A case in which rounding decides a spike is put aside, its margin into `tied`.
    """
    theirs = run_torch(case, neuron)
    if margin(theirs[0]) <= TIE:
        tied.append(margin(theirs[0]))
        assume(False)
    for backend in BACKENDS:
        compare(case, theirs, backend)
    return case, firing_rates(theirs[0]), [bool(np.abs(d).max() > 0) for d in theirs[2].values()]


def firing_rates(result):
    return [S.mean().item() for S, _, _ in result.neurons.values()]


def fingerprint(case):
    """The same for the same network on the same data."""
    digest = hashlib.sha256(repr((case.description, case.num_steps, case.terms)).encode())
    for array in (*case.params.values(), case.x, case.targets):
        digest.update(array.tobytes())
    return digest.hexdigest()
