"""What a state dict may hold: every mapping loads whole, or is refused with everything left as it was."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import npsnn

drawn = settings(
    max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)

BETA = np.array([0.25, 0.9])


def network(dtype=np.float32):
    neurons = [
        npsnn.Leaky(BETA, threshold=2.0, reset_mechanism="zero"),
        npsnn.Leaky(0.9, learn_beta=True, learn_threshold=True),
    ]
    return npsnn.Sequential(
        npsnn.Linear(2, 2), neurons[0], npsnn.Linear(2, 2), neurons[1], backend="reference", seed=1, dtype=dtype
    )


def constants():
    """The neuron buffers that snnTorch keeps of the first neurons."""
    return {
        "1.beta": BETA.astype(np.float32),
        "1.threshold": np.float32(2),
        "1.graded_spikes_factor": np.float32(1),
        "1.reset_mechanism_val": np.int64(1),
    }


class NoArray:
    """As a tensor that requires a gradient: it cannot become an array, and says so by a RuntimeError."""

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


MASKED = np.ma.masked_array(np.ones((2, 2), np.float32), np.eye(2))
ODD = [
    None, "0.5", b"0.5", "one", {}, {"a": 1}, {0.5}, len, NoArray(), 1j, 0.5 + 0j, True, -1, 2**63, 10**400, 1e300,
    float("nan"), float("inf"), [], [[]], [[1.0], [1.0, 2.0]], [[0.25, 0.5], 1.0], [0.25, None], ["0.25", "0.9"],
    [[[0.5]]], range(2), np.float16(0.5), np.longdouble(0.5), np.float64(0.9), np.datetime64("2000-01-01"),
    np.array([0.5, None], object), np.array(0.5, object), np.array([0.25, 0.9 + 1j]), np.array([0.25, 0.9 + 0j]),
    np.array(["0.25", "0.9"]), np.zeros((1,), "f4,i4"), np.zeros((0, 3)), np.empty((2, 0), np.float32), MASKED,
    np.ma.masked_array([0.25, 0.9], [0, 1]), np.ones((2, 2), bool), np.ones((2, 2), np.uint8), np.ones((2, 2), ">f4"),
    np.asfortranarray(np.arange(4, dtype=np.float32).reshape(2, 2)), np.broadcast_to(np.float32(3), (2, 2)),
]  # fmt: skip
GOOD = [*network().params, *constants()]
NAMES = [
    *GOOD, "0.beta", "1.weight", "1.", ".beta", "", "beta", "9.beta", "01.beta", "-1.beta", "\u0661.beta", "².beta",
    "1.beta.0", "9" * 5000 + ".beta", 0, None, 1.5, True, (0, "weight"), b"0.weight", frozenset(),
]  # fmt: skip


def values(name):
    """Good for `name`, an array of floats, or anything."""
    good = {**network().state_dict(), **constants()}.get(name, np.float32(0)) if isinstance(name, str) else 0.0
    arrays = npst.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.complex64, np.int64]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
    return st.one_of(st.just(good), st.sampled_from(ODD), arrays)


@st.composite
def mappings(draw):
    names = draw(st.lists(st.sampled_from(NAMES), max_size=3))
    whole = {**network().state_dict(), **constants()} if draw(st.booleans()) else {}
    return {**whole, **{name: draw(values(name)) for name in names}}


def test_any_mapping_loads_whole_or_is_refused_and_nothing_changed():
    loaded, refused = [], []

    @drawn
    @given(mappings(), st.booleans())
    def check(mapping, strict):
        net = network()
        before = net.state_dict()
        try:
            missing, unexpected = net.load_state_dict(mapping, strict=strict)
        except (ValueError, TypeError) as error:
            assert str(error).startswith("state dict: ")
            mapping = {}
            refused.append(error)
        else:
            assert set(missing) == set(before) - set(mapping)
            assert set(unexpected) == {name for name in mapping if name not in GOOD}
            assert not (strict and (missing or unexpected))
            loaded.append(mapping)
        for name, value in before.items():
            np.testing.assert_array_equal(net.params[name], mapping.get(name, value))

    check()
    assert len(loaded) > 40 and len(refused) > 40


@pytest.mark.parametrize(
    "name, value, kind, message",
    [
        ("0.weight", None, TypeError, "is object, expected float32"),
        ("0.weight", [[1.0, 2.0], [3.0]], TypeError, "is not an array: "),
        ("0.weight", NoArray(), TypeError, "is not an array: Can't call numpy"),
        ("0.weight", MASKED, TypeError, "is a masked array"),
        ("0.weight", np.ones((2, 2), complex), TypeError, "is complex128, expected float32"),
        ("0.weight", np.ones((2, 2)), TypeError, "is float64, .* would lose digits"),
        ("0.weight", np.float32(1), ValueError, r"has shape \(\), expected \(2, 2\)"),
        ("3.beta", np.ones(1, np.float32), ValueError, r"has shape \(1,\), expected \(\)"),
        ("1.beta", None, TypeError, "is object, expected a number or an array of numbers"),
        ("1.beta", "0.5", TypeError, "is <U3, expected a number"),
        ("1.beta", NoArray(), TypeError, "is not an array: Can't call numpy"),
        ("1.beta", np.ma.masked_array(BETA, [0, 1]), TypeError, "is a masked array"),
        ("1.beta", BETA + 1j, TypeError, "is complex128, expected a number"),
        ("1.beta", BETA + 0j, TypeError, "is complex128, expected a number"),
        ("1.beta", np.zeros((0, 2)), ValueError, r"has shape \(0, 2\), the network's has \(2,\)"),
        ("1.beta", np.zeros(3), ValueError, r"has shape \(3,\), the network's has \(2,\)"),
        ("1.beta", [0.25, 0.5], ValueError, r"is 0.5 at \(1,\), the network's is 0.9"),
        ("1.beta", [0.25, np.nan], ValueError, r"is nan at \(1,\), the network's is 0.9"),
        ("1.threshold", 1e300, ValueError, r"is 1e\+300, the network's is 2.0"),
        ("1.threshold", 2**99, TypeError, "is object, expected a number"),
        ("1.reset_mechanism_val", True, TypeError, "is bool, expected a number"),
        ("1.reset_mechanism_val", 2, ValueError, "is 2, the network's is 1"),
    ],
)  # fmt: skip
def test_a_value_is_refused_by_its_name(name, value, kind, message):
    with pytest.raises(kind, match=f"^state dict: {name} {message}"):
        network().load_state_dict({**network().state_dict(), **constants(), name: value})


@pytest.mark.parametrize("value", [0.9, np.float32(0.9), np.float16(0.9), np.full(3, 0.9), np.full((2, 1), 0.9)])
@pytest.mark.parametrize("ours", [0.9, [0.9], [[0.9]]], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_may_have_another_shape_and_precision(value, ours, dtype):
    """The same number for every neuron is the same neuron, and 0.9 is 0.9 in the coarser of the two dtypes."""
    net = npsnn.Sequential(npsnn.Leaky(ours), backend="reference", dtype=dtype)
    net.load_state_dict({"0.beta": value})
    with pytest.raises(ValueError, match=r"state dict: 0\.beta is 0\.89"):
        net.load_state_dict({"0.beta": np.multiply(value, np.asarray(value).dtype.type(0.996))})


def test_views_of_the_network_itself_can_be_exchanged():
    net = network()
    before = net.state_dict()
    net.load_state_dict({**net.params, "0.weight": net.params["2.weight"], "2.weight": net.params["0.weight"]})
    np.testing.assert_array_equal(net.params["0.weight"], before["2.weight"])
    np.testing.assert_array_equal(net.params["2.weight"], before["0.weight"])


@pytest.mark.parametrize("mapping", [None, 3, "0.weight", [("0.weight", 1)], {"0.weight"}, np.zeros(3)], ids=repr)
def test_what_is_no_mapping_is_refused(mapping):
    with pytest.raises(TypeError, match=r"^state dict: must map names to arrays, got "):
        network().load_state_dict(mapping)


@pytest.mark.parametrize("name", [0, None, ("0", "weight"), b"0.weight"], ids=repr)
@pytest.mark.parametrize("strict", [True, False])
def test_a_name_that_is_no_string_is_refused(name, strict):
    with pytest.raises(TypeError, match=r"^state dict: a name must be a string, got "):
        network().load_state_dict({**network().state_dict(), name: np.zeros(3)}, strict=strict)
