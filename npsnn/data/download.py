"""Fetch MNIST from the network: the only place of npsnn that uses it, and only when called."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from npsnn.data.idx import unpack
from npsnn.data.mnist import names

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
_CHUNK = 2**16


class Published(NamedTuple):
    """A file as its authors published it: where it belongs, and the size and SHA-256 of its unpacked content."""

    split: str
    kind: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name at the source, gzipped."""
        return names(self.split, self.kind)[1]


FILES = (
    Published("train", "images", 47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    Published("train", "labels", 60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    Published("test", "images", 7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    Published("test", "labels", 10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


def download_mnist(
    root: str | os.PathLike[str],
    *,
    mirrors: Sequence[str] = MIRRORS,
    files: Sequence[Published] = FILES,
    timeout: float = 30.0,
) -> Path:
    """Fetch the four files of MNIST (11.6 MB) into a folder and verify each by SHA-256.

    What is there already and is right is kept. What was cut off lies in a ``.part`` file and is gone on with by the
    next mirror or the next call. A file gets its name only after it was verified.

    Parameters
    ----------
    root : folder
        Made where it does not exist.
    mirrors : addresses
        Of the folders that have the files, tried in turn.
    files : list of Published
        What to fetch.
    timeout : float
        Seconds without an answer until a mirror is given up.

    Returns
    -------
    root : Path, so that ``mnist("train", root=download_mnist("mnist"))`` works

    Raises
    ------
    ValueError
        `root` has a file of one of MNIST's names with other content (Fashion-MNIST has the same names); it is left
        as it is. Or there are no `mirrors`.
    ConnectionError
        No mirror delivered a right file. The message has each mirror's reason and what to do by hand.
    OSError
        `root` cannot be written.

    Source
    ------
    Y. LeCun, C. Cortes, C. J. C. Burges, http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0

    Example
    -------
    >>> from npsnn.data import download_mnist, mnist
    >>> train = mnist("train", root=download_mnist("mnist"))    # doctest: +SKIP
    """
    if isinstance(mirrors, str) or not mirrors:
        raise ValueError(f"mirrors must be a list of at least one address, got {mirrors!r}")
    root = Path(root)
    missing = [file for file in files if not _is_there(root, file)]
    root.mkdir(parents=True, exist_ok=True)
    for file in missing:
        _fetch(root, file, mirrors, timeout)
    return root


def _is_there(root: Path, file: Published) -> bool:
    """Whether `root` has the right file under one of its names; ValueError for a wrong one."""
    for name in names(file.split, file.kind):
        path = root / name
        if path.exists():
            fault = _fault(path, file)
            if fault:
                raise ValueError(f"{path} is not MNIST's file: {fault}. Move it away or choose another root.")
            return True
    return False


def _fault(path: Path, file: Published) -> str:
    """What is wrong with a file, "" if nothing is."""
    try:
        content = unpack(path.read_bytes(), file.size + 1, path.name)
    except ValueError as error:
        return str(error)
    found = hashlib.sha256(content).hexdigest()
    return "" if found == file.sha256 else f"its SHA-256 is {found}, expected {file.sha256}"


def _fetch(root: Path, file: Published, mirrors: Sequence[str], timeout: float) -> None:
    part = root / (file.name + ".part")
    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + file.name
        try:
            _continue(url, part, file.size, timeout)
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {_reason(error)}")
            continue
        fault = _fault(part, file)
        if not fault:
            os.replace(part, root / file.name)
            return
        part.unlink()
        reasons.append(f"{url} sent a wrong file, now deleted: {fault}")
    raise ConnectionError(
        f"{file.name} could not be fetched ({'; '.join(reasons)}). Call again to go on, or fetch the file "
        f"by hand and put it into {root}; npsnn.data.mnist(split) without root needs no network."
    )


def _continue(url: str, part: Path, limit: int, timeout: float) -> None:
    """Append to `part` what it lacks, little beyond `limit` at most; ConnectionError where the server stops early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        # The part is as long as the file, or longer: what it is worth, its hash tells.
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        start = have if resumed else 0
        promised = start + (response.length or 0)
        size = start
        with open(part, "ab" if resumed else "wb") as target:
            while size <= limit and (chunk := response.read(_CHUNK)):
                target.write(chunk)
                size += len(chunk)
    if size < min(promised, limit):
        raise ConnectionError(f"stopped after {size} of {promised} bytes")


def _reason(error: Exception) -> str:
    text = str(error.reason) if isinstance(error, urllib.error.URLError) else str(error)
    return text or type(error).__name__
