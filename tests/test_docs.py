"""Every Python block of the README and the documents runs; one about another library, where that is installed.

A block that is marked "python continues" runs after the block before it, in its names. The "pycon" blocks of a page are
one session, whose output is compared to the letter. What cog put in is what it would put in now.
"""

import ast
import doctest
import importlib.util
import re
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python( continues)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^```python\n((?:(?!```)[^\n]*\n)*)```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```([^\n]*)\n.*?^```", re.MULTILINE | re.DOTALL)
BUILT = ROOT / "docs" / "examples"  # a copy that the site makes
PAGE_OF_WORDS = ROOT / "docs" / "glossary.md"
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if BUILT not in p.parents)]


def name_of(page):
    return page.relative_to(ROOT).as_posix().removeprefix("docs/")


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


@pytest.mark.parametrize("page, i, code", BLOCKS, ids=[f"{name_of(page)}-{i}" for page, i, _ in BLOCKS])
def test_block_runs(page, i, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    missing = [name for name in others(code) if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    with warnings.catch_warnings():
        if others(code):
            warnings.simplefilter("ignore")  # theirs are not ours to mend
        exec(compile(code, f"{name_of(page)} block {i}", "exec"), {})
    printed = dict(PRINTED.findall(page.read_text("utf-8"))).get(code)
    if printed is not None:  # the page shows what it prints
        assert capsys.readouterr().out == printed


def session_of(page):
    """The page's lines with all but its sessions blank, so that a failure has the page's line number."""
    lines, inside = [], False
    for line in page.read_text("utf-8").splitlines():
        opens, inside = line == "```pycon", line == "```pycon" or (inside and line != "```")
        lines.append(line if inside and not opens else "")
    return "\n".join(lines)


SESSIONS = [page for page in PAGES if session_of(page).strip()]


@pytest.mark.parametrize("page", SESSIONS, ids=name_of)
def test_session_prints_what_the_page_says(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    test = doctest.DocTestParser().get_doctest(session_of(page), {}, name_of(page), str(page), 0)
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_kind_that_is_run(page):
    """A block of Python that no test runs would rot; what cog puts in is `py`, and stands where it is tested."""
    text = page.read_text("utf-8")
    kinds = {kind for kind in FENCE.findall(text) if kind.startswith("py")}
    assert kinds <= {"python", "python continues", "pycon", "py"}
    by_cog = "".join(re.findall(r"\[\[\[cog.*?\[\[\[end\]\]\]", text, re.DOTALL))
    assert len(re.findall(r"^```py$", text, re.MULTILINE)) == len(re.findall(r"^```py$", by_cog, re.MULTILINE))


COGGED = [page for page in PAGES if "[[[cog" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", COGGED, ids=name_of)
def test_what_was_pulled_in_is_what_stands_there(page, monkeypatch, capsys):
    cogapp = pytest.importorskip("cogapp", reason="cogapp fills the pages")
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    status = cogapp.Cog().main(["cog", "--check", "--diff", "-p", "from docs.pull import code, run", str(page)])
    assert status == 0, capsys.readouterr().out


def test_there_are_blocks():
    assert {page.name for page, _, _ in BLOCKS} >= {
        *("README.md", "golden.md", "compare.md"),
        *("other_libraries.md", "faults_of_others.md", "from_snntorch.md"),
    }


def test_the_loader_of_golden_vectors_is_short_and_needs_numpy_alone():
    code = blocks(ROOT / "docs" / "golden.md")[0]
    imported = {line.split()[1].split(".")[0] for line in code.splitlines() if line.startswith(("import", "from"))}
    assert imported == {"hashlib", "io", "json", "pathlib", "numpy"}
    assert len(code.splitlines()) <= 60


def test_most_faults_of_other_libraries_are_shown_wherever_snntorch_is_installed():
    faults = [others(code) for page, _, code in BLOCKS if page.name == "faults_of_others.md" and others(code)]
    assert len(faults) == 12
    assert sum(set(names) <= {"torch", "snntorch"} for names in faults) == 8


def test_links_within_the_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_word_of_the_glossary_stands_where_it_says():
    rows = re.findall(
        r"^\| (?!word|---)([^|]+?)(?: \(.*?\))? \|.*\]\((.*?)\) \|$", PAGE_OF_WORDS.read_text("utf-8"), re.M
    )
    assert len(rows) > 40
    for word, page in rows:
        text = " ".join((PAGE_OF_WORDS.parent / page).read_text("utf-8").lower().split())
        for one in word.lower().split(", "):
            assert one in text, f"{page} does not have {one!r}"
