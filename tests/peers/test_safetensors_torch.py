"""Files of weights between npsnn and PyTorch or snnTorch, both ways, and tensors that are no arrays."""

import numpy as np
import pytest

import npsnn
from npsnn import utils
from tests.peers import snntorch_peer
from tests.peers.snntorch_peer import snn, snn_utils, torch

safetensors_torch = pytest.importorskip(
    "safetensors.torch", reason='needs safetensors: pip install "npsnn[safetensors]"'
)
pytestmark = snntorch_peer.marks

FIRST = {"beta": 0.9, "threshold": 0.8, "reset_mechanism": "zero"}


def snn_network(**last):
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 6), snn.Leaky(init_hidden=True, **FIRST),
        torch.nn.Linear(6, 3), snn.Leaky(init_hidden=True, output=True, **{"beta": 0.7, **last}),
    )  # fmt: skip


def our_network(seed=8, dtype=np.float32, **last):
    return npsnn.Sequential(
        npsnn.Linear(5, 6), npsnn.Leaky(**FIRST), npsnn.Linear(6, 3), npsnn.Leaky(**{"beta": 0.7, **last}),
        seed=seed, backend="reference", dtype=dtype,
    )  # fmt: skip


def run(theirs, x, num_steps=8):
    snn_utils.reset(theirs)
    with torch.no_grad():
        return np.stack([theirs(torch.tensor(x))[0].numpy() for _ in range(num_steps)])


def same_network(theirs, ours):
    for name, value in theirs.named_parameters():
        assert np.array_equal(ours.params[name], value.detach().numpy()), name
    x = np.random.default_rng(0).uniform(-4, 4, (16, 5)).astype(np.float32)
    S = ours(x, num_steps=8)[0]
    assert 0.05 < S.mean() < 0.9
    assert np.array_equal(S, run(theirs, x))


@pytest.mark.parametrize("learn", [{}, {"learn_beta": True, "learn_threshold": True}], ids=["fixed", "learnt"])
def test_a_file_of_snntorch_loads(tmp_path, learn):
    theirs, ours = snn_network(**learn), our_network(**learn)
    safetensors_torch.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    assert ours.load_state_dict(utils.load_safetensors(tmp_path / "theirs.safetensors")) == ([], [])
    same_network(theirs, ours)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("learn", [{}, {"learn_beta": True, "learn_threshold": True}], ids=["fixed", "learnt"])
def test_snntorch_loads_a_file_of_ours(tmp_path, learn, dtype):
    """Strictly: every buffer is there, in its shape."""
    theirs, ours = snn_network(**learn), our_network(dtype=dtype, **learn)
    ours.params["2.weight"] *= 3  # so that it fires
    path = tmp_path / "ours.safetensors"
    utils.save_safetensors(path, ours)
    theirs = theirs.to(torch.float64 if dtype == np.float64 else torch.float32)
    theirs.load_state_dict(safetensors_torch.load_file(path))
    loaded = utils.load_safetensors(path)
    for name, value in theirs.state_dict().items():
        assert value.numpy().dtype == loaded[name].dtype and np.array_equal(value, loaded[name]), name
    if dtype == np.float32:  # snnTorch's spikes are float32 whatever it computes in
        same_network(theirs, ours)


def test_a_file_of_another_snntorch_network_is_refused(tmp_path):
    path = tmp_path / "theirs.safetensors"
    for last, message in [
        ({"beta": 0.6}, r"3\.beta is 0\.6, the network's is 0\.7"),
        ({"threshold": 0.5}, r"3\.threshold is 0\.5, the network's is 1\.0"),
        ({"reset_mechanism": "none"}, r"3\.reset_mechanism_val is 2, the network's is 0"),
        ({"graded_spikes_factor": 2.0}, r"3\.graded_spikes_factor is 2\.0, the network's is 1\.0"),
    ]:
        safetensors_torch.save_file(snn_network(**last).state_dict(), path)
        ours = our_network()
        with pytest.raises(ValueError, match=f"^state dict: {message}"):
            ours.load_state_dict(utils.load_safetensors(path))
        assert np.array_equal(ours.flat_params, our_network().flat_params)


def test_files_of_pytorch_alone(tmp_path):
    """A network without neurons, both ways; in bfloat16 it is refused, in float16 it loads."""
    theirs = torch.nn.Sequential(torch.nn.Conv2d(2, 3, (3, 2)), torch.nn.Flatten(), torch.nn.Linear(9, 4))
    ours = npsnn.Sequential(npsnn.Conv2d(2, 3, (3, 2)), npsnn.Flatten(), npsnn.Linear(9, 4), backend="reference")
    path = tmp_path / "theirs.safetensors"
    safetensors_torch.save_file(theirs.state_dict(), path)
    ours.load_state_dict(utils.load_safetensors(path))
    for name, value in theirs.state_dict().items():
        assert np.array_equal(ours.params[name], value), name

    ours.flat_params[:] = np.arange(ours.flat_params.size)
    utils.save_safetensors(path, ours)
    theirs.load_state_dict(safetensors_torch.load_file(path))
    for name, value in theirs.state_dict().items():
        assert np.array_equal(ours.params[name], value), name

    safetensors_torch.save_file(theirs.half().state_dict(), path)
    ours.load_state_dict(utils.load_safetensors(path))
    safetensors_torch.save_file(theirs.bfloat16().state_dict(), path)
    with pytest.raises(ValueError, match=r"theirs\.safetensors: holds BF16 numbers, which NumPy does not have"):
        utils.load_safetensors(path)


@pytest.mark.parametrize("name", ["0.weight", "1.beta"])
def test_tensors_that_are_no_arrays_are_refused_by_name(name):
    """One that wants a gradient, one of bfloat16, a sparse, a complex and a conjugated one, one without storage."""
    ours = our_network()
    like = ours.params["0.weight"] if name == "0.weight" else np.float32(0.9)
    good = torch.tensor(like)
    ours.load_state_dict({**ours.state_dict(), name: good})
    before = ours.state_dict()
    spoilt = [good.clone().requires_grad_(), good.bfloat16(), good.to_sparse(), good.cfloat(), good.cfloat().conj(),
              good.to("meta"), [good, good.clone().requires_grad_()]]  # fmt: skip
    for value in spoilt:
        with pytest.raises((ValueError, TypeError), match=rf"^state dict: {name} "):
            ours.load_state_dict({**before, name: value})
        assert np.array_equal(ours.flat_params, np.concatenate([v.ravel() for v in before.values()]))
