"""What has to be measured in a process of its own: peak memory, and the first step from a cold start.

    python -m benchmarks.child ENGINE NETWORK

takes two training steps and prints, as JSON, the seconds since the process began and the peak of its memory above what
it held before the first step.
"""

import json
import sys
import time

BEGUN = time.time()


def main() -> None:
    engine, name = sys.argv[1:]
    from benchmarks import engines
    from benchmarks.networks import NETWORKS

    run = getattr(engines, engine)(NETWORKS[name])
    held = _bytes("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts here, not with what the imports needed
    run.train()
    first = time.time() - BEGUN
    run.train()
    print(json.dumps({"first_step_s": first, "peak_bytes": _bytes("VmHWM") - held}))


def _bytes(name: str) -> int:
    """What Linux says of this process: VmRSS, what it holds now; VmHWM, the most it held."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name + ":"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
