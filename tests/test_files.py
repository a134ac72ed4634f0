"""_files: every operation of a write failed in turn, every moment at which the power may go, and what is no file."""

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import npsnn
from npsnn import _files, checkpoint, optim
from tests.watched import Watched

PIECE = 64  # of a checkpoint of some 2,000 bytes, so that a write is many


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A network before and after a step: (save(path, which), the bytes of both files)."""
    net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), backend="reference")
    other = npsnn.Sequential(*net.layers, backend="reference", seed=1)
    folder = tmp_path_factory.mktemp("states")

    def save(path, which):
        n = (net, other)[which]
        checkpoint.save(path, n, optim.Adam(n), step=which)

    for which in (0, 1):
        save(folder / str(which), which)
    return save, [(folder / str(which)).read_bytes() for which in (0, 1)]


class Faulty(Watched):
    """Does what the system does until the call with number `at`, which goes wrong in one of several ways."""

    def __init__(self, at, fault):
        self.at, self.fault, self.hit = at, fault, ""

    def around(self, operation, *arguments):
        if self.calls != self.at:
            return operation(*arguments)
        self.hit = operation.__name__
        return FAULTS[self.fault](operation, *arguments)

    def remove(self, path):
        assert self.hit, "a file was removed though nothing had failed"
        super().remove(path)


def before(error):
    def fault(method, *arguments):
        raise error

    return fault


def after(error):
    """The system did it, and the answer was lost."""

    def fault(method, *arguments):
        method(*arguments)
        raise error

    return fault


def half(error=None):
    """Half of the data is taken; then comes the error, if there is one. Of other operations: the error, or nothing."""

    def fault(method, *arguments):
        if method.__name__ == "write":
            descriptor, data = arguments
            taken = method(descriptor, data[: (len(data) + 1) // 2])
            if error is None:
                return taken
        elif error is None:
            return method(*arguments)
        raise error

    return fault


FAULTS = {
    "ENOSPC": before(OSError(errno.ENOSPC, "No space left on device")),
    "EIO": before(OSError(errno.EIO, "Input/output error")),
    "EINTR": before(InterruptedError(errno.EINTR, "Interrupted system call")),
    "EIO, done": after(OSError(errno.EIO, "Input/output error")),
    "short": half(),
    "short, ENOSPC": half(OSError(errno.ENOSPC, "No space left on device")),
    "Ctrl-C": before(KeyboardInterrupt()),
    "Ctrl-C, done": after(KeyboardInterrupt()),
    "Ctrl-C, half": half(KeyboardInterrupt()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_operation_failed_in_turn_leaves_the_old_or_the_new(states, tmp_path, monkeypatch, fault):
    """The old until `replace`, the new from then on, and whichever it was, loadable; nothing lies about."""
    save, (old, new) = states
    path, hits = tmp_path / "a.npz", []
    monkeypatch.setattr(_files, "PIECE", PIECE)
    for at in itertools.count(1):
        path.write_bytes(old)
        system = Faulty(at, fault)
        monkeypatch.setattr(_files, "system", system)
        try:
            save(path, 1)
            failed = False
        except (OSError, KeyboardInterrupt) as error:
            failed = True
            assert isinstance(error, KeyboardInterrupt) or error.filename == str(path)
        if not system.hit:
            break
        hits.append(system.hit)
        renamed = system.hit == "flush_folder" or (system.hit == "replace" and "done" in fault)
        harmless = fault == "short"
        assert failed != harmless
        assert path.read_bytes() == (new if renamed or harmless else old), (fault, at, system.hit)
        assert checkpoint.load(path)["step"] == int(renamed or harmless)
        assert os.listdir(tmp_path) == ["a.npz"], (fault, at, system.hit)
    assert path.read_bytes() == new
    assert list(dict.fromkeys(hits)) == ["create", "write", "flush", "close", "replace", "flush_folder"]
    assert hits.count("write") >= len(new) // PIECE > 20


def test_a_remove_that_fails_too_does_not_hide_why(states, tmp_path, monkeypatch):
    save, (old, _) = states
    (tmp_path / "a.npz").write_bytes(old)

    class Broken(_files.System):
        def replace(self, source, target):
            raise OSError(errno.EIO, "Input/output error")

        def remove(self, path):
            raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(_files, "system", Broken())
    with pytest.raises(OSError, match="Input/output error"):
        save(tmp_path / "a.npz", 1)
    assert (tmp_path / "a.npz").read_bytes() == old
    assert len(list(tmp_path.glob(_files.STALE))) == 1
    assert _files.remove_stale(tmp_path) == 1 and os.listdir(tmp_path) == ["a.npz"]


# --- the power goes ------------------------------------------------------------------------------------------------


class Disk(_files.System):
    """Does what the system does and keeps a list of it."""

    def __init__(self):
        self.done, self.names = [], {}

    def create(self, path):
        descriptor = super().create(path)
        self.names[descriptor] = path.name
        self.done.append(("create", path.name))
        return descriptor

    def write(self, descriptor, data):
        self.done.append(("write", self.names[descriptor], bytes(data)))
        return super().write(descriptor, data)

    def flush(self, descriptor):
        self.done.append(("flush", self.names[descriptor]))

    def replace(self, source, target):
        self.done.append(("replace", source.name, target.name))
        super().replace(source, target)

    def flush_folder(self, folder):
        self.done.append(("flush folder",))


def contents(written, flushed):
    """What a file may hold after a crash: of the writes after the last flush one, or the last ones, or all, lost."""
    sure, loose = written[:flushed], written[flushed:]
    for kept in range(len(loose) + 1):
        yield b"".join(sure + loose[:kept])
    for lost in range(len(loose)):
        yield b"".join(sure + [bytes(len(w)) if k == lost else w for k, w in enumerate(loose)])


def after_a_crash(done, name, old):
    """Every content that `name` may have if the power goes after the operations `done`."""
    written, flushed, names = {}, {}, {name: [old]}
    for operation, *about in done:
        if operation == "create":
            written[about[0]], flushed[about[0]] = [], 0
        elif operation == "write":
            written[about[0]].append(about[1])
        elif operation == "flush":
            flushed[about[0]] = len(written[about[0]])
        elif operation == "replace":
            source, target = about
            names[target] = [*names[target], source]  # whether the disk has the new name yet is open
        else:
            names = {n: meanings[-1:] for n, meanings in names.items()}
    for meaning in names[name]:
        if meaning is old:
            yield old
        else:
            yield from contents(written[meaning], flushed[meaning])


def crash_states(save, old, path, monkeypatch, disk):
    path.write_bytes(old)
    monkeypatch.setattr(_files, "system", disk)
    monkeypatch.setattr(_files, "PIECE", PIECE)
    save(path, 1)
    for n in range(len(disk.done) + 1):
        yield n, list(after_a_crash(disk.done[:n], path.name, old))


def test_whenever_the_power_goes_the_old_or_the_new_is_there(states, tmp_path, monkeypatch):
    """Every prefix of the operations, writes that no flush followed dropped one by one, from the end, and all."""
    save, (old, new) = states
    seen = 0
    for n, possible in crash_states(save, old, tmp_path / "a.npz", monkeypatch, Disk()):
        for data in possible:
            assert data in (old, new), n
            assert checkpoint.parse(data, "a")["step"] == int(data == new)
            seen += 1
    assert possible == [new] and seen > 20


@pytest.mark.parametrize("forgotten", ["flush", "flush_folder"])
def test_that_check_sees_a_flush_that_is_left_out(states, tmp_path, monkeypatch, forgotten):
    save, (old, new) = states
    disk = Disk()
    monkeypatch.setattr(disk, forgotten, lambda *_: None)
    ends = [possible for _, possible in crash_states(save, old, tmp_path / "a.npz", monkeypatch, disk)]
    if forgotten == "flush":
        assert any(data not in (old, new) for data in ends[-2])
    else:
        assert set(ends[-1]) == {old, new}  # the save has returned, and the old may still be there


# --- other writers, other files ------------------------------------------------------------------------------------


def test_a_path_to_write_to_is_all_or_nothing_too(tmp_path):
    """As Matplotlib needs it, which opens files itself."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), _files.replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]
    with _files.replacing(path) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="has other permissions")
