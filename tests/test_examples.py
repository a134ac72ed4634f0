"""The examples have one form; that they run is seen where the site is built, which runs them all."""

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def test_there_are_nine():
    assert [path.stem[:2] for path in EXAMPLES] == [f"{n:02}" for n in range(1, 10)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_form(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 100
    assert text.startswith("# %% [markdown]\n# # ")  # a title, so that it can be a page
    last = ast.parse(text).body[-1]
    checks = [node for node in ast.walk(last) if isinstance(node, ast.Assert)]
    called = re.search(r"assert_(array_equal|allclose)", ast.unparse(last))
    assert checks or called or _asserts_near_the_end(text), "an example ends in an assertion"


def _asserts_near_the_end(text):
    """An assertion in the last cell; what follows it only prints."""
    return re.search(r"^\s*(assert |np\.testing\.assert_)", text.rpartition("# %%")[2], re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_offline_and_seeded(path):
    text = path.read_text("utf-8")
    assert not re.search(
        r"download|urllib|requests|default_rng\(\)|np\.random\.(rand|seed|normal)",
        text.replace("nothing is downloaded", ""),
    )
