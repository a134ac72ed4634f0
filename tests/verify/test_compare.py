"""compare: the first place, a tie or a difference of meaning, and the misreading, for a wrong engine of each kind."""

import numpy as np
import pytest

import npsnn
from npsnn import cli, surrogate
from npsnn.verify.compare import compare
from npsnn.verify.recording import Recording, record, save
from tests.verify import wrong_engine

T, B = 12, 3


def neuron(beta, reset="subtract", detach=True):
    return npsnn.Leaky(beta, 1.0, surrogate.fast_sigmoid(4.0), reset_mechanism=reset, detach_reset=detach)


def dense(reset="subtract", detach=True):
    return [npsnn.Linear(3, 5), neuron(0.5, reset, detach), npsnn.Linear(5, 2), neuron(0.75, reset, detach)]


def images(reset="subtract", detach=True):
    return [
        npsnn.Conv2d(1, 2, 3), neuron(0.5, reset, detach), npsnn.MaxPool2d(2), npsnn.Flatten(), npsnn.Linear(8, 2),
        neuron(0.75, reset, detach),
    ]  # fmt: skip


def runs(layers, wrong, rng):
    """(npsnn's recording, the other engine's) of one network on dyadic numbers, where rounding plays no part."""
    net = npsnn.Sequential(*layers, dtype="float64", backend="reference")
    for name, value in net.params.items():
        low = -1 if name.endswith("bias") else -2
        value[...] = rng.integers(low, 5, value.shape) / 4
    features = (1, 6, 6) if isinstance(layers[0], npsnn.Conv2d) else (3,)
    x = rng.integers(0, 5, (T, B, *features)) / 4
    dspk, dmem = rng.integers(-4, 5, (2, T, B, 2)) / 4
    A = record(net, x, dspk=dspk, dmem=dmem)
    arrays = wrong_engine.run([dict(spec) for spec in A.layers], net.state_dict(), x, dspk, dmem, wrong)
    return A, Recording((), None, arrays)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("layers", [dense, images])
def test_two_right_engines_are_the_same(layers, reset, detach, rng):
    A, B_ = runs(layers(reset, detach), "", rng)
    found = compare(A, B_)
    assert found.verdict == "same" and found.place is None and found.ties == ()
    assert set(found.compared) == set(A.arrays) == set(B_.arrays) and found.only_one == ()
    assert A.arrays["1.S"].mean() > 0.1 and all(np.abs(a).max() > 0 for a in A.arrays.values())