def test_the_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    _files.write(tmp_path / "a", lambda file: file.write(b"1"))
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["with space", "ümlaut-β", "n" * 250, "trailing.", "a.b.c"])
def test_names(tmp_path, name):
    _files.write(tmp_path / name, lambda file: file.write(b"1"))
    assert _files.read(tmp_path / name) == b"1" and os.listdir(tmp_path) == [name]


def test_what_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, error in (
        (tmp_path / "none" / "a", FileNotFoundError), (tmp_path / "file" / "a", NotADirectoryError),
        (tmp_path / "folder", IsADirectoryError), (tmp_path / ("n" * 300), OSError),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            _files.write(path, lambda file: file.write(b"1"))
        assert caught.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_reading(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    assert _files.read(tmp_path / "a", 3) == b"123"
    with pytest.raises(ValueError, match=r"a has 3 bytes, more than the 2 that are read at most"):
        _files.read(tmp_path / "a", 2)
    with pytest.raises(FileNotFoundError, match=r"b does not exist"):
        _files.read(tmp_path / "b")
    with pytest.raises(ValueError, match="is a folder, expected a file"):
        _files.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with names")
def test_what_might_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="is not a regular file, expected a file"):
            _files.read(path)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"123")
    real = os.stat(path)
    path.write_bytes(b"1234")
    monkeypatch.setattr(os, "stat", lambda _: real)
    with pytest.raises(ValueError, match="a changed while it was read"):
        _files.read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_a_folder_is_one_runs(tmp_path):
    again = _files.locked(tmp_path)
    with _files.locked(tmp_path), pytest.raises(ValueError, match="is in use by another run"):
        again.__enter__()
    with _files.locked(tmp_path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_a_killed_process_leaves_no_lock(tmp_path):
    program = f"""
import sys, time
from pathlib import Path
from npsnn import _files
with _files.locked(Path({str(tmp_path)!r})):
    print("mine", flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(npsnn.__file__).parent.parent)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"mine\n"
        with pytest.raises(ValueError, match="in use"), _files.locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with _files.locked(tmp_path):
        pass
