"""What the live comparisons share."""

import importlib.util
import sys
from pathlib import Path

import pytest

# What only helps has no doctests, and a file that skips itself while it is collected would stay half imported.
collect_ignore = [path.name for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    """PyTorch on one thread: networks as small as these leave a second one nothing but to spin."""
    torch = sys.modules.get("torch")  # a module that compares with PyTorch has imported it by now
    if torch is None:
        yield
        return
    if importlib.util.find_spec("numba"):
        import numba

        numba.get_num_threads()  # starts Numba's threads: done later, that would undo PyTorch's setting (shared OpenMP)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def one_numba_thread():
    """Numba on one thread, for the same reason."""
    if not importlib.util.find_spec("numba"):
        yield
        return
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(threads)
