"""Write the archive of golden cases that the package ships: npsnn/verify/golden.tar.xz.

python -m tests.golden.make             write it
python -m tests.golden.make --check     compute every case again and hold it against the archive, byte for byte
"""

import argparse
import hashlib
import io
import sys
import tarfile
from pathlib import Path

from tests.golden.case import Case, to_json
from tests.golden.cases import every_case

ARCHIVE = Path(__file__).parents[2] / "npsnn" / "verify" / "golden.tar.xz"


def contents(cases: list[Case]) -> dict[str, bytes]:
    """Path -> bytes of every file, the manifest first."""
    files, entries = {}, {}
    for case in cases:
        own = dict(case.files())
        files |= own
        entries[case.name] = {
            "files": {path.split("/")[1]: hashlib.sha256(data).hexdigest() for path, data in own.items()},
            **{key: case.meta[key] for key in ("kind", "level", "op", "margin", "allowed_ulp")},
        }
    return {"manifest.json": to_json({"format": 1, "cases": entries}), **files}


def write(files: dict[str, bytes], path: Path) -> None:
    """One stream: sixteen thousand small files that look alike are a tenth of their size in it."""
    with tarfile.open(path, "w:xz", format=tarfile.USTAR_FORMAT, preset=9) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)  # with no time and no owner, so that the archive is always the same
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the archive instead of writing it")
    args = parser.parse_args()
    files = contents(list(every_case()))
    size = sum(map(len, files.values()))
    if not args.check:
        write(files, ARCHIVE)
        print(f"{ARCHIVE.name}: {len(files)} files, {size:,} bytes, {ARCHIVE.stat().st_size:,} compressed")
        return 0
    with tarfile.open(ARCHIVE) as archive:
        stored = {member.name: archive.extractfile(member).read() for member in archive}
    different = sorted(n for n in {*files, *stored} if files.get(n) != stored.get(n))
    print(f"{len(files) - len(different)} of {len(files)} files are what is computed again", *different[:10], sep="\n")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
