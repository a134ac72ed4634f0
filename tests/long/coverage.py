"""How much of npsnn the tests run: lines, and every statement that raises. Needs the package coverage.

python -m tests.long.coverage

The tests run three times: with kernels as plain Python, where coverage sees into them; compiled, for the file that
writes machine instructions and for all that is slow without the compiler; and in Numba's simulator of a GPU. What none
of these can reach says so where it stands, by `# pragma: no cover` and a reason.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "npsnn"
LEAST = 97.0  # per cent of lines

PLAIN = [  # what looks into kernels, and is quick without the compiler
    "tests/adam", "tests/conv2d", "tests/convpool2d", "tests/functional", "tests/leaky", "tests/leakyconv2d",
    "tests/leakyconvpool2d", "tests/leakylinear", "tests/linear", "tests/pool2d", "tests/test_lanes.py",
    "tests/test_surrogate.py", "tests/test_fused.py",
]  # fmt: skip
# Minutes, and nothing in them that the other tests do not reach.
SLOW = ["tests/peers", "tests/conv2d", "tests/convpool2d", "tests/leakyconv2d", "tests/leakyconvpool2d"]
AGAIN = "tests/verify/test_golden.py::test_every_case_is_computed_again"
RUNS = {
    "plain Python": ({"NUMBA_DISABLE_JIT": "1"}, PLAIN),
    "compiled": ({}, ["tests", "npsnn", f"--deselect={AGAIN}", *(f"--ignore={name}" for name in SLOW)]),
    "simulator": ({"NUMBA_ENABLE_CUDASIM": "1"}, ["tests", "-k", "cuda"]),
}

CONFIG = """
[run]
source = npsnn
branch = true
parallel = true
patch = subprocess
concurrency = thread
data_file = {folder}/data

[report]
exclude_also =
    pragma: no cover
    if TYPE_CHECKING:
    raise NotImplementedError
"""


def measure(folder: Path) -> None:
    """Run the tests, and leave `folder`/report.json."""
    config = folder / "coveragerc"
    config.write_text(CONFIG.format(folder=folder), encoding="utf-8")

    def coverage(*arguments: str, **environment: str) -> int:
        command = [sys.executable, "-m", "coverage", *arguments, f"--rcfile={config}"]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode

    for name, (environment, tests) in RUNS.items():
        print(f"--- {name}", flush=True)
        # What warns as plain Python does not when it is compiled; whether the tests pass is for CI to say.
        pytest = ["pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "-W", "default", *tests]
        command = [sys.executable, "-m", "coverage", "run", f"--rcfile={config}", "-m", *pytest]
        cache = {"NUMBA_CACHE_DIR": str(folder / "numba"), **environment}
        subprocess.run(command, cwd=ROOT, env={**os.environ, **cache}, check=False)
    coverage("combine", "-q")
    coverage("json", "-q", "-o", str(folder / "report.json"))
    coverage("report", "--skip-covered", "--show-missing")


def raises(path: Path) -> set[int]:
    """The lines at which a file's `raise` statements begin, but for those that say what a subclass must write."""
    tree = ast.parse(path.read_text("utf-8"))
    found = {node.lineno: ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
    return {line for line, text in found.items() if "NotImplementedError" not in text}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="npsnn-coverage-") as name:
        measure(Path(name))
        report = json.loads((Path(name) / "report.json").read_text("utf-8"))
    total = report["totals"]
    lines = 100 * total["covered_lines"] / total["num_statements"]
    branches = 100 * total["covered_branches"] / total["num_branches"]
    silent, count = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        file = report["files"].get(str(path.relative_to(ROOT)), {"executed_lines": [], "excluded_lines": []})
        here = raises(path) - set(file["excluded_lines"])
        count += len(here)
        silent += [f"{path.relative_to(ROOT)}:{line}" for line in sorted(here - set(file["executed_lines"]))]
    print(f"lines {lines:.1f} %, branches {branches:.1f} %, statements that raise {count - len(silent)} of {count}")
    for place in silent:
        print(f"no test raises {place}")
    return int(lines < LEAST or bool(silent))


if __name__ == "__main__":
    sys.exit(main())
