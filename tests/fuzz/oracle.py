"""What a file says, read by other means than npsnn's: zipfile, json and NumPy's own reader, and nothing forgiven."""

import io
import json
import zipfile
from typing import Any

import numpy as np


class UnreadableError(ValueError):
    """The file has no one meaning."""


def members(data: bytes) -> dict[str, bytes]:
    """Name -> contents of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = {info.filename: archive.read(info) for info in archive.infolist()}
        if len(found) != len(archive.infolist()):
            raise UnreadableError("a name is there twice")
    return found


def array(content: bytes) -> np.ndarray:
    """A .npy file, whole and nothing more, in this machine's byte order."""
    file = io.BytesIO(content)
    found = np.load(file, allow_pickle=False)
    if not isinstance(found, np.ndarray) or file.read(1):
        raise UnreadableError("more than an array")
    return found.astype(found.dtype.newbyteorder("="))


def tree(text: bytes) -> Any:
    """JSON in which no key is there twice, and every number is a number."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)


def flat(nested: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """`{"a": {"b": 1}}` as `{("a", "b"): 1}`; not recursive, for names may be thousands of groups deep."""
    found: dict[tuple[str, ...], Any] = {}
    rest: list[tuple[tuple[str, ...], Any]] = [((key,), value) for key, value in nested.items()]
    while rest:
        path, value = rest.pop()
        if isinstance(value, dict) and value:
            rest += (((*path, key), inner) for key, inner in value.items())
        else:
            found[path] = value
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two arrays, or two things that JSON can say, are the same to the bit and the type."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableError("a key is there twice")
    return found


def _no_number(text: str) -> None:
    raise UnreadableError(f"{text} is no number")