# Misreading -> (network, reset, detached, the array where it shows first, words of the explanation).
WRONG = {
    "at threshold": (dense, "subtract", True, "1.", "membrane at its threshold fires"),
    "previous spike": (dense, "subtract", True, "1.", "spike of the previous membrane"),
    "early": (dense, "subtract", True, "1.", "one step early"),
    "late": (dense, "subtract", True, "1.", "one step late"),
    "decayed reset": (dense, "subtract", True, "1.U", "Beta applied to the reset"),
    "input dropped": (dense, "zero", True, "1.U", "drops the step's input"),
    "scaled input": (dense, "zero", True, "1.U", "input scaled by 1 - beta"),
    "reset zero": (dense, "subtract", True, "1.U", 'Reset "zero" for "subtract"'),
    "reset subtract": (images, "zero", True, "1.U", 'Reset "subtract" for "zero"'),
    "reset none": (images, "subtract", True, "1.U", 'Reset "none" for "subtract"'),
    "no memory": (images, "none", True, "1.U", "membrane is not carried over"),
    "other beta": (images, "subtract", True, "1.U", "Another beta: 0.8125 for 0.5"),
    "no bias": (dense, "subtract", True, "0.y", "bias is left out"),
    "bias twice": (dense, "subtract", True, "0.y", "bias is added twice"),
    "flipped": (images, "subtract", True, "0.y", "kernel is flipped"),
    "attached": (dense, "subtract", True, "3.dU", "reset is not detached"),
    "detached": (dense, "zero", False, "3.dU", "reset is detached"),
    "no path": (dense, "subtract", True, "3.dU", "No path through time"),
    "no dmem": (images, "subtract", True, "5.dU", "gradient of the recorded membrane is left out"),
    "at U": (dense, "subtract", True, "3.dU", "surrogate at U, where the law has it at U - theta"),
    "not cut": (dense, "zero", True, "3.dU", "does not cut the path through time"),
    "smaller": (dense, "subtract", False, "3.dU", "surrogate 0.125 times as large"),
    "steeper": (images, "subtract", True, "5.dU", "Surrogate fast_sigmoid(slope=8.0) for fast_sigmoid(slope=4.0)"),
    "other surrogate": (dense, "none", True, "3.dU", "Surrogate atan(alpha=2.0) for fast_sigmoid(slope=4.0)"),
    "last": (images, "subtract", True, "1.dS", "last maximum of a window"),
    "whole": (images, "subtract", True, "1.dS", "Every maximum of a window gets the whole"),
    "shared": (images, "subtract", True, "1.dS", "maxima of a window share"),
    "mean over batch": (dense, "subtract", True, "grad.2.", "times A in this array (1 / B, the number of samples)"),
    "mean over time": (dense, "subtract", True, "grad.2.", "times A in this array (1 / T, the number of steps)"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_engine_of_each_kind(wrong, rng):
    layers, reset, detach, where, words = WRONG[wrong]
    A, other = runs(layers(reset, detach), wrong, rng)
    found = compare(A, other)
    assert found.verdict == "meaning" and found.ties == ()
    assert found.place.array.startswith(where), str(found)
    assert [text for text in found.explanations if words in text], str(found)
    assert len(found.explanations) <= 2, found.explanations
    a, b = A.arrays[found.place.array], other.arrays[found.place.array]
    at = (found.place.step, found.place.sample, *found.place.neuron)
    at = found.place.neuron if found.place.step is None else at
    assert (a[at], b[at]) == (found.place.a, found.place.b) and a[at] != b[at]


@pytest.mark.parametrize("wrong", ["late", "attached"])
def test_the_place_is_the_first(wrong, rng):
    """In time for the forward pass, from the end of time for the backward pass."""
    A, other = runs(dense(), wrong, rng)
    place = compare(A, other).place
    different = A.arrays[place.array] != other.arrays[place.array]
    steps = np.flatnonzero(different.any(axis=(1, 2)))
    assert place.step == (steps[0] if wrong == "late" else steps[-1])


def test_the_equation_has_the_numbers(rng):
    A, other = runs(dense(), "decayed reset", rng)
    found = compare(A, other)
    t, b, n = found.place.step, found.place.sample, found.place.neuron[0]
    U, I = A.arrays["1.U"], A.arrays["0.y"]
    by_law = (0.5 * U[t - 1, b, n] + I[t, b, n]) - 1.0
    assert U[t - 1, b, n] > 1 and by_law == U[t, b, n]
    text = f"(0.5 * {float(U[t - 1, b, n])!r} + {float(I[t, b, n])!r}) - 1 * 1.0 = {float(by_law)!r}"
    assert text in found.equation and f"recorded {found.place.b!r}" in found.equation.splitlines()[1]


def test_a_difference_that_nothing_explains(rng):
    A, other = runs(dense(), "", rng)
    U = other.arrays["1.U"].copy()
    U[4, 1, 2] += 0.25
    found = compare(A, other._replace(arrays={**other.arrays, "1.U": U}))
    assert (found.place.layer, found.place.step, found.place.sample, found.place.neuron) == (1, 4, 1, (2,))
    assert found.explanations == () and "no known misreading" in str(found)


def test_other_weights_are_said_to_be_other_weights(rng):
    A, other = runs(dense(), "", rng)
    weight = other.arrays["2.weight"] + 0.5
    found = compare(A, other._replace(arrays={**other.arrays, "2.weight": weight}))
    assert found.place.array == "2.weight" and "not of the same input and parameters" in found.explanations[0]


# --- ties ----------------------------------------------------------------------------------------------------------


def tie(rng, sample=1, step=3):
    """Two right recordings but for a membrane on either side of its threshold, by one rounding, in one sample."""
    A, other = runs(dense(), "", rng)
    a, b = ({n: v.copy() for n, v in r.arrays.items()} for r in (A, other))
    U = a["1.U"]
    n = int(np.argmin(U[step, sample]))
    a["1.U"][step, sample, n], a["1.S"][step, sample, n] = np.nextafter(1.0, 2.0), 1.0
    b["1.U"][step, sample, n], b["1.S"][step, sample, n] = 1.0, 0.0
    return A._replace(arrays=a), other._replace(arrays=b), (step, sample, n)


def test_a_rounding_tie_is_told_from_a_difference_of_meaning(rng):
    A, other, (step, sample, n) = tie(rng)
    found = compare(A, other)
    assert found.verdict == "tie" and len(found.ties) == 1 and found.explanations == ()
    assert (found.place.array, found.place.step, found.place.sample, found.place.neuron) == ("1.S", step, sample, (n,))
    assert "a rounding tie" in str(found)


def test_what_follows_a_tie_is_not_compared_in_its_sample(rng):
    A, other, (_, sample, _) = tie(rng)
    for name in ("2.y", "3.U", "3.dU", "grad.0.weight"):
        changed = other.arrays[name].copy()
        changed[(slice(None), sample) if changed.ndim == 3 else ...] += 1
        other.arrays[name] = changed
    assert compare(A, other).verdict == "tie"


def test_a_difference_of_meaning_in_another_sample_is_still_found(rng):
    A, other, (_, sample, _) = tie(rng)
    other.arrays["3.U"] = other.arrays["3.U"] + np.where(np.arange(B) == 2, 0.25, 0.0)[:, None]
    found = compare(A, other)
    assert found.verdict == "meaning" and len(found.ties) == 1 and found.place.sample == 2 != sample


def test_both_exactly_at_the_threshold_is_a_matter_of_meaning(rng):
    A, other, (step, sample, n) = tie(rng)
    A.arrays["1.U"][step, sample, n] = 1.0
    assert compare(A, other).verdict == "meaning"


def test_a_tie_at_a_learnt_threshold(rng):
    """theta is what the recording holds, not what the layer was made with."""
    net = npsnn.Sequential(npsnn.Linear(3, 5), npsnn.Leaky(0.5, learn_threshold=True), dtype="float64")
    net.params["1.threshold"][...] = 0.25
    A = record(net, rng.uniform(0, 1, (T, B, 3)))
    a, b = ({n: v.copy() for n, v in A.arrays.items()} for _ in range(2))
    a["1.U"][2, 0, 1], a["1.S"][2, 0, 1] = np.nextafter(0.25, 1), 1.0
    b["1.U"][2, 0, 1], b["1.S"][2, 0, 1] = 0.25, 0.0
    assert compare(A._replace(arrays=a), A._replace(arrays=b)).verdict == "tie"


# --- tolerance, shapes, what is missing ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "off", "verdict"), [
    ("float64", 1e-13, "same"), ("float64", 1e-11, "meaning"), ("float32", 1e-6, "same"), ("float32", 1e-4, "meaning"),
])  # fmt: skip
def test_what_counts_as_rounding(dtype, off, verdict, rng):
    A, other = runs(dense(), "", rng)
    U = (other.arrays["1.U"] + off * np.abs(other.arrays["1.U"]).max()).astype(dtype)
    changed = other._replace(arrays={**other.arrays, "1.U": U})
    assert compare(A, changed).verdict == verdict
    assert compare(A, changed, tolerance=1e-3).verdict == "same"
    assert compare(A, changed, tolerance=0.0).verdict == "meaning"


