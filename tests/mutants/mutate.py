"""From a source file, every version of it with one small fault.

A mutant is one changed node of the syntax tree. Signatures, annotations, decorators, docstrings and the texts of
messages are left alone, as is the `strict=` of a zip: a change there is no change of what is computed.
"""

import ast
import copy
from collections.abc import Iterator
from typing import NamedTuple

BINARY = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add], ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult], ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr],
}  # fmt: skip
COMPARISON = {
    ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.Lt], ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
}  # fmt: skip
LEFT_ALONE = ("annotation", "returns", "decorator_list", "ctx", "bases")


class Mutant(NamedTuple):
    """One changed version of a file."""

    line: int
    function: str  # that it is in, or "" at the top of the file
    before: str  # the statement's source; of a compound one, its first line
    after: str
    source: str  # of the whole file

    @property
    def change(self) -> str:
        """`function: before -> after`, by which a survivor is known whatever line it comes to stand on."""
        return f"{self.function}: {self.before} -> {self.after}"


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its lines.

    >>> [m.change for m in mutants("def f(x):\\n    return x + 1")]
    ['f: return x + 1 -> return x - 1', 'f: return x + 1 -> return x + 2']
    """
    tree = ast.parse(source)
    found = []
    for path, node in _computing(tree):
        for changed in _changes(node):
            version = ast.fix_missing_locations(_replaced(tree, path, changed))
            statement = _statement(path)
            before, after = (ast.unparse(_head(_at(t, statement))).partition("\n")[0] for t in (tree, version))
            found.append(Mutant(node.lineno, _function(tree, path), before, after, ast.unparse(version)))
    return sorted(found, key=lambda m: m.line)


Path = tuple[tuple[str, int | None], ...]


def _computing(node: ast.AST, path: Path = ()) -> Iterator[tuple[Path, ast.AST]]:
    """(path, node) of every node that computes something."""
    for field, value in ast.iter_fields(node):
        signature = field == "args" and not isinstance(node, ast.Call)
        # To NumPy's reshape every negative number means the same.
        shape = field == "args" and isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reshape")
        if signature or shape or field in LEFT_ALONE or isinstance(node, ast.Raise):
            continue
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in items:
            if isinstance(child, ast.AST) and not _says(child):
                here = (*path, (field, index))
                if hasattr(child, "lineno"):
                    yield here, child
                yield from _computing(child, here)


def _says(node: ast.AST) -> bool:
    """A docstring, an f-string, or zip's `strict=`, which asserts and computes nothing."""
    return (
        isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.keyword) and node.arg == "strict")
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
    )


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """What the node could become."""
    match node:
        case ast.BinOp(left, op, right):
            for other in BINARY.get(type(op), []):
                yield ast.BinOp(left, other(), right)
        case ast.Compare(left, [op], [right]):
            for other in COMPARISON.get(type(op), []):
                yield ast.Compare(left, [other()], [right])
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.AugAssign(target, op, value):
            for other in BINARY.get(type(op), []):
                yield ast.AugAssign(target, other(), value)
            yield ast.Assign([target], value)
        case ast.Assign([ast.Subscript()], _) | ast.Raise() | ast.Continue():
            yield ast.Pass()
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(value * (1 + 1e-6) if value else 1e-6)


def _at(tree: ast.AST, path: Path) -> ast.AST:
    for field, index in path:
        tree = getattr(tree, field) if index is None else getattr(tree, field)[index]
    return tree


def _replaced(tree: ast.AST, path: Path, new: ast.AST) -> ast.AST:
    """A copy of the tree with another node at `path`."""
    version = copy.deepcopy(tree)
    parent, (field, index) = _at(version, path[:-1]), path[-1]
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    return version


def _statement(path: Path) -> Path:
    """The path of the statement that a node is part of."""
    last = max(i for i, (field, _) in enumerate(path) if field in ("body", "orelse", "handlers"))
    return path[: last + 1]


def _function(tree: ast.AST, path: Path) -> str:
    """The dotted name of the functions and classes round a node."""
    around = (_at(tree, path[:i]) for i in range(1, len(path)))
    return ".".join(node.name for node in around if isinstance(node, ast.FunctionDef | ast.ClassDef))


def _head(node: ast.AST) -> ast.AST:
    """A compound statement without its body, so that a change reads as one line."""
    node = copy.deepcopy(node)
    for field in ("body", "orelse"):
        if isinstance(getattr(node, field, None), list) and getattr(node, field):
            setattr(node, field, [ast.Expr(ast.Constant(...))] if field == "body" else [])
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []
    return node
