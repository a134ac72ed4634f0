"""The one door to a GPU (floor 0): which package drives it, whether it can, how kernels are launched.

numba-cuda is what is used where it is installed, else its successor numba-cuda-mlir, which has the same names, else
Numba's own CUDA target, which is on its way out. With NUMBA_ENABLE_CUDASIM=1 Numba computes the kernels in plain
Python, a thread of the operating system for a thread of the GPU: it proves indices and races, not types and not speed.

A kernel takes flat arrays, and a total that its threads share by strides, so that it does not matter how many there are
(C11). Nothing is added atomically. Where many threads make one sum, GROUPS of them in a block each add their share, and
the shares are added as a fixed tree. A kernel has no `!=`: of floats, numba-cuda-mlir 0.6 makes a comparison that is
false where one is NaN. `==`, `continue` and math.isnan do without.
"""

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from npsnn import _simulator

Kernel = Callable[..., Any]

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
THREADS, BLOCKS = (3, 2) if SIMULATED else (128, 65_535)  # of a block; and blocks at most
LANES, GROUPS = (3, 4) if SIMULATED else (32, 16)  # sums side by side in a block, and threads for each; GROUPS is 2^n
INSTALL = 'pip install "npsnn[cuda]"'


def package() -> str:
    """The package that drives the GPU, or simulates it, or ""; it is not imported."""
    for name in ("numba_cuda", "numba_cuda_mlir", "numba.cuda"):
        if SIMULATED and name == "numba_cuda_mlir":  # it has no simulator, and Numba need not be there
            continue
        try:
            if importlib.util.find_spec(name):
                return name
        except ModuleNotFoundError:  # no numba, so no numba.cuda
            continue
    return ""


@lru_cache
def driver() -> Any:
    """The module `cuda`, whichever package has it; imported on the first call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Numba's own target says that it is on its way out, in every process
        if package() == "numba_cuda_mlir":
            from numba_cuda_mlir import cuda
        else:
            from numba import cuda
        if SIMULATED:
            _simulator.mend()
        return cuda


def available() -> tuple[bool, str]:
    r"""(whether kernels can run here, what runs them or why they cannot): never a traceback from a driver.

    >>> works, why = available()
    >>> isinstance(works, bool), "\\n" in why
    (True, False)
    """
    if not package():
        return False, f"no CUDA package is installed: {INSTALL}"
    try:
        cuda = driver()
    except Exception as error:  # a package that lacks a part of itself, before it has asked for a driver
        return False, _in_a_line(error, f"{package()} cannot be imported")
    try:
        cuda.current_context()
        return True, device_name()
    except Exception as error:  # whatever a driver raises: this door makes one line of it
        return False, _in_a_line(error, "the CUDA driver says")


def _in_a_line(error: Exception, introduction: str) -> str:
    said = " ".join(str(error).split())
    known = {
        "driver library cannot be found": "no NVIDIA driver is installed",
        "no CUDA-capable device": "the driver sees no GPU",
        "CUDA_ERROR_NO_DEVICE": "the driver sees no GPU",
        "insufficient for CUDA runtime": "the NVIDIA driver is too old for the CUDA package",
        "driver version is insufficient": "the NVIDIA driver is too old for the CUDA package",
    }
    for words, meaning in known.items():
        if words in said:
            return meaning
    return f"{introduction}: {said[:200] or type(error).__name__}"


def device_name() -> str:
    """What computes: the GPU's name, or that it is simulated."""
    if SIMULATED:
        return "simulated on the CPU (NUMBA_ENABLE_CUDASIM=1)"
    name = driver().get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


# --- kernels -------------------------------------------------------------------------------------------------------


def kernel(function: Kernel) -> Kernel:
    """A kernel, compiled on its first launch for the types that come."""
    return driver().jit(function)  # type: ignore[no-any-return]


def device(function: Kernel) -> Kernel:
    """What a kernel calls."""
    return driver().jit(device=True)(function)  # type: ignore[no-any-return]


def absent(kind: type[Any], spikes: bool) -> Any:
    """What is skipped in a kernel's input: False among spikes, else 0 of its type, for a literal 0 would be wider."""
    return False if spikes else kind(0)


launches = 0  # since the program began


def launch(compiled: Kernel, total: int, *args: Any) -> None:
    """Run a kernel(total, *args) whose threads share `total` numbers."""
    if total:
        blocks = min(-(-total // THREADS), BLOCKS)
        _run(compiled, blocks, THREADS, total, args)


def launch_sums(compiled: Kernel, total: int, *args: Any) -> None:
    """Run a kernel(total, *args) whose blocks make LANES of `total` sums at a time, each by GROUPS threads."""
    if total:
        blocks = min(-(-total // LANES), BLOCKS)
        _run(compiled, blocks, (LANES, GROUPS), total, args)


def launch_blocks(compiled: Kernel, tasks: int, groups: int, *args: Any) -> None:
    """Run a kernel(tasks, *args) whose blocks of LANES by `groups` threads take a task at a time."""
    if tasks:
        _run(compiled, min(tasks, BLOCKS), (LANES, groups), tasks, args)


def _run(compiled: Any, blocks: int, threads: Any, total: int, args: tuple[Any, ...]) -> None:
    global launches
    launches += 1
    this = Launch(compiled, blocks, threads, (total, *args))
    if recording is not None and recording.whole:
        recording.launches.append(this)
    start(this)


class Launch(NamedTuple):
    """A kernel, its grid, and what it was given."""

    kernel: Any
    blocks: int
    threads: Any
    args: tuple[Any, ...]


def start(launch: Launch, stream: Any = None) -> None:
    """Run it, or have `stream` take it down."""
    kernel, blocks, threads, args = launch
    args = tuple(a.flat if getattr(a, "on_device", False) else a for a in args)
    if stream is not None:
        kernel[blocks, threads, stream](*args)
    elif not SIMULATED:
        _configured(kernel, blocks, threads)(*args)
    else:
        _simulator.run(kernel[blocks, threads], args)


@lru_cache(maxsize=1024)
def _configured(compiled: Any, blocks: int, threads: Any) -> Kernel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a small grid does not fill the GPU
        return compiled[blocks, threads]  # type: ignore[no-any-return]


# --- what was launched ---------------------------------------------------------------------------------------------


class Recording:
    """The launches of some work, in their order. The arrays are in it, so that their memory is nobody else's."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.whole = True

    def give_up(self) -> None:
        """More than launches belongs to the work, or its memory is needed."""
        self.whole = False
        self.launches.clear()


recording: Recording | None = None


@contextmanager
def record() -> Iterator[Recording]:
    """Write down what is launched within."""
    global recording
    recording = Recording()
    try:
        yield recording
    finally:
        recording = None


def copied() -> None:
    """Whoever copies what no kernel copies says so: launching the kernels again would not do it again."""
    if recording is not None:
        recording.give_up()
