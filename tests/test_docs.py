"""Every Python block of the README and the documents runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [(page, i, code) for page in PAGES for i, code in enumerate(BLOCK.findall(page.read_text("utf-8")))]


@pytest.mark.parametrize("page, i, code", BLOCKS, ids=[f"{page.name}-{i}" for page, i, _ in BLOCKS])
def test_block_runs(page, i, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{page.name} block {i}", "exec"), {})


def test_there_are_blocks():
    assert {page.name for page, _, _ in BLOCKS} >= {"README.md", "other_libraries.md"}


def test_links_within_the_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
