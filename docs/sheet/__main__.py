"""Build the one-page sheet: `python -m docs.sheet [OUT]`, by default docs/sheet/sheet.pdf. It needs typst."""

import importlib.util
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("sheet.typ")


def build(out: Path) -> None:
    """Write the sheet as PDF; only the fonts that come with typst are used, so that it is the same everywhere."""
    import typst

    typst.compile(str(SOURCE), output=str(out), ignore_system_fonts=True)


if __name__ == "__main__":
    if importlib.util.find_spec("typst") is None:
        sys.exit("python -m docs.sheet needs typst, which sets the page: python -m pip install typst")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE.with_suffix(".pdf")
    build(path)
    print(path)
