"""What has to be measured in a process of its own: peak memory, and the first step from a cold start.

    python -m benchmarks.child ENGINE NETWORK [--num-steps T] [--memory-budget BYTES]

takes two training steps and prints, as JSON, the seconds since the process began, those of the second step, and the
peak of its memory above what it held before the first. What it holds then are libraries and machine code, which a step
of one sample brought in. Another number of steps, and a budget, are for npsnn alone and a static input.
"""

import argparse
import ctypes
import gc
import json
import time

BEGUN = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine")
    parser.add_argument("network")
    parser.add_argument("--num-steps", type=int)
    parser.add_argument("--memory-budget", type=int)
    args = parser.parse_args()
    from benchmarks import engines
    from benchmarks.networks import NETWORKS
    from npsnn import _buffers

    engine, network = getattr(engines, args.engine), NETWORKS[args.network]
    engine(network._replace(batch=1, num_steps=2)).train()
    run = engine(network)
    if args.num_steps:
        run.steps = args.num_steps
    if args.memory_budget:
        run.net.memory_budget = args.memory_budget
    _buffers.release()  # what that step, and making the network's weights, needed
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # and what the allocator holds of it, which the next step would use unseen
    held = _bytes("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts here, not with what the imports needed
    run.train()
    first, start = time.time() - BEGUN, time.perf_counter()
    run.train()
    second = time.perf_counter() - start
    print(json.dumps({"first_step_s": first, "step_s": second, "peak_bytes": _bytes("VmHWM") - held}))


def _bytes(name: str) -> int:
    """What Linux says of this process: VmRSS, what it holds now; VmHWM, the most it held."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name + ":"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
