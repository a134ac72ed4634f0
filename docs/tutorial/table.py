"""The table of the tutorial's first chapters: a row a quantity, a column a step."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

Number = Fraction | int


def table(rows: Mapping[str, Sequence[Number]], new: Collection[str] = (), longest: int = 9) -> None:
    """Print `rows`, those that are `new` behind a star; fractions of more than `longest` signs as decimals.

    >>> table({"I": [Fraction(3, 4), 1], "S": [0, 1]}, new=["S"])
      t    0  1
      I  3/4  1
    * S    0  1
    """
    steps = range(max(map(len, rows.values())))
    lines = [["t", *map(str, steps)], *([name, *(cell(x, longest) for x in row)] for name, row in rows.items())]
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(steps) + 1)]
    for name, *cells in lines:
        star = "*" if name in new else " "
        print(star, name.ljust(widths[0]) + "".join("  " + x.rjust(w) for x, w in zip(cells, widths[1:], strict=False)))


def cell(x: Number, longest: int) -> str:
    """A fraction as it is written, or where that is too long to four decimals.

    >>> cell(Fraction(2294384, 3186225), 9)
    '0.7201'
    """
    exact = str(x)
    return exact if len(exact) <= longest else f"{float(x):.4f}"
