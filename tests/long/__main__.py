"""Everything that takes minutes, one after the other: kills, long runs, coverage, and the fuzzing of every reader.

python -m tests.long                     all of it: about an hour on two cores
python -m tests.long kills runs          these alone
"""

import argparse
import os
import subprocess
import sys

PARTS = {
    "kills": ["tests.long.kills", "--kills", "1000"],
    "runs": ["tests.long.runs"],
    "coverage": ["tests.long.coverage"],
    "fuzz": ["tests.fuzz", "--inputs", "10000000", "--jobs", str(os.cpu_count())],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]}: there are {', '.join(PARTS)}")
    failed = []
    for part in parts:
        print(f"--- {part}", flush=True)
        if subprocess.run([sys.executable, "-m", *PARTS[part]], check=False).returncode:
            failed.append(part)
    print(f"FAILED: {', '.join(failed)}" if failed else "PASSED")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
