"""npsnn check: every row holds on each backend, and a broken engine fails in the row that is about it."""

import itertools

import numpy as np
import pytest

from npsnn import backends, cli, surrogate
from npsnn.verify import check as module
from npsnn.verify import golden
from npsnn.verify.check import Row, available, certificate, check

OPS = ["adam", "conv2d", "leaky", "linear", "loss", "losses", "network", "pool2d", "surrogate"]


@pytest.fixture(scope="module", params=["reference", "cpu"])
def rows(request):
    if request.param == "cpu":
        pytest.importorskip("numba", reason="needs Numba")
    return check((request.param,))


def test_every_row_holds(rows):
    assert [r for r in rows if not r.ok] == []
    assert sorted({r.op for r in rows}) == OPS


def test_the_number_of_cases(rows):
    """1,128 stored cases, 662 of them in float32 too, and what is computed on the spot."""
    stored = sum(r.cases for r in rows if "vectors" in r.claim)
    assert stored == 1128 + 662
    on_the_spot = 2 + 3 + 1 + 24 + 5 + 6
    assert sum(r.cases for r in rows) - stored == on_the_spot + (9 if rows[0].backend == "reference" else 4 + 40)


def test_the_networks_of_the_complex_step_fire():
    """A silent network would prove nothing: each has gradients, and spikes that the reset sees."""
    for op, reports in module._networks("reference").items():
        for k, report in enumerate(reports):
            assert report().largest > 1e-3, (op, k)


def broken(monkeypatch, place, name, change):
    good = getattr(place, name)
    monkeypatch.setattr(place, name, lambda *args, **options: change(good(*args, **options)))


def failed(rows):
    return {(r.op, r.claim.split()[0]) for r in rows if not r.ok}


def test_a_wrong_reset_gradient_fails(monkeypatch):
    """dI ten parts in a million too large, in every second entry."""
    ops = backends.load("reference")

    def change(result):
        dI = result[0] * np.where(np.arange(result[0].size) % 2, 1 + 1e-5, 1).reshape(result[0].shape)
        return (dI, *result[1:])

    broken(monkeypatch, ops.leaky, "leaky_backward", change)
    found = failed(check(("reference",)))
    assert {("leaky", "dyadic"), ("leaky", "certified"), ("leaky", "backward"), ("network", "BPTT")} <= found
    assert not {("conv2d", "dyadic"), ("pool2d", "dyadic"), ("adam", "certified")} & found


@pytest.mark.filterwarnings("ignore:(invalid|overflow|divide):RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_fails(monkeypatch, value):
    broken(monkeypatch, surrogate.Surrogate, "derivative", lambda d: np.full_like(d, value))
    found = failed([*module._golden("reference"), *module._complex_step("reference"), module._smooth()])
    assert {("surrogate", "dyadic"), ("leaky", "dyadic"), ("leaky", "backward"), ("surrogate", "surrogates")} <= found


def test_a_row_without_cases_is_no_proof():
    assert not Row("conv2d", "cpu", "claim", 0, 0.0, 1.0).ok
    assert not Row("conv2d", "cpu", "claim", 1, np.nan, 1.0).ok
    assert Row("conv2d", "cpu", "claim", 1, 1.0, 1.0).ok


def test_the_certificate_says_what_computed_it_and_the_verdict():
    good, bad = Row("conv2d", "cpu", "first", 3, 0.0, 0.0), Row("leaky", "cpu", "second", 4, 2.0, 1.0)
    text = certificate([good, bad])
    assert f"numpy {np.__version__}" in text and golden.digest()[:16] in text and module.processor() in text
    assert text.splitlines()[2].endswith("FAILED") and not text.splitlines()[1].endswith("FAILED")
    assert text.splitlines()[-1] == "FAILED: 1 of 2 rows, 7 cases"
    assert certificate([good]).splitlines()[-1] == "PASSED: 1 of 1 rows, 3 cases"


@pytest.mark.parametrize(("worst", "status"), [(0.0, 0), (1.0, 1)])
def test_the_exit_status(monkeypatch, capsys, worst, status):
    asked = []

    def one_row(on):
        asked.append(on)
        return [Row("conv2d", "reference", "claim", 1, worst, 0.5)]

    monkeypatch.setattr(module, "check", one_row)
    assert cli.main(["check"]) == status
    assert cli.main(["check", "--backend", "reference"]) == status
    assert asked == [None, ("reference",)]
    assert capsys.readouterr().out.count("PASSED" if status == 0 else "FAILED: 0 of 1") == 2


def test_the_backends_that_are_found(monkeypatch):
    assert available()[0] == "reference"
    monkeypatch.setattr(backends, "resolve", lambda name: {"reference": name}[name] if name == "reference" else 1 / 0)
    with pytest.raises(ZeroDivisionError):  # only a backend that says that it is absent is left out
        available()


def test_claims_are_told_apart(rows):
    assert len({(r.op, r.backend, r.claim) for r in rows}) == len(rows)
    assert all(a != b for a, b in itertools.pairwise(rows))
