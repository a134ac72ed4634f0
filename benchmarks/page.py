"""What was measured, in docs/benchmarks.md and docs/benchmarks.json."""

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def write(tables: dict[str, str], results: dict[str, Any]) -> None:
    """Put each table between its marks in the page, and the results into the file of numbers; the rest of both stays.

    A table without marks on the page is only in the file of numbers.
    """
    page, numbers = DOCS / "benchmarks.md", DOCS / "benchmarks.json"
    text = page.read_text("utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by python -m benchmarks --write -->\n", f"<!-- end of {name} -->"
        if begin not in text:
            print(f"docs/benchmarks.md has no block of {name}")
            continue
        head, rest = text.split(begin)
        text = f"{head}{begin}{table}\n{end}{rest.split(end)[1]}"
    page.write_text(text, "utf-8")
    last = json.loads(numbers.read_text("utf-8")) if numbers.exists() else {}
    numbers.write_text(json.dumps({**last, **results}, indent=1) + "\n", "utf-8")
