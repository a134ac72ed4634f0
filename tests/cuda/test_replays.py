"""Steps that are recorded and started at once: the same bits, and nothing that somebody holds is written to."""

import gc
import weakref

import numpy as np
import pytest

import npsnn
from npsnn import _cuda, _device, _graph, backprop, optim, replays
from npsnn import functional as SF
from npsnn.resident import Resident, _left
from tests.cuda import test_training as training
from tests.cuda.test_training import LOSSES
from tests.twins import same_bits


@pytest.fixture(autouse=True)
def graphs():
    before = _graph.wanted
    use(True)
    yield
    use(before)


def small(**options):
    """One layer and its neurons, for what does not depend on the network."""
    net = npsnn.Sequential(npsnn.Linear(4, 2), npsnn.Leaky(0.5, **options), backend="cuda", seed=0)
    net.flat_params[...] *= 2
    return net


def batches(count):
    """For it."""
    rng = np.random.default_rng(1)
    return [(rng.uniform(0, 2, (3, 4)).astype(np.float32), rng.integers(0, 2, 3)) for _ in range(count)]


def use(wanted):
    """From here on steps are recorded, or not; and the first will send its constants."""
    _graph.wanted = wanted
    _device._constant.cache_clear()


def run(loader, loss, wanted, T=2, **options):
    """(what each batch gave, parameters and moments, how many steps were started at once)."""
    use(wanted)
    net = options.get("net", small)()
    adam = optim.Adam(net, lr=1e-2)
    there, given = Resident(net, adam), []
    for x, y in loader:
        value, spk, tape = there.step(loss, options.get("price"), x, T, None, y)
        if options.get("look"):
            given += [n.U for n in tape.neurons().values()]
        del tape
        given += [np.array(value), spk]
    there.bring_back()
    return (*given, net.flat_params, adam.m, adam.v, np.array(adam.t)), there.replays.count


def test_they_can_be_turned_off(monkeypatch):
    monkeypatch.delenv("NPSNN_CUDA_GRAPHS", raising=False)
    assert _graph.asked() is not _cuda.SIMULATED
    for said, wanted in (("0", False), ("1", True)):
        monkeypatch.setenv("NPSNN_CUDA_GRAPHS", said)
        assert _graph.asked() is wanted
    monkeypatch.setenv("NPSNN_CUDA_GRAPHS", "no")
    with pytest.raises(ValueError, match="NPSNN_CUDA_GRAPHS is 'no', expected 0 or 1"):
        _graph.asked()


@pytest.mark.parametrize("error", [RuntimeError("not\n  supported"), ImportError("no cuda.core")])
def test_where_no_graph_can_be_made_it_is_said_and_the_launches_go_on(monkeypatch, recwarn, error):
    def built(launches):
        raise error

    expected, _ = run(batches(count=3), LOSSES[0], False)
    make = _graph.graph

    def graph(launches):
        with monkeypatch.context() as patch:
            patch.setattr(_cuda, "SIMULATED", False)
            patch.setattr(_graph, "_built", built)
            return make(launches)

    monkeypatch.setattr(_graph, "graph", graph)
    got, count = run(batches(count=3), LOSSES[0], True)
    same_bits(got, expected)
    assert count == 0
    said = {str(w.message) for w in recwarn}
    why = "npsnn: no CUDA graph can be made, so a step is launched by kernels: not supported"
    assert said == (set() if isinstance(error, ImportError) else {why})


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_the_bits_of_the_launches(loss):
    """The first step sends constants, the second is recorded, six are started at once; every batch is another."""
    loader = batches(count=8)
    launched, none = run(loader, loss, False)
    replayed, count = run(loader, loss, True)
    same_bits(launched, replayed)
    assert (none, count) == (0, 6)


def test_the_bits_of_the_tutorials_network():
    net, loader = lambda: training.tutorial("cuda", "float32"), training.batches("float32", count=4)
    launched, _ = run(loader, LOSSES[0], False, net=net)
    replayed, count = run(loader, LOSSES[0], True, net=net)
    same_bits(launched, replayed)
    assert count == 2


def test_with_a_price_and_what_the_tape_holds():
    loader = batches(count=5)
    launched, _ = run(loader, LOSSES[0], False, look=True, price=SF.mse_count_loss(0.9, 0.1))
    replayed, count = run(loader, LOSSES[0], True, look=True, price=SF.mse_count_loss(0.9, 0.1))
    same_bits(launched, replayed)
    assert count == 3


