"""Machine code on disk, so that the next process compiles nothing (floor 0).

Numba keeps kernels too, but its files may lie: it does not see an edit in another file than the kernel's own, and two
processes that write at once may each leave the other's code under its name. Here a file holds all that decides what is
in it, and what is read is used only where that is the same: Numba's version, the types, the processor, the source of
whatever a kernel may be made of, and a sum over every byte. So a folder may be shared by processes, by machines, and by
copies of npsnn in several places, of one version or of several.
"""

import hashlib
import inspect
import os
import pickle
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

from npsnn import _files

PACKAGE = Path(__file__).parent


class KernelFiles:
    """The files of one kernel, one for every combination of types and processor."""

    def __init__(self, folder: str, base: str, stamp: str) -> None:
        self.folder, self.base, self.stamp = Path(folder), base, stamp

    def load(self, key: Any) -> Any:
        """What was saved with an equal key; None where there is none, or where its file is of something else."""
        with suppress(FileNotFoundError):
            kept = _files.read(self._path(key))
            if hashlib.sha256(kept[32:]).digest() == kept[:32]:
                content, data = pickle.loads(kept[32:])
                return data if content == (numba.__version__, self.stamp, key) else None
        return None

    def save(self, key: Any, data: Any) -> None:
        """All of it or nothing."""
        kept = dumps(((numba.__version__, self.stamp, key), data))
        _files.write(self._path(key), lambda file: file.write(hashlib.sha256(kept).digest() + kept))

    def flush(self) -> None:
        """Forget them."""
        for path in self.folder.glob(f"{self.base}.*.nbc"):
            path.unlink(missing_ok=True)

    def _path(self, key: Any) -> Path:
        types_and_processor = hashlib.sha256(repr(key[:2]).encode()).hexdigest()
        return self.folder / f"{self.base}.{types_and_processor[:20]}.nbc"


def sources() -> list[Path]:
    """Whatever of npsnn a kernel may be made of: floor 0 and the ops."""
    ops = [source for twin in PACKAGE.glob("*/cpu.py") for source in twin.parent.glob("*.py")]
    return sorted([*PACKAGE.glob("_*.py"), PACKAGE / "generator.py", PACKAGE / "surrogate.py", *ops])


@lru_cache
def _own_stamp() -> str:
    total = hashlib.sha256()
    for source in sources():
        total.update(b"%s %d " % (source.relative_to(PACKAGE).as_posix().encode(), source.stat().st_size))
        total.update(source.read_bytes())
    return total.hexdigest()


def _stamp_of(file: str) -> str:
    """Of what is compiled from that file: of npsnn's own sources, and of the file where it is none of them."""
    path = Path(os.path.abspath(file))
    if path.is_relative_to(PACKAGE):
        return _own_stamp()
    return _own_stamp() + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")


def _by_content(locator: Any) -> Any:
    """Numba's choice of a folder, which bears the stamp where it is none beside the source."""

    class ByContent(locator):  # type: ignore[misc]
        @classmethod
        def get_suitable_cache_subpath(cls, py_file: str) -> str:
            folder = Path(os.path.abspath(py_file)).parent
            if folder.is_relative_to(PACKAGE):
                return f"{'.'.join(folder.relative_to(PACKAGE.parent).parts)}_{_own_stamp()[:20]}"
            return str(super().get_suitable_cache_subpath(py_file))

        def get_source_stamp(self) -> str:
            return _stamp_of(self._py_file)

    return ByContent


class _Code(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes: ClassVar = [_by_content(locator) for locator in CompileResultCacheImpl._locator_classes]


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a kernel, on these files. It helps where it can; where a file is damaged, or a folder cannot be
    read or written to, the kernel is compiled as if there were none.
    """

    _impl_class = _Code

    def __init__(self, kernel: Any) -> None:
        super().__init__(kernel)
        self._cache_file = KernelFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, *key: Any) -> Any:
        try:
            return super().load_overload(*key)
        except Exception:  # there is no telling what unpickling a damaged file raises
            return None

    def save_overload(self, *item: Any) -> None:
        with suppress(OSError):
            super().save_overload(*item)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), _told(self._py_func)


def _told(value: Any) -> Any:
    """A function and what is enclosed in it, in words that do not depend on where its file is."""
    if not isinstance(value, FunctionType):
        return hashlib.sha256(dumps(value)).hexdigest()
    enclosed = tuple(_told(cell.cell_contents) for cell in value.__closure__ or ())
    file = os.path.abspath(inspect.getfile(value))
    if Path(file).is_relative_to(PACKAGE):
        return value.__module__, value.__qualname__, enclosed
    return hashlib.sha256(dumps(value)).hexdigest(), _stamp_of(file), enclosed
