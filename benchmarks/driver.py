"""A CUDA driver without a GPU (driver.c): everything above the driver runs as it does on a GPU, and kernels do nothing.

It shows what no simulator does: that the packages take what npsnn gives them, and how long the host needs for a step.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("driver.c")


def why_not() -> str | None:
    """What is missing to build it."""
    return None if shutil.which("cc") else "no C compiler is installed"


def load(folder: Path) -> ctypes.CDLL:
    """Build it in `folder`, and make it the driver of this process, which must not have one yet."""
    library = folder / "libcuda.so.1"
    name = f"-Wl,-soname,{library.name}"  # by which whoever opens the driver later finds this one
    subprocess.run(["cc", "-O1", "-w", "-shared", "-fPIC", name, SOURCE, "-o", library, "-ldl"], check=True)
    driver = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    driver.set_limit.argtypes = [ctypes.c_size_t]
    for count in (driver.seen_launched, driver.seen_graphs, driver.seen_graph_launches):
        count.restype = ctypes.c_long
    return driver