def test_what_somebody_holds_is_not_written_to():
    """A loop holds a batch while it asks for the next: two recordings take turns. Who holds more has it launched."""

    def of(tape):
        return (*(np.array(n.U) for n in tape.neurons().values()), np.array(tape.params.flat))

    results = []
    for wanted, held in ((False, 0), (True, 1), (True, 2), (True, 9)):
        use(wanted)
        net, seen, kept = small(), [], []
        adam = optim.Adam(net, lr=1e-2)
        for batch in backprop.batches(net, batches(count=9), adam, LOSSES[0], 2, time_var=False):
            kept.append((batch.tape, len(seen)))
            seen.append(of(batch.tape))
            kept[:] = kept[-held:] if held else []
            for tape, i in kept:
                same_bits(of(tape), seen[i])
            tape = None
        results.append((*(x for one in seen for x in one), net.flat_params))
        assert _left[adam].replays.count == {0: 0, 1: 6, 2: 4, 9: 0}[held]
    for result in results[1:]:
        same_bits(results[0], result)


def test_the_pieces_of_a_truncated_run():
    """The first piece of a batch is recorded, the others go on from a state: they share no memory with a recording."""

    def trained(wanted):
        use(wanted)
        net, found = small(), []
        there = Resident(net, optim.Adam(net, lr=1e-2))
        for x, y in batches(count=6):
            _, _, tape = there.step(LOSSES[0], None, x, 2, None, y)
            _, _, later = there.step(LOSSES[0], None, x, 2, tape.state, y)
            held = np.array(later.params.flat), *(np.array(n.U) for n in later.neurons().values())
            del tape
            there.step(LOSSES[0], None, x, 2, None, y)
            same_bits((np.array(later.params.flat), *(np.array(n.U) for n in later.neurons().values())), held)
            found += held
            del later
        return tuple(found), there.replays.count

    (launched, _), (replayed, count) = trained(False), trained(True)
    same_bits(launched, replayed)
    assert count == 9


def test_settings_may_change_between_steps():
    """The learning rate is an input; a neuron's constant is part of what was recorded."""

    def trained(wanted):
        use(wanted)
        net = small()
        adam = optim.Adam(net, lr=1e-2)
        there = Resident(net, adam)
        for k, (x, y) in enumerate(batches(count=12)):
            adam.lr, adam.weight_decay = (1e-2, 0.0) if k < 4 else (3e-3, 0.1)
            if k == 8:
                net.layers[1].beta = np.array(0.25)
            there.step(LOSSES[0], None, x, 2, None, y)
        there.bring_back()
        return (net.flat_params, adam.m, adam.v), there.replays.count

    (launched, _), (replayed, count) = trained(False), trained(True)
    same_bits(launched, replayed)
    assert count == 8


def test_shapes_have_recordings_of_their_own():
    sizes = [3, 3, 2, 3, 2, 2, 3, 1, 1, 1, 1, 3]
    loader = [(x[:n], y[:n]) for n, (x, y) in zip(sizes, batches(count=12), strict=True)]
    launched, _ = run(loader, LOSSES[1], False)
    replayed, count = run(loader, LOSSES[1], True)
    same_bits(launched, replayed)
    assert count == 4  # of 3 samples three, of 2 one; of 1 sample none, for there are two shapes


@pytest.mark.parametrize("why", ["a loss of the host's", "learnt constants", "a state"])
def test_what_copies_is_not_recorded(monkeypatch, why):
    class Own:
        on, name = "spk", "own"

        def value_and_grad(self, rec, targets):
            return float(rec.sum()), np.ones_like(rec)

    done, record = [], _cuda.record
    monkeypatch.setattr(_cuda, "record", lambda: done.append(why) or record())
    learns = why == "learnt constants"
    net = small(learn_beta=learns)
    there, state = Resident(net, optim.Adam(net)), None
    for x, y in batches(count=6):
        _, _, tape = there.step(Own() if why.startswith("a loss") else LOSSES[0], None, x, 2, state, y)
        state = tape.state if why == "a state" else None
        del tape
    assert there.replays.count == 0
    assert len(done) == {"a loss of the host's": 0, "a state": 1, "learnt constants": 3}[why]  # so often is it tried


