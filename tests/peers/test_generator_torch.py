"""The generator and the loader against PyTorch itself, bit for bit."""

import math

import numpy as np
import pytest

from npsnn.data import DataLoader, mnist
from npsnn.generator import Generator, init_bounds

torch = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("ignore")

BOUNDS = [(0, 1), (-0.2, 0.2), (-0.19999999999999998, 0.19999999999999998), (-1 / 3, 1 / 3), (2, 5.3), (-1e-3, 1e3)]
# PyTorch without vector instructions rounds uniform_ twice; everywhere else it fuses.
fused = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="PyTorch without FMA")


@fused
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 33, 19200, 100003])
def test_uniform(n, dtype):
    for low, high in BOUNDS:
        torch.manual_seed(3)
        theirs = torch.empty(n, dtype=getattr(torch, dtype)).uniform_(low, high).numpy()
        ours = Generator(3).uniform(low, high, n, np.dtype(dtype))
        assert np.array_equal(ours, theirs), (low, high)


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, 2**32 + 5, 2**63, 2**64 - 1])
def test_seeds(seed):
    torch.manual_seed(seed)
    assert np.array_equal(Generator(seed).uniform(0, 1, 700), torch.rand(700).numpy())


@pytest.mark.parametrize("n", [0, 1, 2, 7, 10, 1000, 60000, 100003])
def test_randperm_and_int64(n):
    for seed in (0, 11):
        theirs, ours = torch.Generator().manual_seed(seed), Generator(seed)
        assert np.array_equal(ours.randperm(n), torch.randperm(n, generator=theirs).numpy())
        for _ in range(3):
            assert ours.int64() == torch.empty((), dtype=torch.int64).random_(generator=theirs).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (15,), (17,), (41, 30), (100003,)])
def test_bernoulli(shape, dtype):
    p = torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(9)
    assert np.array_equal(Generator(9).bernoulli(p.numpy()), torch.bernoulli(p).numpy())
    torch.manual_seed(9)
    assert np.array_equal(Generator(9).bernoulli(p.numpy().T), torch.bernoulli(p.T if p.ndim == 2 else p).numpy())


@fused
@pytest.mark.parametrize("seed", [0, 7, 123])
def test_first_weights(seed):
    torch.manual_seed(seed)
    layers = [torch.nn.Conv2d(1, 12, 5), torch.nn.Conv2d(12, 64, 5), torch.nn.Linear(1024, 10), torch.nn.Linear(37, 3)]
    generator = Generator(seed)
    for layer in layers:
        weight_bound, bias_bound = init_bounds(layer.weight[0].numel())
        ours = generator.uniform(-weight_bound, weight_bound, tuple(layer.weight.shape))
        assert np.array_equal(ours, layer.weight.detach().numpy())
        ours = generator.uniform(-bias_bound, bias_bound, tuple(layer.bias.shape))
        assert np.array_equal(ours, layer.bias.detach().numpy())


def test_init_bounds_are_kaimings():
    gain = torch.nn.init.calculate_gain("leaky_relu", math.sqrt(5))
    for fan_in in range(1, 3000):
        assert init_bounds(fan_in)[0] == math.sqrt(3.0) * (gain / math.sqrt(fan_in))


@pytest.mark.parametrize(
    ("n", "batch_size", "drop_last"), [(1, 4, False), (10, 3, False), (10, 3, True), (1000, 128, False)]
)
def test_shuffled_and_ordered_loaders_share_a_generator(n, batch_size, drop_last):
    """A training loader that shuffles and a test loader that does not, three epochs in turn, from one stream."""
    options = {"batch_size": batch_size, "drop_last": drop_last}
    torch.manual_seed(5)
    theirs = [torch.utils.data.DataLoader(range(n), shuffle=shuffle, **options) for shuffle in (True, False)]
    generator = Generator(5)
    data = np.arange(n, dtype=np.float64), np.arange(n)
    ours = [DataLoader(data, shuffle=shuffle, seed=generator, **options) for shuffle in (True, False)]
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            assert len(a) == len(b)
            assert [targets.tolist() for _, targets in a] == [batch.tolist() for batch in b]
    assert generator.int64() == torch.empty((), dtype=torch.int64).random_().item()


def test_an_epoch_left_early_draws_as_pytorch_does():
    torch.manual_seed(5)
    theirs = torch.utils.data.DataLoader(range(10), batch_size=3, shuffle=True)
    generator = Generator(5)
    ours = DataLoader((np.zeros(10), np.arange(10)), 3, shuffle=True, seed=generator)
    iter(theirs), iter(ours)
    assert next(iter(ours))[1].tolist() == next(iter(theirs)).tolist()
    assert generator.int64() == torch.empty((), dtype=torch.int64).random_().item()


def test_images_are_divided_as_torchvision_divides():
    test = mnist("test")
    assert np.array_equal(test.images()[:, 0], torch.from_numpy(test.data).to(torch.float32).div(255).numpy())
    grey = np.arange(256, dtype=np.uint8)
    assert np.array_equal(grey.astype(np.float32) / np.float32(255), torch.from_numpy(grey).float().div(255).numpy())
