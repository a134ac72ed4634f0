"""What the live comparisons share."""

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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