def test_a_graph_that_gives_other_numbers_is_not_used(monkeypatch):
    loader = batches(count=6)
    expected, _ = run(loader, LOSSES[0], False)
    good = _graph.graph

    def wrong(launches):
        return good(launches[:-1])  # one of Adam's updates is not made

    monkeypatch.setattr(_graph, "graph", wrong)
    with pytest.warns(UserWarning, match="a CUDA graph gave other numbers than its launches; it is not used"):
        got, count = run(loader, LOSSES[0], True)
    same_bits(got, expected)
    assert count == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the device is lost")])
def test_a_replay_that_breaks_off_leaves_the_step_before(monkeypatch, error):
    net = small()
    adam = optim.Adam(net, lr=1e-2)
    there, loader = Resident(net, adam), batches(count=4)
    for x, y in loader[:3]:
        there.step(LOSSES[0], None, x, 2, None, y)
    assert there.replays.count == 1
    there.bring_back()
    before = tuple(x.copy() for x in (net.flat_params, adam.m, adam.v))
    (place,) = next(iter(there.replays._places.values()))
    start = place._start

    def breaks():
        start()
        raise error

    monkeypatch.setattr(place, "_start", breaks)
    with pytest.raises(type(error)):
        there.step(LOSSES[0], None, loader[3][0], 2, None, loader[3][1])
    there.bring_back()
    same_bits((net.flat_params, adam.m, adam.v), before)
    assert adam.t == 3


def test_a_loss_that_is_not_finite_is_not_an_update_of_a_replay():
    net = small()
    adam = optim.Adam(net, lr=1e-2)
    there, loader = Resident(net, adam), batches(count=4)
    for k, (x, y) in enumerate(loader[:3]):
        adam.lr = 1e30 if k == 2 else 1e-2
        there.step(LOSSES[4], None, x, 2, None, y)
    there.bring_back()
    before = tuple(x.copy() for x in (net.flat_params, adam.m, adam.v))
    with pytest.raises(FloatingPointError, match="the loss is inf"):
        there.step(LOSSES[4], None, loader[3][0], 2, None, loader[3][1])
    assert there.replays.count == 2
    there.bring_back()
    same_bits((net.flat_params, adam.m, adam.v), before)
    assert adam.t == 3


def test_its_memory_is_given_up_where_it_is_needed():
    net = small()
    there, loader = Resident(net, optim.Adam(net)), batches(count=6)
    for x, y in loader[:2]:
        _, _, tape = there.step(LOSSES[0], None, x, 2, None, y)
    assert len(next(iter(there.replays._places.values()))) == 1
    held = tuple(np.array(n.U) for n in tape.neurons().values())
    place = weakref.ref(next(iter(there.replays._places.values()))[0])
    _device.release()
    gc.collect()
    assert place() is None
    for x, y in loader[2:]:
        there.step(LOSSES[0], None, x, 2, None, y)
    same_bits(tuple(n.U for n in tape.neurons().values()), held)
    assert there.replays.count == 0


def test_a_network_and_its_optimiser_can_be_forgotten():
    net = small()
    adam = optim.Adam(net)
    for _ in range(2):
        backprop.BPTT(net, batches(count=3), adam, LOSSES[0], num_steps=2, time_var=False)
    gone = weakref.ref(net), weakref.ref(adam)
    del net, adam
    gc.collect()
    assert [which() for which in gone] == [None, None]


def test_lent_is_all_that_lies_on_the_device():
    """Nothing of what is lent shares an owner with what was recorded."""
    net = small()
    x, y = batches(1)[0]
    _, _, tape = Resident(net, optim.Adam(net)).step(LOSSES[0], None, x, 2, None, y)
    owner = _device.Owner()
    found = list(arrays(replays.lent(tape, owner)))
    assert len(found) == len(list(arrays(tape))) == 8
    assert {id(a._owner) for a in found} == {id(owner)}


def arrays(x, seen=None):
    """Every array on the device that can be reached from x."""
    seen = set() if seen is None else seen
    if id(x) in seen or isinstance(x, npsnn.layer.Layer | str | bytes | np.ndarray | type):
        return
    seen.add(id(x))
    if isinstance(x, _device.DeviceArray):
        yield x
    elif isinstance(x, dict):
        for part in x.values():
            yield from arrays(part, seen)
    elif isinstance(x, tuple | list | set):
        for part in x:
            yield from arrays(part, seen)
    elif hasattr(x, "__dict__") and not hasattr(x, "__path__") and not hasattr(x, "__spec__"):
        yield from arrays(vars(x), seen)
