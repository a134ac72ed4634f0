"""docs/other_libraries.md against the libraries themselves: its neurons, their gradients and its surrogates.

Live where a library is installed; everywhere against recorded.json, which tests/rosetta/record.py made with them.
"""

import importlib.metadata
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from npsnn import surrogate
from tests.rosetta.libraries import RUNS, SURROGATES, quietly

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "other_libraries.md").read_text("utf-8")
RECORDED = json.loads((ROOT / "tests" / "rosetta" / "recorded.json").read_text("utf-8"))
BLOCK = re.compile(r"^```python( continues)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = {"mlGeNN"}  # needs GeNN and a C++ compiler: from its source alone
SAME = {"sinabs, MultiSpike": "sinabs, SingleSpike"}  # below two thresholds


# --- what the page says --------------------------------------------------------------------------------------------


@cache
def neurons():
    """Name -> what the page's program of that name leaves behind; each begins with its name as a comment."""
    found, so_far = {}, ""
    for continues, code in BLOCK.findall(PAGE):
        so_far = so_far + code if continues else code
        if code.startswith("# "):
            found[code.splitlines()[0][2:]] = names = {}
            exec(so_far, names)
    return found


@cache
def derivatives():
    """Name -> (sigma' as implemented, npsnn's surrogate or None where it is a custom one)."""
    found = {}
    for _, code in BLOCK.findall(PAGE):
        if "implemented = {" in code:
            names = {}
            exec(code, names)
            found |= {name: (f, names["built_in"].get(name)) for name, f in names["implemented"].items()}
    return found


def rows():
    """(name, at 0, at 0.1, in npsnn) of every row of the page's tables of surrogates."""
    text = PAGE[PAGE.index("## Surrogates") : PAGE.index("## The neuron that")]
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        library = section.split()[0].rstrip(",")
        for line in re.findall(r"^\| (?!name|---)(.*) \|$", section, re.M):
            name, _, _, at_0, at_01, ours = (cell.strip() for cell in line.split("|"))
            alone = section.startswith("lava-dl")  # a section of several libraries names each
            yield name if alone else f"{library} {name}", at_0, at_01, ours.strip("`")


def test_the_page_has_a_program_for_every_recording_and_no_other():
    assert set(neurons()) - NOT_RUN == set(RUNS) - set(SAME)
    assert set(RUNS) == set(RECORDED["neurons"])
    assert set(derivatives()) - {"mlGeNN e-prop"} == set(SURROGATES) == set(RECORDED["surrogates"])
    assert all(neuron["x"].tolist() == RECORDED["x"] for neuron in neurons().values())


@pytest.mark.parametrize("name", list(neurons()))
def test_some_membrane_is_the_threshold(name):
    of = neurons()[name]
    _, U = of["neuron"](of["layer"], of["currents"](of["x"]), of["before"])
    assert np.abs(U - of["layer"].threshold).min() <= of["tie"]


def test_the_tables_of_surrogates_say_what_their_programs_compute():
    names = [name for name, *_ in rows()]
    assert names == list(derivatives())
    for name, at_0, at_01, ours in rows():
        implemented, built_in = derivatives()[name]
        for x, said in ((0.0, at_0), (0.1, at_01)):
            assert f"{implemented(np.array(x)):.3g}" == said, name
        if built_in is None:
            assert ours == "custom", name
        else:
            assert eval(ours, {"surrogate": surrogate}) == built_in, name


def test_what_is_called_the_same_is_printed_as_the_page_says(capsys):
    text = PAGE[PAGE.index("## Surrogates") : PAGE.index("### ", PAGE.index("## Surrogates"))]
    (_, code), printed = BLOCK.findall(text)[0], re.search(r"^```text\n(.*?)^```", text, re.M | re.S)[1]
    exec(code, {})
    assert capsys.readouterr().out == printed


# --- held against the libraries ------------------------------------------------------------------------------------


def gradient(of, w):
    """dL/dx of npsnn's neuron for L = sum of w S, S as the library has it: through theirs(S) and currents(x)."""
    x = of["x"]
    unit, nothing = np.eye(len(x)), np.zeros(len(x))
    S, cache = of["layer"].forward(
        of["currents"](x).reshape(-1, 1, 1), {}, U_before=np.full((1, 1), of["before"])
    )  # fmt: skip
    if of is neurons()["lava-dl, CUBA"]:
        cache = cache._replace(reset_mechanism="none")  # as the page says
    dS = np.array([of["theirs"](e, nothing)[0] for e in unit]) @ np.array(w)
    dI, _ = of["layer"].backward(dS.reshape(S.shape), cache, {})
    return np.array([of["currents"](e) - of["currents"](nothing) for e in unit]) @ dI.ravel()


def check_neuron(name, S, V, dx):
    of = neurons()[SAME.get(name, name)]
    np.testing.assert_array_equal(of["published"](of["x"]), (S, V))
    np.testing.assert_allclose(gradient(of, RECORDED["w"]), dx, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", list(RUNS))
def test_neuron_is_the_recorded_one(name):
    recorded = RECORDED["neurons"][name]
    check_neuron(name, recorded["S"], recorded["V"], recorded["dx"])


@pytest.mark.parametrize("name", list(SURROGATES))
def test_surrogate_is_the_recorded_one(name):
    f, _ = derivatives()[name]
    np.testing.assert_allclose(
        f(np.array(RECORDED["shifted"])), RECORDED["surrogates"][name]["derivative"], rtol=2e-5, atol=1e-7
    )


def needs(package, version):
    """Skips, and says why, where the library is not here in the version that was recorded."""
    if not importlib.util.find_spec(package):
        pytest.skip(f"{package} is not installed; recorded with {version}")
    name, _, number = version.partition(" ")
    here = number if "commit" in number else importlib.metadata.version(name)  # a checkout has no version to ask for
    if here != number:
        pytest.skip(f"recorded with {version}, here is {here}")


@pytest.mark.parametrize("name", list(RUNS))
def test_neuron_is_the_living_one(name):
    package, function = RUNS[name]
    needs(package, RECORDED["neurons"][name]["version"])
    check_neuron(name, *quietly(function, RECORDED["x"], RECORDED["w"]))


@pytest.mark.parametrize("name", list(SURROGATES))
def test_surrogate_is_the_living_one(name):
    package, function = SURROGATES[name]
    needs(package, RECORDED["surrogates"][name]["version"])
    x = np.linspace(-2.0, 2.0, 17)
    theirs = quietly(function, x.tolist())
    np.testing.assert_allclose(derivatives()[name][0](x), theirs, rtol=2e-5, atol=1e-7)
