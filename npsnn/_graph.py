"""Launches that were recorded, started at once (floor 0): a CUDA graph, where the package can make one.

On the stream of cuda.core's GraphBuilder the driver takes a kernel down instead of running it. numba-cuda takes the
builder where a launch takes its stream, numba-cuda-mlir the stream's number; Numba's own target has no cuda.core. The
simulator starts one launch after another, which is what a graph means.
"""

import os
import warnings
from collections.abc import Callable
from functools import partial

from npsnn import _cuda


def asked() -> bool:
    """Whether graphs are wanted, as NPSNN_CUDA_GRAPHS says: 0 or 1. In the simulator they save nothing.

    >>> asked() is not _cuda.SIMULATED
    True
    """
    said = os.environ.get("NPSNN_CUDA_GRAPHS", "0" if _cuda.SIMULATED else "1")
    if said not in ("0", "1"):
        raise ValueError(f"NPSNN_CUDA_GRAPHS is {said!r}, expected 0 or 1")
    return said == "1"


wanted = asked()


def graph(launches: list[_cuda.Launch]) -> Callable[[], None] | None:
    """What does all of them again, on the same memory; None where there are no graphs. Every kernel has run before."""
    if _cuda.SIMULATED:
        return partial(_one_by_one, launches)
    try:
        return _built(launches)
    except ImportError:  # cuda.core is not there
        return None
    except Exception as error:  # whatever a driver or an older package raises: the launches work without
        said = " ".join(str(error).split())[:200] or type(error).__name__
        warnings.warn(f"npsnn: no CUDA graph can be made, so a step is launched by kernels: {said}", stacklevel=2)
        return None


def _one_by_one(launches: list[_cuda.Launch]) -> None:
    for launch in launches:
        _cuda.start(launch)


def _built(launches: list[_cuda.Launch]) -> Callable[[], None]:
    from cuda.core import Device, Stream

    device = Device()
    device.set_current()
    builder = device.create_graph_builder().begin_building()
    stream = builder if _cuda.package() == "numba_cuda" else int(builder.stream.handle)
    for launch in launches:
        _cuda.start(launch, stream)
    built = builder.end_building().complete()
    default = Stream.from_handle(0)  # on which both copy
    built.upload(default)
    return lambda: built.launch(default)
