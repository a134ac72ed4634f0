"""Every Python block of the README and the documents runs; one about another library, where that is installed.

A block that is marked "python continues" runs after the block before it, in its names.
"""

import ast
import importlib.util
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python( continues)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    """The page's programs, each with those that it continues."""
    programs = []
    for continues, code in BLOCK.findall(page.read_text("utf-8")):
        programs.append(programs[-1] + code if continues else code)
    return programs


BLOCKS = [(page, i, code) for page in PAGES for i, code in enumerate(blocks(page))]
# Installed for the live comparison, or by whoever wants to see for themselves; not for npsnn.
OTHERS = {"torch", "snntorch", "norse", "sinabs", "spikingjelly"}


def others(code):
    """The other libraries that a block imports."""
    nodes = list(ast.walk(ast.parse(code)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return sorted({name.partition(".")[0] for name in names} & OTHERS)


@pytest.mark.parametrize("page, i, code", BLOCKS, ids=[f"{page.name}-{i}" for page, i, _ in BLOCKS])
def test_block_runs(page, i, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = [name for name in others(code) if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    with warnings.catch_warnings():
        if others(code):
            warnings.simplefilter("ignore")  # theirs are not ours to mend
        exec(compile(code, f"{page.name} block {i}", "exec"), {})


def test_there_are_blocks():
    assert {page.name for page, _, _ in BLOCKS} >= {"README.md", "other_libraries.md", "golden.md", "compare.md"}


def test_the_loader_of_golden_vectors_is_short_and_needs_numpy_alone():
    code = blocks(ROOT / "docs" / "golden.md")[0]
    imported = {line.split()[1].split(".")[0] for line in code.splitlines() if line.startswith(("import", "from"))}
    assert imported == {"hashlib", "io", "json", "pathlib", "numpy"}
    assert len(code.splitlines()) <= 60


def test_most_faults_of_other_libraries_are_shown_wherever_snntorch_is_installed():
    faults = [others(code) for page, _, code in BLOCKS if page.name == "other_libraries.md" and others(code)]
    assert len(faults) == 12
    assert sum(set(names) <= {"torch", "snntorch"} for names in faults) == 8


def test_links_within_the_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