def test_a_static_input_may_be_recorded_once_or_at_every_step(rng):
    net = npsnn.Sequential(*dense(), dtype="float64")
    x, d = rng.uniform(0, 2, (B, 3)), rng.standard_normal((T, B, 2))
    A = record(net, x, T, dspk=d)
    by_step = record(net, np.repeat(x[None], T, axis=0), dspk=d)
    arrays = {n: a for n, a in by_step.arrays.items() if n not in ("x", "grad.x")}
    assert A.arrays["0.y"].shape[0] == 1 and arrays["0.y"].shape[0] == T
    found = compare(A, Recording((), None, arrays))
    assert found.verdict == "same" and "0.dy" in found.compared and found.only_one == ("grad.x", "x")


def test_only_what_both_have_is_compared(rng):
    A, other = runs(dense(), "late", rng)
    spikes = {n: a for n, a in other.arrays.items() if n.endswith(".S")}
    found = compare(A, Recording((), None, spikes))
    assert found.compared == ("1.S", "3.S") and found.place.array == "1.S"
    assert any("one step late" in text for text in found.explanations)


def test_what_cannot_be_compared_is_refused(rng):
    A, other = runs(dense(), "", rng)
    with pytest.raises(ValueError, match="A does not say what the network is"):
        compare(other, A)
    with pytest.raises(ValueError, match="no array in common"):
        compare(A, Recording((), None, {"9.S": np.zeros((T, B, 2))}))
    with pytest.raises(ValueError, match=r"1\.U has shape \(12, 3, 5\) in A and \(12, 3, 4\) in B"):
        compare(A, Recording((), None, {"1.U": np.zeros((T, B, 4))}))


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "status"), [("", 0), ("late", 1)])
def test_the_command(wrong, status, rng, tmp_path, capsys):
    A, other = runs(dense(), wrong, rng)
    save(A, tmp_path / "A")
    save(other, tmp_path / "B.zip")
    assert cli.main(["compare", str(tmp_path / "A"), str(tmp_path / "B.zip")]) == status
    assert ("same" if status == 0 else "one step late") in capsys.readouterr().out


def test_ties_are_a_difference_unless_allowed(rng, tmp_path, capsys):
    A, other, _ = tie(rng)
    save(A, tmp_path / "A")
    save(other, tmp_path / "B")
    paths = [str(tmp_path / "A"), str(tmp_path / "B")]
    assert cli.main(["compare", *paths]) == 1
    assert cli.main(["compare", *paths, "--allow-ties"]) == 0
    assert cli.main(["compare", *paths, "--tolerance", "1e-17"]) == 1


def test_bad_usage(tmp_path, capsys):
    assert cli.main(["compare", str(tmp_path / "none"), str(tmp_path / "none")]) == 2
    assert cli.main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "no arrays in it" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path), str(tmp_path), "--tolerance", "-1"]) == 2
