"""What cog puts into the pages: code out of the package, and what a command prints.

    python -m cogapp -r -p "from docs.pull import code, run" docs/*.md docs/*/*.md

Nothing is pasted by hand, and a test sees what has changed since.
"""

import ast
import subprocess
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent


def code(path: str, name: str, first: str | None = None, last: str | None = None) -> None:
    """The source of a function or class of a file, without its docstring; or its lines from `first` to `last`.

    `first` and `last` are parts of lines; without `last`, the block up to the next empty line.
    """
    text = (ROOT / path).read_text("utf-8")
    lines = text.splitlines()
    node = _definition(ast.parse(text), name, path)
    begin = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    body = lines[begin : node.end_lineno]
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
        said = node.body[0]
        del body[said.lineno - 1 - begin : said.end_lineno - begin]
    if first is not None:
        at = next((i for i, line in enumerate(body) if first in line), None)
        if at is None:
            raise ValueError(f"{path}: {name} has no line with {first!r}")
        rest = body[at:]
        if last is None:
            end = next((i for i, line in enumerate(rest) if not line.strip()), len(rest))
        else:
            end = next((i + 1 for i, line in enumerate(rest) if last in line), None)
            if end is None:
                raise ValueError(f"{path}: {name} has no line with {last!r} after {first!r}")
        body = rest[:end]
    _fenced("py", textwrap.dedent("\n".join(body)))


def run(command: str) -> None:
    """What a command prints; it runs at the top of the project."""
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    _fenced("text", done.stdout)


def _definition(tree: ast.Module, name: str, path: str) -> ast.FunctionDef | ast.ClassDef:
    found: ast.AST = tree
    for part in name.split("."):
        inner = [n for n in getattr(found, "body", []) if getattr(n, "name", None) == part]
        if not inner:
            raise ValueError(f"{path} has no {name}")
        found = inner[0]
    assert isinstance(found, ast.FunctionDef | ast.ClassDef)
    return found


def _fenced(language: str, text: str) -> None:
    import cog  # here, because every page has a cog of its own

    cog.outl(f"```{language}\n{text.strip(chr(10))}\n```")
