"""Going on: a run that was stopped, killed or broken ends with the bits of the run that never was."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import _files, backprop, checkpoint, cli, run_folder, training
from tests.long import kills

ROOT = str(Path(npsnn.__file__).parent.parent)
POSIX = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of 40 training and 16 test images."""
    folder = tmp_path_factory.mktemp("images")
    kills.write_images(folder)
    return folder


def settings(images, **changed):
    return training.Settings(data=str(images), **{**kills.SETTINGS, **changed})


def flags(images, **changed):
    """The same as flags of `npsnn train`."""
    values = {"data": images, **kills.SETTINGS, **changed}
    named = ((f"--{name.replace('_', '-')}", v) for name, v in values.items())
    return [part for name, v in named for part in (name, *map(str, v if isinstance(v, tuple) else (v,)))]


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    """The end of the run that was never stopped, and its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    list(run_folder.record(training.Run(settings(images)), folder))
    return kills.end_of(folder), folder


def stopper(after):
    """`stop` that turns True when it was asked so often."""
    asked = iter(range(after))
    return lambda: next(asked, None) is None


@pytest.mark.parametrize("after", range(26))
def test_stopped_at_any_moment_it_goes_on_to_the_same_bits(images, undisturbed, tmp_path, after):
    """Between any two batches, also of the test: it is asked eight times an epoch, three epochs."""
    run, stopped = training.Run(settings(images)), False
    try:
        list(run_folder.record(run, tmp_path, stop=stopper(after)))
    except training.StoppedError:
        stopped = True
    again = run_folder.resume(tmp_path, {})
    assert stopped == (len(again.history) < 3)
    assert len(again.progress.losses) == len(run.progress.losses)
    assert len(list(run_folder.record(again, tmp_path))) == 3 - len(run.history) if stopped else True
    assert kills.end_of(tmp_path) == undisturbed[0]


def test_what_a_run_leaves_is_the_same_but_for_the_time(images, undisturbed, tmp_path):
    with pytest.raises(training.StoppedError):
        list(run_folder.record(training.Run(settings(images)), tmp_path, stop=stopper(11)))
    list(run_folder.record(run_folder.resume(tmp_path, {}), tmp_path))
    names = ["checkpoint.npz", "history.csv", "log.txt", "settings.json"]
    assert sorted(os.listdir(tmp_path)) == sorted(os.listdir(undisturbed[1])) == names
    rows = []
    for folder in (tmp_path, undisturbed[1]):
        with open(folder / "history.csv") as file:
            rows.append([{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)])
    assert rows[0] == rows[1] and len(rows[0]) == 3
    logs = [(folder / "log.txt").read_text().splitlines() for folder in (tmp_path, undisturbed[1])]
    assert [line.split("  (")[0] for line in logs[0]] == [line.split("  (")[0] for line in logs[1]]
    for name in ("history.csv", "log.txt", "settings.json"):
        assert (tmp_path / name).read_bytes().isascii()


def test_more_epochs_are_those_of_the_run_that_was_asked_for_them(images, undisturbed, tmp_path):
    list(run_folder.record(training.Run(settings(images, epochs=1)), tmp_path))
    list(run_folder.record(run_folder.resume(tmp_path, {"epochs": 3}), tmp_path))
    assert kills.end_of(tmp_path) == undisturbed[0]


@POSIX
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fifty_kills():
    """`python -m tests.long.kills` does a thousand."""
    tally = kills.kill(50, seed=1)
    assert tally.kills == 50 and 15 < tally.in_a_save < 50 and tally.runs > 3 and tally.left_behind > 5


def forget(name):
    """A Run whose state lacks something, as a mistake would have it."""

    def state(self):
        s = STATE(self)
        if name == "position":
            s["loader"] = {**s["loader"], "position": 0}
        if name == "generator":
            s["loader"] = {**s["loader"], "generator": npsnn.Generator(0).get_state()}
        if name == "losses":
            s["losses"] = np.zeros_like(s["losses"])
        return s

    return state


STATE = training.Run.state


@POSIX
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("what", ["position", "generator", "losses", "moments", "steps"])
def test_the_kills_see_what_is_forgotten(monkeypatch, what, capfd):
    if what in ("moments", "steps"):
        full = npsnn.optim.Adam.state_dict

        def less(self):
            state = full(self)
            return {**state, "m": np.zeros_like(self.m)} if what == "moments" else {**state, "t": min(state["t"], 3)}

        monkeypatch.setattr(npsnn.optim.Adam, "state_dict", less)
    else:
        monkeypatch.setattr(training.Run, "state", forget(what))
    with pytest.raises(AssertionError, match=r"ended otherwise|could not go on|were lost"):
        kills.kill(30)


# --- the command ---------------------------------------------------------------------------------------------------


def start(*arguments, cwd, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-u", "-m", "npsnn", "train", "--no-plots", "--no-progress", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(command, cwd=cwd, env=environment, **pipes)


def finish(*arguments, cwd):
    with start(*arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@POSIX
@pytest.mark.parametrize("sent, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGKILL", -9)])
def test_a_signal_costs_at_most_the_step_under_way(images, tmp_path, sent, status):
    """A long run is stopped in its second epoch or later, and goes on twice as far as it had come."""
    with start(*flags(images, epochs=100_000), "--out", "mine", "--save-every", "1", cwd=tmp_path) as process:
        while "epoch 2/" not in process.stdout.readline():
            pass
        process.send_signal(getattr(signal, sent))
        out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    said = sum(line.startswith("epoch") for line in out.splitlines()) + 2
    if sent != "SIGKILL":
        assert "stopping after this step; once more stops at once" in err
        assert "saved; to go on: npsnn train --resume mine" in err
    stands = checkpoint.load(tmp_path / "mine" / "checkpoint.npz")["epoch"]
    assert said - 1 <= stands <= said
    code, out, err = finish("--resume", "mine", "--epochs", str(stands + 2), cwd=tmp_path)
    assert code == 0, err
    assert f"going on in epoch {stands + 1} after batch " in out and f"epoch {stands + 2}/{stands + 2}: " in out
    code, _, err = finish(*flags(images, epochs=stands + 2), "--out", "straight", cwd=tmp_path)
    assert code == 0, err
    assert kills.end_of(tmp_path / "mine") == kills.end_of(tmp_path / "straight")


@POSIX
def test_a_second_ctrl_c_stops_at_once(images, tmp_path):
    """In a step that takes long; the checkpoint is the one before it."""
    with start(*flags(images, num_steps=20_000), "--out", "mine", cwd=tmp_path) as process:
        process.stdout.readline()
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - began < 30
    assert err.endswith("npsnn: the last checkpoint is kept; to go on: npsnn train --resume mine\nnpsnn: stopped\n")
    assert checkpoint.load(tmp_path / "mine" / "checkpoint.npz")["epoch"] == 0
    assert "Traceback" not in out + err


@POSIX
def test_a_reader_who_has_gone_stops_it_with_all_saved(images, tmp_path):
    with start(*flags(images, epochs=100_000), "--out", "mine", cwd=tmp_path) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(60)
    assert process.returncode == 141 and "Traceback" not in err
    assert checkpoint.load(tmp_path / "mine" / "checkpoint.npz")["epoch"] >= 1


def test_a_run_that_is_done_says_so_and_stays(images, undisturbed, tmp_path, capsys):
    before = kills.end_of(undisturbed[1])
    assert cli.main(["train", "--resume", str(undisturbed[1]), "--no-plots"]) == 0
    assert "all 3 epochs are done; more of them: --epochs" in capsys.readouterr().out
    assert kills.end_of(undisturbed[1]) == before


def test_half_written_files_are_removed_and_mentioned(images, tmp_path, capsys):
    list(run_folder.record(training.Run(settings(images, epochs=1)), tmp_path))
    (tmp_path / ".npsnn-1-00000000.part.npz").write_bytes(b"half")
    assert cli.main(["train", "--resume", str(tmp_path), "--no-plots"]) == 0
    assert "removed 1 half-written file: a write was killed" in capsys.readouterr().out
    assert not list(tmp_path.glob(_files.STALE))


def test_other_versions_are_mentioned(images, tmp_path, capsys, monkeypatch):
    list(run_folder.record(training.Run(settings(images, epochs=1)), tmp_path))
    now = training.versions()
    monkeypatch.setattr(training, "versions", lambda: {**now, "numpy": "9.9"})
    assert cli.main(["train", "--resume", str(tmp_path), "--no-plots"]) == 0
    assert f"numpy was {np.__version__}, is 9.9: what comes may differ in its last bits" in capsys.readouterr().out


@pytest.fixture
def one_epoch(images, tmp_path):
    list(run_folder.record(training.Run(settings(images, epochs=1)), tmp_path / "run"))
    return tmp_path / "run"


def refused(capsys, *arguments):
    assert cli.main(["train", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("npsnn: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("given, message", [
    (["--lr", "0.5"], "the run would be another with lr 0.01 -> 0.5; leave it out, or start anew"),
    (["--seed", "6", "--batch-size", "4"], "another with num_steps 3 -> 4, batch_size 8 -> 4, seed 5 -> 6"),
    (["--channels", "2", "4"], "another with channels (2, 3) -> (2, 4)"),
    (["--dtype", "float64"], "another with dtype float32 -> float64"),
    (["--loss", "mse_count_loss"], "another with loss ce_rate_loss -> mse_count_loss"),
    (["--out", "x"], "--resume goes on in its own folder with its own settings: leave out --out and --settings"),
    (["--save-every", "0"], "--save-every must be at least 1, got 0"),
    (["--epochs", "0"], "epochs must be at least 1, got 0"),
])  # fmt: skip
def test_another_run_is_refused(one_epoch, capsys, given, message):
    before = (one_epoch / "checkpoint.npz").read_bytes()
    given = [*given, "--num-steps", "4"] if "num_steps" in message else given
    assert message in refused(capsys, "--resume", one_epoch, *given)
    assert (one_epoch / "checkpoint.npz").read_bytes() == before


def test_other_images_are_refused_and_the_same_elsewhere_are_not(one_epoch, images, tmp_path, capsys):
    for name in ("same", "other"):
        (tmp_path / name).mkdir()
        for file in images.iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    labels = tmp_path / "other" / "train-labels-idx1-ubyte"
    last = labels.read_bytes()[-1]
    labels.write_bytes(labels.read_bytes()[:-1] + bytes([last ^ 1]))
    message = refused(capsys, "--resume", one_epoch, "--data", tmp_path / "other")
    assert (
        "checkpoint.npz: not a state that this run can go on from: it was trained on other images than these" in message
    )
    arguments = ["train", "--resume", str(one_epoch), "--no-plots", "--epochs", "2"]
    assert cli.main([*arguments, "--data", str(tmp_path / "same")]) == 0


def test_another_backend_has_to_be_asked_for(one_epoch, capsys, monkeypatch):
    pytest.importorskip("numba", reason="needs two backends")
    saved = json.loads((one_epoch / "settings.json").read_text())
    assert saved["settings"]["backend"] == "reference"
    assert cli.main(["train", "--resume", str(one_epoch), "--no-plots", "--epochs", "2", "--backend", "cpu"]) == 0
    run = run_folder.resume(one_epoch, {})
    assert run.net.backend == "cpu"
    monkeypatch.setattr(npsnn.network.backends, "resolve", lambda name: "reference")
    with pytest.raises(
        ValueError, match="it was computed by 'cpu', this would be 'reference', whose bits differ; give"
    ):
        run_folder.resume(one_epoch, {})


def test_where_there_is_nothing_to_go_on_with(tmp_path, images, capsys):
    message = "holds no run to go on with; start one: npsnn train --out"
    assert message in refused(capsys, "--resume", tmp_path / "none")
    assert message in refused(capsys, "--resume", tmp_path)
    (tmp_path / "checkpoint.npz").write_bytes(b"PK")
    assert "not a readable checkpoint" in refused(capsys, "--resume", tmp_path)
    net = npsnn.Sequential(npsnn.Linear(2, 2))
    checkpoint.save(tmp_path / "checkpoint.npz", net)
    assert "holds no settings, so it is not of `npsnn train`" in refused(capsys, "--resume", tmp_path)


def test_settings_alone_are_the_beginning(tmp_path, images, undisturbed):
    """A kill may come between the two files."""
    run = training.Run(settings(images))
    written = run_folder.record(run, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
        with pytest.raises(OSError, match="gone"):
            next(written)
    assert os.listdir(tmp_path) == ["settings.json"]
    list(run_folder.record(run_folder.resume(tmp_path, {}), tmp_path))
    assert kills.end_of(tmp_path) == undisturbed[0]


@pytest.mark.parametrize("spoil", [
    lambda s: s.pop("loader"), lambda s: s.pop("images"), lambda s: s.update(losses=np.zeros(9)),
    lambda s: s.update(losses=3), lambda s: s.update(history=[{"epoch": 1}]), lambda s: s.update(firing=[1]),
    lambda s: s["loader"].update(position=99), lambda s: s["loader"].update(generator={}),
])  # fmt: skip
def test_a_state_that_is_none_is_refused(one_epoch, images, spoil, capsys):
    run = run_folder.resume(one_epoch, {})
    state = run.state()
    spoil(state)
    checkpoint.save(one_epoch / "checkpoint.npz", run.net, run.optimizer, **state)
    before = (one_epoch / "checkpoint.npz").read_bytes()
    message = refused(capsys, "--resume", one_epoch)
    assert message.startswith(f"npsnn: {one_epoch / 'checkpoint.npz'}: not a state that this run can go on from: ")
    assert (one_epoch / "checkpoint.npz").read_bytes() == before


def test_two_runs_do_not_share_a_folder(one_epoch, capsys):
    """The second does not even read it: what it read might be old by the time that it is let in."""
    (one_epoch / "checkpoint.npz").write_bytes(b"not to be read")
    with _files.locked(one_epoch):
        assert "is in use by another run" in refused(capsys, "--resume", one_epoch, "--epochs", "2")


def test_a_full_disk_keeps_the_checkpoint_before(one_epoch, images, capsys, monkeypatch):
    class Full(_files.System):
        writes = 0

        def write(self, descriptor, data):
            Full.writes += 1
            if Full.writes > 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(descriptor, data)

    monkeypatch.setattr(_files, "system", Full())
    assert cli.main(["train", "--resume", str(one_epoch), "--epochs", "3", "--no-plots", "--save-every", "2"]) == 2
    err = capsys.readouterr().err
    assert err == (
        f"npsnn: the last checkpoint is kept; to go on: npsnn train --resume {one_epoch}\n"
        f"npsnn: {one_epoch / 'checkpoint.npz'}: No space left on device\n"
    )
    monkeypatch.undo()
    run = run_folder.resume(one_epoch, {})
    assert len(run.history) == 1 and len(run.progress.losses) in (2, 4)


def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(images, tmp_path, capsys):
    (tmp_path / "file").touch()
    out, message = tmp_path / "file" / "run", "Not a directory"
    assert message in refused(capsys, *flags(images), "--out", out)


@pytest.mark.parametrize("spoilt, kept", [(3e38, 2), (np.nan, 0)])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(images, tmp_path, capsys, monkeypatch, spoilt, kept):
    """The checkpoint is of the batch before, or, where weights are not finite any more, the last in which they were."""
    step, calls = npsnn.optim.Adam.step, []

    def spoiling(self, grads):
        step(self, grads)
        calls.append(1)
        if len(calls) == 7:
            self.net.params["7.bias"][:] = spoilt

    monkeypatch.setattr(npsnn.optim.Adam, "step", spoiling)
    arguments = [*flags(images, loss="mse_membrane_loss"), "--out", tmp_path / "run"]
    with np.errstate(all="ignore"):
        code = cli.main(["train", "--no-plots", *map(str, arguments)])
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1
    found = "what the last layer gives is not finite at batch 2, step 0; no update was made from it; try a smaller --lr"
    assert err.startswith(f"npsnn: {found}") and err.endswith(f"; {tmp_path / 'run'} holds the run before it\n")
    assert (tmp_path / "run" / "log.txt").read_text().splitlines()[-1].startswith(f"epoch 2: {found}")
    run = run_folder.resume(tmp_path / "run", {})
    assert (len(run.history), len(run.progress.losses), run.optimizer.t) == (1, kept, 5 + kept)


def test_diverging_is_an_error_of_values():
    assert issubclass(backprop.DivergedError, ValueError)
