"""Write what the libraries give into recorded.json; those that are not installed keep what is recorded.

    python -m tests.rosetta.record [NAME=FOLDER ...]

from the top of the project, in an environment of its own with what is to be recorded:

    pip install torch==2.13.0 snntorch==1.0.0 spikingjelly==2.0.0 norse==1.1.0 sinabs==3.1.3 rockpool==3.1.0 spyx==1.0.0

Two libraries are no package there, and are given as a checkout: lava-dl's neurons run from its source tree
(`lava=lava-dl/src`), SpyTorch's loop from its notebooks (`spytorch=spytorch/notebooks`). mlGeNN needs GeNN and a C++
compiler, and is not recorded.
"""

import importlib.metadata
import importlib.util
import json
import platform
import sys
import types
from pathlib import Path

from tests.rosetta.libraries import RUNS, SURROGATES, quietly

RECORDED = Path(__file__).parent / "recorded.json"
# At beta = 1/2 and threshold 1 some membrane lies at the threshold exactly, whatever the library's convention is.
X = [1.0, 1.0, 1.25, 1.75, 1.25, 0.25, 0.75, 1.75]
W = [1.0, 0.5, -1.0, 2.0, -0.5, 1.5, 0.25, 1.0]
SHIFTED = [-1.5, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 1.5]  # U - theta, for the surrogates
CHECKOUTS = {
    "lava": "lava-dl 0.7.0.dev0, commit d825ac5",
    "spytorch_notebooks": "SpyTorch, commit d363dbf",
}


def notebooks(folder):
    """A module with cell(n, text): the code cell of tutorial n that contains the text."""

    def cell(n, text):
        cells = json.loads((Path(folder) / f"SpyTorchTutorial{n}.ipynb").read_text("utf-8"))["cells"]
        return next(code for code in ("".join(c["source"]) for c in cells if c["cell_type"] == "code") if text in code)

    module = types.ModuleType("spytorch_notebooks")
    module.cell = cell
    module.__spec__ = importlib.util.spec_from_loader("spytorch_notebooks", loader=None)
    return module


def version(package):
    return CHECKOUTS.get(package) or f"{package} {importlib.metadata.version(package)}"


def main(arguments):
    for argument in arguments:
        name, _, folder = argument.partition("=")
        if name == "spytorch":
            sys.modules["spytorch_notebooks"] = notebooks(folder)
        else:
            sys.path.insert(0, folder)
    recorded = json.loads(RECORDED.read_text("utf-8")) if RECORDED.exists() else {}
    recorded |= {"x": X, "w": W, "shifted": SHIFTED}
    for kind, table in (("neurons", RUNS), ("surrogates", SURROGATES)):
        rows = recorded.setdefault(kind, {})
        for name, (package, function) in table.items():
            if not importlib.util.find_spec(package):
                print(f"{name}: no {package}")
                continue
            of = {"version": version(package), "python": platform.python_version()}
            if kind == "neurons":
                S, V, dx = quietly(function, X, W)
                rows[name] = {**of, "S": S, "V": V, "dx": dx}
            else:
                rows[name] = {**of, "derivative": quietly(function, SHIFTED)}
        recorded[kind] = {name: rows[name] for name in table if name in rows}
    text = json.dumps(recorded, indent=1)
    text = "\n".join(_joined(text.splitlines()))
    RECORDED.write_text(text + "\n", "utf-8")


def _joined(lines):
    """The lines with each list of numbers on one."""
    out, inside = [], False
    for line in lines:
        if inside:
            out[-1] += line.strip() + (" " if line.endswith(",") and line.strip() != "]," else "")
            inside = not line.strip().startswith("]")
        else:
            out.append(line)
            inside = line.endswith("[")
    return out


if __name__ == "__main__":
    main(sys.argv[1:])
