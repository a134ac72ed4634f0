"""PyTorch's generator without PyTorch: numbers and hashes recorded from PyTorch 2.13, and what is refused."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from npsnn.data import DataLoader
from npsnn.generator import Generator, as_generator, init_bounds

# The tutorial's network: weight shape, bias shape, fan-in, in the order in which PyTorch draws.
LAYERS = [((12, 1, 5, 5), 25), ((64, 12, 5, 5), 300), ((10, 1024), 1024)]
# SHA-256 of the six tensors' bytes, then of two epochs of the order (int64) of 6,000 samples, in batches of 128.
RECORDED = {
    0: [
        "587ea2002378687478dc40b6dc17b888bdb12b6b9ca094e5ed3d021409992876",
        "345d9be96d100bf64668a270811991b6f6ef0456527c2540d59a736786de20d9",
        "72407e2539d66b8e548957b74a3119f702e655e99434d7c6add6ce1b38def0d7",
        "96972fb461f30b71c89f2562b50426354c02d77e7c6b545c456f38e48fcbdcee",
        "254c4b8d3df75b1e9b73d0e3e07b5dc679dcc7f4aa3413ff01be387ab271bc5e",
        "e5cebb1aa90704fbd65202de1e160f9a6abb8353df3c4565a1e06a7cea616b95",
        "93bfc9a9d73114890b439a4ac8dba421b7a74348ab8af8138844c1c3a43c9015",
        "fc17fa94efdaf4c4315e0b30de27531795f94b7fc49e66dfe72babc26a66f358",
    ],
    7: [
        "c5a2e1b9c8088faf9f006e623e7a8b049850232c2b8c7ef991176f9fb5aa6a87",
        "1c69fa33855bb82e134ded607f38a2c01e635b286c6e0b90af7dfee8317c6eef",
        "b15420c0b2f52c91a68244bf43fb8c1b361677e02693bcf47453bf4127a4a5aa",
        "08906d8068dfac6e3ead40e9b85d451168d33171d136fe2634ddf096be92698a",
        "f60fd402fcf13be40f7858bd482b042b09379c8d69db7b5e0f037c3bfdf585cd",
        "5463314a9ce2fbf617ace5f8c017a9bc65033b0b58bb930d6cdb98dfa02971cc",
        "f5d43bed87189a79bbfde96cfdf02d02beac7fcd739c820256a825c8410860e0",
        "1c897ee95f628d6fef8c55987e3a8a335ceea0c17adbbc12a7a1f4fcd5961ae6",
    ],
}


def sha256(a):
    return hashlib.sha256(a.astype(a.dtype.newbyteorder("<")).tobytes()).hexdigest()


@pytest.mark.parametrize("seed", RECORDED)
def test_the_tutorials_weights_and_batches_are_pytorchs(seed):
    generator = Generator(seed)
    hashes = []
    for shape, fan_in in LAYERS:
        weight_bound, bias_bound = init_bounds(fan_in)
        hashes.append(sha256(generator.uniform(-weight_bound, weight_bound, shape)))
        hashes.append(sha256(generator.uniform(-bias_bound, bias_bound, shape[0])))
    loader = DataLoader((np.zeros(6000, np.float32), np.arange(6000)), 128, shuffle=True, seed=generator)
    hashes += [sha256(np.concatenate([targets for _, targets in loader])) for _ in range(2)]
    assert hashes == RECORDED[seed]


def test_the_first_words_are_numpys_legacy_ones():
    words = np.random.RandomState(5489).randint(0, 2**32, 1300, dtype=np.uint32)
    drawn = Generator(5489).uniform(0, 1, 1300) * 2**24
    assert np.array_equal(drawn, words & (2**24 - 1))


def test_int64_has_63_bits():
    generator = Generator(0)
    drawn = [generator.int64() for _ in range(100)]
    assert 2**62 < max(drawn) < 2**63
    assert min(drawn) >= 0


def test_only_the_low_32_bits_of_a_seed_count():
    for seed in (2**32 + 5, 2**40 + 5, 2**63 + 5):
        assert Generator(seed).int64() == Generator(5).int64()
        assert Generator(seed).seed == seed
    assert Generator(2**64 - 1).int64() == Generator(2**32 - 1).int64()


def exactly(u, low, high, dtype):
    """u * (high - low) + low in rational numbers, rounded once."""
    low, high = dtype(low), dtype(high)
    value = Fraction(float(u)) * Fraction(float(high - low)) + Fraction(float(low))
    if dtype is np.float64:
        return float(value)
    nearest = np.float32(float(value))
    near = [np.nextafter(nearest, np.float32(d)) for d in (-np.inf, np.inf)] + [nearest]
    return min(near, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.int32)) & 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(-0.2, 0.2), (-1 / 3, 1 / 3), (0.1, 0.7), (2, 5.3), (-1e-3, 1e3), (-7e5, 1)])
def test_uniform_is_rounded_once(dtype, low, high):
    n = 2001
    u = Generator(3).uniform(0, 1, n, dtype)
    x = Generator(3).uniform(low, high, n, dtype)
    assert x.dtype == dtype
    assert x.tolist() == [exactly(v, low, high, dtype) for v in u]


def test_uniform_shapes():
    assert Generator(0).uniform(0, 1, ()).shape == ()
    assert Generator(0).uniform(0, 1, (3, 0, 2)).shape == (3, 0, 2)
    assert Generator(0).uniform(2, 2, 3).tolist() == [2, 2, 2]
    one = Generator(0)
    parts = np.concatenate([one.uniform(0, 1, 5), one.uniform(0, 1, (2, 3)).ravel()])
    assert np.array_equal(parts, Generator(0).uniform(0, 1, 11))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, 0, 3), ValueError, "low must not be above high, got low 1.0 and high 0.0"),
        ((float("nan"), 0, 3), ValueError, "low must be finite, got nan"),
        ((0, "1", 3), TypeError, "high must be a number, got '1'"),
        ((0, 1e39, 3), ValueError, "low and high must span at most 3.403e\\+38 in float32, got 0.0 and 1e\\+39"),
        ((-3e38, 3e38, 3), ValueError, "must span at most"),
        ((0, 1e301, 3, np.float64), ValueError, "low and high must span at most 1e\\+300 in float64"),
        ((0, 1, -3), ValueError, "shape must be at least 0, got -3"),
        ((0, 1, (2, 1.5)), TypeError, "shape must be an integer, got 1.5"),
        ((0, 1, 3, np.float16), TypeError, "dtype must be float32 or float64, got <class 'numpy.float16'>"),
        ((0, 1, 3, None), TypeError, "dtype must be float32 or float64, got None"),
        ((0, 1, 3, "nonsense"), TypeError, "dtype must be float32 or float64, got 'nonsense'"),
    ],
)
def test_uniform_refuses(arguments, error, message):
    generator = Generator(0)
    with pytest.raises(error, match=message):
        generator.uniform(*arguments)
    assert generator.int64() == Generator(0).int64()


def test_bernoulli():
    p = np.array([[0, 0.25, 0.5], [0.75, 1, 0.5]], np.float32)
    u = Generator(4).uniform(0, 1, (2, 3))
    drawn = Generator(4).bernoulli(p)
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn, u < p)
    assert np.array_equal(Generator(4).bernoulli(np.asfortranarray(p)), drawn)
    assert Generator(4).bernoulli(np.ones(10000)).all()
    assert not Generator(4).bernoulli(np.zeros(10000, np.float32)).any()
    assert Generator(4).bernoulli(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        ([0.5], TypeError, "p must be a float32 or float64 array, got list"),
        (np.array([1]), TypeError, "p must be a float32 or float64 array, got int64"),
        (np.array([0.5, 1.5]), ValueError, r"p must lie in \[0, 1\], got values from 0.5 to 1.5"),
        (np.array([np.nan, 0.5]), ValueError, r"p must lie in \[0, 1\], got values from nan to nan"),
    ],
)
def test_bernoulli_refuses(p, error, message):
    with pytest.raises(error, match=message):
        Generator(0).bernoulli(p)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000])
def test_randperm_is_a_permutation_and_draws_one_number_less(n):
    generator = Generator(9)
    order = generator.randperm(n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
    other = Generator(9)
    other.uniform(0, 1, max(n - 1, 0))
    assert generator.int64() == other.int64()


def test_randperm_refuses():
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        Generator(0).randperm(-1)
    with pytest.raises(ValueError, match="n must be below 214748364, got 214748364"):
        Generator(0).randperm(214748364)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ValueError, "seed must be at least 0, got -1"),
        (2**64, ValueError, r"seed must be below 2\*\*64, got 18446744073709551616"),
        (1.0, TypeError, "seed must be an integer, got 1.0"),
        (True, TypeError, "seed must be an integer, got True"),
        (None, TypeError, "seed must be an integer, got None"),
    ],
)
def test_a_seed_is_checked(seed, error, message):
    with pytest.raises(error, match=message):
        Generator(seed)


def test_a_state_goes_through_a_file_without_pickle(tmp_path):
    generator = Generator(2**64 - 3)
    generator.uniform(0, 1, 1001)
    np.savez(tmp_path / "state.npz", **generator.get_state())
    ahead = generator.uniform(0, 1, 1001)
    other = Generator(0)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        other.set_state(state)
    assert other.seed == 2**64 - 3
    assert np.array_equal(other.uniform(0, 1, 1001), ahead)


def test_a_state_is_a_copy():
    generator = Generator(0)
    state = generator.get_state()
    state["key"][:] = 0
    assert generator.int64() == Generator(0).int64()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": np.zeros(624, np.int64)}, r"state\['key'\] is int64 \(624,\), expected uint32 \(624,\)"),
        ({"key": np.zeros(3, np.uint32)}, r"state\['key'\] is uint32 \(3,\), expected uint32 \(624,\)"),
        ({"position": 625}, r"state\['position'\] must be at most 624, got 625"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_a_wrong_state_changes_nothing(change, message):
    generator = Generator(0)
    with pytest.raises(ValueError, match=message):
        generator.set_state(Generator(1).get_state() | change)
    assert generator.int64() == Generator(0).int64()


KEY = Generator(1).get_state()["key"]
ODD = [
    None, "seed", b"", {}, [], [1, [2]], len, 1j, True, -1, 0, 3, 624, 625, 2**64 - 1, 2**64, 10**400, 0.5,
    float("nan"), np.int64(4), np.uint64(2**64 - 1), np.array(5), np.array(5.0), np.array(None), np.array([5]),
    np.array(-5), np.ma.masked_array(5, True), KEY, KEY.astype(">u4"), KEY.astype(np.int64), KEY.astype(object),
    KEY[:, None], KEY[1:], np.ma.masked_array(KEY, KEY % 2), np.repeat(KEY, 2)[::2],
]  # fmt: skip
LOADS = {"seed": 8, "position": 5, "key": 2, "more": len(ODD)}


@pytest.mark.parametrize("name", LOADS)
def test_a_state_with_any_value_loads_whole_or_is_refused_and_nothing_changed(name):
    """Nor is what was good in it taken over."""
    loaded = 0
    for value in ODD:
        generator = Generator(7)
        before = generator.get_state()
        expected = {**Generator(1).get_state(), name: value}
        try:
            generator.set_state(expected)
            loaded += 1
        except (ValueError, TypeError) as error:
            assert str(error).startswith(("state", "seed"))
            expected = before
        for key, kept in generator.get_state().items():
            np.testing.assert_array_equal(kept, expected[key])
    assert loaded == LOADS[name]


@pytest.mark.parametrize(
    "name, value, kind, message",
    [
        ("key", [1, [2]], TypeError, r"state\['key'\] is not an array"),
        ("key", np.ma.masked_array(np.ones(624, np.uint32), True), TypeError, r"state\['key'\] is a masked array"),
        ("seed", np.ma.masked_array(5, True), TypeError, r"state\['seed'\] is a masked array"),
        ("position", np.array(None), TypeError, r"state\['position'\] must be an integer, got None"),
    ],
)
def test_a_part_is_refused_by_name(name, value, kind, message):
    with pytest.raises(kind, match=message):
        Generator(0).set_state({**Generator(1).get_state(), name: value})


@pytest.mark.parametrize("state", [None, 3, "seed", ["seed", "position", "key"], np.zeros(3)], ids=repr)
def test_a_state_that_is_no_mapping_is_refused(state):
    with pytest.raises(TypeError, match=r"state must be what get_state\(\) returned, got "):
        Generator(0).set_state(state)


def test_an_incomplete_state_is_refused():
    with pytest.raises(ValueError, match="state has no 'position', expected 'seed', 'position' and 'key'"):
        Generator(0).set_state({"seed": 0})


def test_as_generator_shares_a_generator():
    generator = Generator(0)
    assert as_generator(generator) is generator
    assert as_generator(5).seed == 5


def test_init_bounds():
    assert init_bounds(1) == (0.9999999999999999, 1.0)
    assert init_bounds(25) == (0.19999999999999998, 0.2)
    with pytest.raises(ValueError, match="fan_in must be at least 1, got 0"):
        init_bounds(0)
