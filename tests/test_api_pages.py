"""The reference pages name all that is public."""

import re
from pathlib import Path

import npsnn
from npsnn import data, functional, optim, spikegen, spikeplot, surrogate, utils, verify

PAGES = Path(__file__).parent.parent / "docs" / "api"
NAMED = [
    name
    for page in PAGES.glob("*.md")
    for name in re.findall(r"^\.\. auto(?:class|function):: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
]


def public(module):
    """What a module defines, or lists, for its users."""
    listed = getattr(module, "__all__", None)
    if listed:
        return set(listed)
    own = {name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__}
    again = {name for name, thing in vars(module).items() if getattr(thing, "__module__", "").startswith("npsnn.")}
    chosen = again if module.__file__.endswith("__init__.py") else own
    return {name for name in chosen if not name.startswith("_")}


def test_everything_public_has_its_place():
    wanted = set().union(*map(public, (npsnn, data, functional, optim, spikeplot, utils, verify)))
    wanted |= public(spikegen) | {"BPTT", "TBPTT", "save", "load", "restore"}
    wanted |= {name for name in public(surrogate) if not name.endswith("_derivative")} - {"spike"}
    assert len(wanted) > 50
    assert wanted - {name.rpartition(".")[2] for name in NAMED} == set()
