"""The numbers of equations: the same in the code, on the pages that derive them, and on the one-page sheet."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "derivations"
SHEET = ROOT / "docs" / "sheet" / "sheet.typ"
OPS = {"leaky": "L", "conv2d": "K", "pool2d": "P", "linear": "D", "functional": "F", "adam": "A"}
COMPOSED = ("convpool2d", "leakyconv2d", "leakyconvpool2d", "leakylinear")
TAG = re.compile(r"\(([A-Z]\d+)\)")


def law(op):
    return ROOT / "npsnn" / op / "reference.py"


def head(path):
    """The docstring of a file; a file that is nothing but others' names may have none."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def defined_by(text):
    """The tags that end an equation, which is a line set deeper than the prose; a convention's number is no tag."""
    ends = (re.search(r"\(([A-Z]\d+)\)$", line) for line in text.splitlines() if line.startswith("    "))
    return [end[1] for end in ends if end and not end[1].startswith("C")]


def on_page(page):
    return re.findall(r"\\tag\{(.*?)\}", page.read_text("utf-8"))


def by_number(tags):
    return sorted(tags, key=lambda tag: (tag[0], int(tag[1:])))


DEFINED = {op: defined_by(head(law(op))) for op in OPS}
CONVENTIONS = re.findall(r"^## (C\d+) ", (ROOT / "docs" / "conventions.md").read_text("utf-8"), re.MULTILINE)
ALL = {tag for tags in DEFINED.values() for tag in tags}


@pytest.mark.parametrize("op", OPS)
def test_a_law_numbers_its_equations_from_1_with_its_own_letter(op):
    assert by_number(DEFINED[op]) == [f"{OPS[op]}{i + 1}" for i in range(len(DEFINED[op]))]
    assert len(DEFINED[op]) >= 4


@pytest.mark.parametrize("op", OPS)
def test_a_page_derives_what_its_law_numbers_each_once(op):
    assert by_number(on_page(PAGES / f"{op}.md")) == by_number(DEFINED[op])


def test_no_other_page_has_an_equation_of_an_op():
    others = [page for page in PAGES.glob("*.md") if page.stem not in OPS]
    assert {page.name: sorted(ALL & set(on_page(page))) for page in others if ALL & set(on_page(page))} == {}
    everywhere = [tag for page in PAGES.glob("*.md") for tag in on_page(page)]
    assert sorted(everywhere) == sorted(set(everywhere))


@pytest.mark.parametrize("op", OPS)
def test_a_law_says_where_it_computes_each_equation(op):
    text = law(op).read_text("utf-8")
    below = text[text.index('"""', 3) + 3 :]
    assert set(DEFINED[op]) <= set(TAG.findall(below))


@pytest.mark.parametrize("op", [op for op in OPS if op != "functional"])
def test_a_page_shows_the_line_that_computes_each_equation(op):
    blocks = re.findall(r"^```py\n(.*?)^```", (PAGES / f"{op}.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert set(DEFINED[op]) <= set(TAG.findall("".join(blocks)))


def test_the_page_of_the_losses_shows_each_function():
    tree = ast.parse(law("functional").read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    numbered = {node.name for node in functions if TAG.search(ast.get_docstring(node) or "")}
    assert len(numbered) == 7
    page = (PAGES / "functional.md").read_text("utf-8")
    assert {name for name in numbered if f'"{name}"' not in page} == set()


def test_what_any_file_cites_is_defined():
    unknown = {}
    for path in sorted((ROOT / "npsnn").rglob("*.py")):
        text = path.read_text("utf-8")
        # Real-time recurrent learning has equations of its own, (V6) and on.
        known = ALL | set(CONVENTIONS) | set(defined_by(head(path)))
        cited = [tag for inside in re.findall(r"\(([A-Z]\d+(?:, [A-Z]\d+| and [A-Z]\d+)*)\)", text)
                 for tag in re.findall(r"[A-Z]\d+", inside)]  # fmt: skip
        if set(cited) - known:
            unknown[path.name] = sorted(set(cited) - known)
    assert unknown == {}


@pytest.mark.parametrize("op", COMPOSED)
def test_a_composition_has_no_equation_of_its_own(op):
    assert {tag[0] for tag in TAG.findall(head(law(op)))} <= set(OPS.values())
    assert set(TAG.findall(head(law(op)))) <= ALL


def test_the_index_names_each_op_with_the_numbers_of_its_equations():
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|(.*)$", (PAGES / "index.md").read_text("utf-8"), re.MULTILINE)
    assert {name for name, page, _ in rows} == {*OPS, "surrogate"}
    for name, page, row in rows:
        assert name == page
        assert named_in(row) == set(DEFINED.get(name, ()))


def named_in(text):
    """The tags in a text, and those between: (L4) to (L10)."""
    found = set(TAG.findall(text))
    for letter, first, last in re.findall(r"\(([A-Z])(\d+)\) to \([A-Z](\d+)\)", text):
        found |= {f"{letter}{i}" for i in range(int(first), int(last) + 1)}
    return found


# --- the sheet ------------------------------------------------------------------------------------------------------


def test_the_sheet_has_each_equation_once():
    assert by_number(re.findall(r'#eq\("(.*?)"', SHEET.read_text("utf-8"))) == by_number(ALL)


def test_the_sheet_cites_nothing_else_and_has_every_convention():
    text = SHEET.read_text("utf-8")
    assert set(TAG.findall(text)) - {"C5"} <= ALL
    assert len(CONVENTIONS) >= 14
    assert re.findall(r'\bc\("(C\d+)"', text) == CONVENTIONS


def test_the_sheet_can_be_read_when_printed():
    sizes = [float(size) for size in re.findall(r"size: ([\d.]+)pt", SHEET.read_text("utf-8"))]
    assert len(sizes) >= 4
    assert min(sizes) >= 7.5


def test_the_sheet_is_one_page_with_no_warning(tmp_path, monkeypatch):
    typst = pytest.importorskip("typst", reason="typst, which sets the sheet, is not installed")
    out = tmp_path / "sheet.pdf"
    monkeypatch.setattr(sys, "argv", ["docs.sheet", str(out)])
    runpy.run_module("docs.sheet", run_name="__main__")
    assert out.read_bytes().startswith(b"%PDF-")
    page, warnings = typst.compile_with_warnings(str(SHEET), format="png", ppi=20, ignore_system_fonts=True)
    assert isinstance(page, bytes)  # of several pages it gives a list
    assert warnings == []


def test_without_typst_the_sheet_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    monkeypatch.setattr(sys, "argv", ["docs.sheet"])
    with pytest.raises(SystemExit, match=r"needs typst, .*: python -m pip install typst$"):
        runpy.run_module("docs.sheet", run_name="__main__")
