"""What holds for the optimiser, and for what a network holds."""

import numpy as np
from hypothesis import strategies as st

from npsnn import optim
from tests.properties.drawing import cases, on_backends
from tests.twins import same_bits, unchanged


@on_backends(st.tuples(cases(), st.floats(1e-6, 10)))
def test_adam_leaves_weights_alone_where_every_gradient_was_zero(backend, drawn):
    """Without weight decay and with fresh moments; the count of steps goes on."""
    case, lr = drawn
    net = case.build(backend)[0]
    optimizer, grads = optim.Adam(net, lr=lr), {name: np.zeros_like(p) for name, p in net.params.items()}
    with unchanged(net.flat_params, *grads.values()):
        for _ in range(3):
            optimizer.step(grads)
    assert optimizer.t == 3 and not optimizer.m.any() and not optimizer.v.any()


@on_backends(cases())
def test_adam_goes_against_the_gradient_and_changes_it_not(backend, case):
    """Negated gradients move the weights the other way, by as much, within rounding of the weights."""
    net, _, _, rng = case.build(backend)
    start, grads = net.flat_params.copy(), {n: rng.standard_normal(p.shape) for n, p in net.params.items()}
    grads = {name: g.astype(np.float32) for name, g in grads.items()}
    moved = []
    for sign in (1, -1):
        net.flat_params[:] = start
        given = {name: sign * g for name, g in grads.items()}
        with unchanged(*given.values()):
            optim.Adam(net, lr=0.5).step(given)
        moved.append(net.flat_params - start)
    np.testing.assert_allclose(moved[0], -moved[1], rtol=0, atol=1e-6)
    assert (np.sign(moved[0]) == -np.sign(net.flatten(grads))).all()


@on_backends(cases())
def test_a_state_dict_is_a_copy_that_loads_and_flattens(backend, case):
    net, twin = (case.build(backend)[0] for _ in range(2))
    twin.flat_params[:] = 0
    saved = net.state_dict()
    with unchanged(*saved.values()):
        assert twin.load_state_dict(saved) == ([], [])
        twin.flat_params[:] += 1
    same_bits(tuple(saved.values()), tuple(net.params.values()))
    same_bits(net.flatten(saved), net.flat_params)
    assert not any(np.shares_memory(value, net.flat_params) for value in saved.values())
