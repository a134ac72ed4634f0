"""The site: `python -m sphinx -W docs OUT`. The pages are plain Markdown; the examples are run and rendered."""

import re
import shutil
from pathlib import Path
from typing import Any

import npsnn

HERE = Path(__file__).parent

project = "npsnn"
copyright = "the npsnn authors, MIT licence"
version = release = npsnn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["sheet", "_build"]
templates_path: list[str] = []

html_theme = "furo"
html_title = "npsnn"
html_static_path = ["_static"]
html_css_files = ["npsnn.css"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "amsmath"]
# As a code host renders them: every heading can be linked to.
myst_heading_anchors = 3

# The examples, beside the documents in the project, become pages with what they print. Their suffix is one of
# their own, so that a link to any other file of Python stays a link to a file.
shutil.rmtree(HERE / "examples", ignore_errors=True)
(HERE / "examples").mkdir()
for script in (HERE.parent / "examples").glob("*.py"):
    shutil.copy(script, HERE / "examples" / f"{script.stem}.percent.py")
nb_custom_formats = {".percent.py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True
nb_render_text_lexer = "text"

default_role = "code"  # a single backtick in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_custom_sections = ["Source"]
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]  # a parameter's type is prose here: (T, B, N) array

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def as_written(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: a star and a bar mean themselves, and equations, set deeper, keep their lines."""
    out: list[str] = []
    before, literal, session = 0, -1, False
    for line in lines:
        text, depth = line.lstrip(), len(line) - len(line.lstrip())
        if not text:
            session = False
        elif literal < 0 and out and not out[-1].strip() and depth >= before + 4:
            literal = depth
            out += [" " * before + "::", ""]
        elif depth < literal:
            literal = -1
        session = session or text.startswith(">>>")
        if text and literal < 0 and not session and not re.match(r"\*{1,2}\w+( :.*)?$", text):
            pieces = re.split(r"(`+[^`]*`+)", line)
            pieces[::2] = [re.sub(r"([*|])", r"\\\1", piece) for piece in pieces[::2]]
            line = "".join(pieces)
        out.append(line)
        before = depth if text else before
    lines[:] = out


def setup(app: Any) -> None:
    """Before napoleon, which writes stars of its own."""
    app.connect("autodoc-process-docstring", as_written, priority=100)
