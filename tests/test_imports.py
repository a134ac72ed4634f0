"""Imports go down the floors, and importing the package loads NumPy alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import npsnn

PACKAGE = Path(npsnn.__file__).parent
OPS = (
    "conv2d",
    "pool2d",
    "convpool2d",
    "leakyconv2d",
    "leakyconvpool2d",
    "linear",
    "leakylinear",
    "leaky",
    "adam",
    "functional",
)
FUSED = {
    "convpool2d": {"conv2d", "pool2d"},
    "leakyconv2d": {"leaky", "conv2d"},
    "leakyconvpool2d": {"leaky", "conv2d", "pool2d", "convpool2d"},
    "leakylinear": {"leaky", "linear"},
}  # an op that is others in one pass, and may import them
FLOORS = {
    0: (
        "_buffers",
        "_check",
        "_cuda",
        "_device",
        "_files",
        "_free",
        "_fused",
        "_graph",
        "_jit",
        "_kernel_files",
        "_lanes",
        "_memory",
        "_npy",
        "_signals",
        "_simulator",
        "_sums",
        "_threads",
        "_versions",
        "_vectors",
        "surrogate",
        "generator",
    ),
    1: OPS,
    2: (
        "backends",
        "parameters",
        "layer",
        "layers",
        "pairs",
        "firing",
        "items",
        "neuron",
        "tiles",
        "sizes",
        "walk",
        "nonfinite",
        "state_dict",
        "spec",
    ),
    3: ("network", "optim", "replays", "resident"),
    4: (
        "backprop",
        "checkpoint",
        "health",
        "data",
        "spikegen",
        "spikeplot",
        "utils",
        "training",
        "settings",
        "run_folder",
        "pictures",
        "safetensors_file",
        "verify",
    ),
    5: ("cli",),
    6: ("__main__", "__init__"),
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Every imported module of a file as a dotted name, `from a import b` as a and a.b."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path):
    """The part of the package that a file belongs to: `leaky` for npsnn/leaky/cpu.py."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def test_every_file_has_a_floor():
    assert {module_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_or_stay_on_the_floor(path):
    here = module_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "npsnn" or len(parts) < 2 or parts[1] not in FLOOR:
            continue
        there = parts[1]
        assert FLOOR[there] <= FLOOR[here], f"{here} (floor {FLOOR[here]}) imports {there} (floor {FLOOR[there]})"
        if here in OPS and there != here:
            assert there not in OPS or there in FUSED.get(here, ()), f"the op {here} imports the op {there}"


def test_no_circle_on_a_floor():
    graph = {name: set() for name in FLOOR}
    for path in FILES:
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "npsnn" and len(parts) > 1 and parts[1] in FLOOR and parts[1] != module_of(path):
                graph[module_of(path)].add(parts[1])
    while graph:
        leaves = [name for name, below in graph.items() if not below & graph.keys()]
        assert leaves, f"a circle among {sorted(graph)}"
        for name in leaves:
            del graph[name]


@pytest.mark.parametrize("op", OPS)
def test_the_law_imports_numpy_and_the_surrogate_alone(op):
    outside = {name.split(".")[0] for name in imports(PACKAGE / op / "reference.py")} - {"typing"}
    inside = {name for name in imports(PACKAGE / op / "reference.py") if name.startswith("npsnn.")}
    assert outside <= {"numpy", "npsnn"}
    allowed = ("npsnn.surrogate", "npsnn.leaky.inside", *(f"npsnn.{fused}.reference" for fused in FUSED.get(op, ())))
    assert all(name.startswith(allowed) for name in inside)


def test_numba_is_imported_in_six_places():
    """Its options, the files of its code, loops or vectors, its vectors, the GPU's door, its simulator."""
    for path in FILES:
        if path.name not in ("_jit.py", "_kernel_files.py", "_lanes.py", "_vectors.py", "_cuda.py", "_simulator.py"):
            packages = {name.split(".")[0] for name in imports(path)}
            assert not packages & {"numba", "llvmlite", "numba_cuda", "numba_cuda_mlir"}, path


def test_importing_the_package_loads_numpy_alone():
    others = ("numba", "llvmlite", "scipy", "matplotlib", "PIL", "tqdm", "torch", "safetensors")
    code = f"import sys, npsnn; print([m for m in {others} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
