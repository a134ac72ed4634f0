"""The command line: what a run leaves, what it says, and how it fails."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import checkpoint, cli, training

SMALL = ["--num-steps", "3", "--channels", "2", "3", "--batch-size", "500", "--backend", "reference", "--no-progress"]
ROOT = str(Path(npsnn.__file__).parent.parent)


def run(*arguments, cwd):
    """npsnn in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-m", "npsnn", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two epochs: (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp("cli")
    done = run("train", *SMALL, "--epochs", "2", "--seed", "4", "--out", "mine", "--no-plots", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "mine", done.stdout


def test_train_prints_a_line_an_epoch_with_three_numbers(finished):
    lines = [line for line in finished[1].splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    for line in lines:
        for name in ("train loss", "train accuracy", "test accuracy"):
            assert float(line.split(name)[1].split()[0].strip("%,")) > 0
    assert "firing rate: 2 Leaky 0." in finished[1] and "% silent)" in finished[1]
    assert "mine: checkpoint.npz, history.csv, log.txt, settings.json" in finished[1]


def test_train_leaves_what_is_needed_to_run_it_again(finished, tmp_path):
    folder = finished[0]
    assert {p.name for p in folder.iterdir()} == {"checkpoint.npz", "history.csv", "log.txt", "settings.json"}
    assert all(line in finished[1] for line in (folder / "log.txt").read_text().splitlines())
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["settings"]["seed"] == 4 and settings["versions"]["numpy"] == np.__version__
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and "rate 2 Leaky" in rows[0]

    again = run(
        "train", "--settings", str(folder / "settings.json"), "--out", "b", "--no-plots", "--no-progress", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    a, b = checkpoint.load(folder / "checkpoint.npz"), checkpoint.load(tmp_path / "b" / "checkpoint.npz")
    for name in a["net"]:
        np.testing.assert_array_equal(a["net"][name], b["net"][name])


def test_eval_gives_the_last_epochs_test_accuracy(finished):
    done = run("eval", str(finished[0] / "checkpoint.npz"), "--backend", "reference", cwd=finished[0])
    last = [line for line in finished[1].splitlines() if line.startswith("epoch")][-1]
    assert done.returncode == 0
    assert done.stdout.startswith("1,000 test images: test loss ")
    assert done.stdout.split("test accuracy")[1].strip() == last.split("test accuracy")[1].split()[0]


def test_nothing_is_written_over(finished):
    done = run("train", *SMALL, "--out", str(finished[0]), cwd=finished[0])
    assert (done.returncode, done.stdout) == (2, "")
    folder = finished[0]
    assert (
        done.stderr == f"npsnn: {folder} holds a run already; give another --out, or go on with it: --resume {folder}\n"
    )


def test_the_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Matplotlib and Pillow")
    pytest.importorskip("matplotlib", reason="needs Matplotlib")
    done = run("train", *SMALL, "--epochs", "1", "--out", "p", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("accuracy.png", "raster.png"):
        with image.open(tmp_path / "p" / name) as picture:
            assert min(picture.size) > 300
    with image.open(tmp_path / "p" / "spike_count.gif") as movie:
        assert movie.format == "GIF"


ERRORS = [
    (["train", "--epochs", "0"], "epochs must be at least 1, got 0"),
    (["train", "--beta", "2"], "Leaky: beta must be in [0, 1], got 2.0"),
    (["train", "--threshold", "0"], "Leaky: threshold must be greater than 0, got 0.0"),
    (["train", "--lr", "-1"], "Adam: lr must be at least 0, got -1.0"),
    (["train", "--batch-size", "6001"], "batch_size 6001 is more than the 6000 images"),
    (["train", "--num-steps", "0"], "num_steps must be at least 1, got 0"),
    (["train", "--kernel-size", "29"], "0 Conv2d: kernel (29, 29) does not fit input 28x28"),
    (["train", "--data", "nowhere"], "nowhere"),
    (["train", "--settings", "nowhere.json"], "nowhere.json does not exist"),
    (["eval", "nowhere.npz"], "nowhere.npz does not exist"),
]


@pytest.mark.parametrize("arguments, message", ERRORS, ids=[" ".join(a) for a, _ in ERRORS])
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    _, err = capsys.readouterr()
    assert err.startswith("npsnn: ") and message in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "an error before the work leaves nothing behind"


@pytest.mark.parametrize("command", [[], ["train"], ["eval"], ["info"]])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    assert "npsnn" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["train", "--no-such-flag"], ["train", "--epochs", "two"], []])
def test_bad_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_info(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert f"npsnn       {npsnn.__version__}" in out and "reference   ready" in out


def test_a_reader_who_has_gone_is_no_error(tmp_path):
    done = run("info", cwd=tmp_path)
    assert done.returncode == 0
    pipe = subprocess.run(
        f"{sys.executable} -m npsnn info | head -n 1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert "Traceback" not in pipe.stderr and "Exception ignored" not in pipe.stderr


def test_defaults_are_the_tutorials():
    run = training.Run(training.Settings(backend="reference"))
    shapes = {name: value.shape for name, value in run.net.params.items()}
    assert shapes == {
        "0.weight": (12, 1, 5, 5), "0.bias": (12,), "3.weight": (64, 12, 5, 5), "3.bias": (64,),
        "7.weight": (10, 1024), "7.bias": (10,),
    }  # fmt: skip
    s = run.settings
    assert (s.beta, s.threshold, s.slope, s.num_steps, s.batch_size, s.epochs) == (0.5, 1.0, 25.0, 50, 128, 3)
    assert (s.loss, s.lr, s.betas, s.eps, s.seed) == ("ce_rate_loss", 1e-2, (0.9, 0.999), 1e-8, 0)
    assert (len(run.train), len(run.train.dataset), len(run.test.dataset)) == (46, 6000, 1000)


def test_settings_refuse_a_name_they_do_not_know():
    with pytest.raises(ValueError, match=r"settings: num_step unknown; did you mean num_steps\?"):
        training.Settings.from_dict({"num_step": 1})
    with pytest.raises(ValueError, match="settings: xyz unknown; there are backend, batch_size, beta"):
        training.Settings.from_dict({"xyz": 1})


@pytest.mark.parametrize("text, message", [
    ("{", "not a settings file: Expecting property name"), ("[]", "not a settings file"), ("3", "not a settings file"),
    ('{"lr": 1, "lr": 2}', "not a settings file: lr is there twice"), ('{"lr": NaN}', "file: NaN is no number of JSON"),
    ('{"settings": 3}', "not a settings file"), ("[" * 100_000, "not a settings file"),
    ('{"settings": {"lr": "1e-3"}}', "Adam: lr must be a number, got '1e-3'"),
    ('{"settings": {"epochs": 1.0}}', "epochs must be an integer, got 1.0"),
    ('{"settings": {"channels": 3}}', "channels must be a pair, got 3"),
    ('{"settings": {"dtype": "float16"}}', "dtype must be float32 or float64, got float16"),
    ('{"settings": {"dtype": "x"}}', "dtype must be float32 or float64, got 'x'"),
    ('{"settings": {"loss": []}}', "loss must be one of ce_rate_loss"),
    ('{"settings": {"seed": -1}}', "seed must be at least 0, got -1"),
    ('{"settings": {"data": 3}}', "data must be a folder's name, got 3"),
])  # fmt: skip
def test_a_settings_file_that_is_none(tmp_path, capsys, text, message):
    (tmp_path / "settings.json").write_text(text)
    assert cli.main(["train", "--settings", str(tmp_path / "settings.json"), "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_first_step_that_takes_long_is_explained(monkeypatch, capsys, tmp_path):
    pytest.importorskip("numba", reason="nothing is compiled without it")
    monkeypatch.setattr(cli, "PATIENCE", 0.0)
    arguments = [*SMALL, "--epochs", "1", "--no-plots", "--out", str(tmp_path / "run")]
    arguments[arguments.index("reference")] = "cpu"
    assert cli.main(["train", *arguments]) == 0
    assert "compiling the kernels, which takes some 20 s the first time\n" in capsys.readouterr().err
    assert cli.main(["train", *arguments[:-1], str(tmp_path / "another"), "--backend", "reference"]) == 0
    assert "compiling" not in capsys.readouterr().err


def test_a_name_that_the_terminal_has_not(tmp_path):
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "npsnn", "train", *SMALL, "--epochs", "1", "--no-plots", "--out", "grün"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0 and b"gr\\xfcn: checkpoint.npz" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="is a POSIX shell's way to close an output")
def test_an_output_that_is_closed_from_the_start(tmp_path):
    command = f"{sys.executable} -m npsnn info >&-"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_debug_shows_the_error_itself():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist"):
        cli.main(["eval", "nowhere.npz", "--debug"])


def test_a_folder_without_permission_is_said_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cli.main(["train", *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"npsnn: {tmp_path / 'run'} cannot be written to\n"
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("error, status, said", [
    (OSError(28, "No space left on device", "accuracy.png"), 2, "npsnn: accuracy.png: No space left on device\n"),
    (KeyboardInterrupt(), 130, "npsnn: stopped\n"),
])  # fmt: skip
def test_pictures_that_come_to_nothing_do_not_hide_that_the_run_is_complete(
    tmp_path, monkeypatch, capsys, error, status, said
):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli.pictures, "draw", fail)
    assert cli.main(["train", *SMALL, "--epochs", "1", "--out", str(tmp_path / "run")]) == status
    err = capsys.readouterr().err
    assert err.startswith(f"npsnn: the run is complete, its pictures are not: {tmp_path / 'run'}\n")
    assert err.endswith(said)
    assert checkpoint.load(tmp_path / "run" / "checkpoint.npz")["epoch"] == 1
