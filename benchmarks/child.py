"""What has to be measured in a process of its own: peak memory, and the first step from a cold start.

    python -m benchmarks.child ENGINE NETWORK [--num-steps T] [--memory-budget BYTES]

takes two training steps and prints, as JSON, the seconds since the process began, those of the second step, and the
peak of its memory above what it held before the first. Another number of steps, and a budget, are for npsnn alone and
a static input.
"""

import argparse
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

    run = getattr(engines, args.engine)(NETWORKS[args.network])
    if args.num_steps:
        run.steps = args.num_steps
    if args.memory_budget:
        run.net.memory_budget = args.memory_budget
    _buffers.release()  # what making the network's weights needed
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
