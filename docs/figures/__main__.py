"""Draw the figures of the documents again: `python -m docs.figures`, or some by name."""

import importlib
import sys

import matplotlib

from docs.figures.style import FOLDER, STYLE, save

NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__main__", "style"))


def draw(name: str, folder=FOLDER):
    """Draw one figure into `folder`; the file's path."""
    path = folder / f"{name}.svg"
    with matplotlib.rc_context(STYLE):
        save(importlib.import_module(f"docs.figures.{name}").figure(), path)
    return path


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        print(draw(name))
