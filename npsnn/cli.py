"""The command line (floor 5): `npsnn train`, `npsnn eval`, `npsnn info`."""

import argparse
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import npsnn
from npsnn import _check, _cuda, _files, backends, backprop, data, pictures, run_folder, training
from npsnn import settings as settings_file
from npsnn._signals import Stop
from npsnn._versions import versions
from npsnn.settings import Settings

INTERRUPTED = 130
PATIENCE = 3.0  # seconds until a first step that is not done is explained
NOBODY_READS = 141  # as of a program that a closed pipe ends


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 for success, 1 for a failed check, 2 for bad usage or input, 130 after Ctrl-C."""
    parser = _parser()
    args = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a folder's name may have what a terminal has not
            stream.reconfigure(errors="backslashreplace")
    try:
        status = int(args.command(args))
        if sys.stdout is not None:  # as it is where the output was closed before the start
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if args.debug:
            raise
        print(f"npsnn: {_sentence(error)}".replace("npsnn: npsnn:", "npsnn:"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("npsnn: stopped", file=sys.stderr)
        return INTERRUPTED


def _sentence(error: Exception) -> str:
    """An error in one line; the system's errors with the file first."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


# --- train ---------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> int:
    """The tutorial's network on MNIST; leaves a folder, says where."""
    save_every = _check.whole(args.save_every, "--save-every")
    if args.resume:
        if args.out or args.settings:
            raise ValueError("--resume goes on in its own folder with its own settings: leave out --out and --settings")
        folder = Path(args.resume)
        with _files.locked(folder):  # before it is read: another run may be going on from the same place
            return _train(run_folder.resume(folder, _given(args)), folder, save_every, args)
    run = training.Run(_settings(args))
    folder = _fresh_folder(args.out, run.settings.seed)
    with _files.locked(folder):
        return _train(run, folder, save_every, args)


def _train(run: training.Run, folder: Path, save_every: int, args: argparse.Namespace) -> int:
    """What is left of a run; the exit status."""
    settings = run.settings
    source = settings.data or "embedded subset"
    print(
        f"{len(run.train.dataset):,} training and {len(run.test.dataset):,} test images ({source}), "
        f"{run.net.flat_params.size:,} parameters, {run.net.dtype}, backend {run.net.backend}"
    )
    if args.resume:
        _say_where(run, folder)
    with Stop() as stop, _Bar(run, enabled=not args.no_progress) as bar:
        try:
            for epoch in run_folder.record(run, folder, bar.update, save_every=save_every, stop=stop):
                bar.next_epoch(*epoch.lines(settings.epochs))
        except training.StoppedError:
            done, batches = len(run.progress.losses), len(run.train)
            at = f"epoch {len(run.history) + 1} after batch {done} of {batches}"
            print(f"stopped in {at}, saved; to go on: npsnn train --resume {folder}", file=sys.stderr)
            return stop.status
        except backprop.DivergedError as error:
            raise ValueError(f"{error}; {folder} holds the run before it") from None
        except (OSError, KeyboardInterrupt):
            print(f"npsnn: the last checkpoint is kept; to go on: npsnn train --resume {folder}", file=sys.stderr)
            raise
    names = ["checkpoint.npz", "history.csv", "log.txt", "settings.json", *_pictures(run, folder, args.no_plots)]
    print(f"{folder}: {', '.join(names)}")
    return 0


def _say_where(run: training.Run, folder: Path) -> None:
    """Where a run goes on, and what has to be said of it."""
    stale = _files.remove_stale(folder)
    if stale:
        print(f"removed {stale} half-written {'file' if stale == 1 else 'files'}: a write was killed")
    done = len(run.progress.losses)
    if len(run.history) >= run.settings.epochs:
        print(f"all {len(run.history)} epochs are done; more of them: --epochs")
    else:
        print(f"going on in epoch {len(run.history) + 1} after batch {done} of {len(run.train)}")
    for name, then, now in run.other_versions:
        print(f"{name} was {then}, is {now}: what comes may differ in its last bits from the run never stopped")


class _Bar:
    """A progress bar with loss and images per second, one an epoch; plain lines where tqdm is missing or unwanted."""

    def __init__(self, run: training.Run, enabled: bool) -> None:
        self.run = run
        self.bar: Any = None
        self.patience = threading.Timer(PATIENCE, self._say_why_it_takes_so_long)
        self.patience.daemon = True
        self.tqdm: Callable[..., Any] | None = None
        if enabled and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                print('npsnn: a progress bar needs tqdm: pip install "npsnn[all]"', file=sys.stderr)
            else:
                self.tqdm = tqdm

    def __enter__(self) -> "_Bar":
        if self.run.net.backend != "reference":
            self.patience.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.patience.cancel()
        self._close()

    def _say_why_it_takes_so_long(self) -> None:
        print("compiling the kernels, which takes some 20 s the first time", file=sys.stderr, flush=True)

    def update(self, batch: Any) -> None:
        self.patience.cancel()
        if self.tqdm is None:
            return
        if self.bar is None:
            size, done = self.run.settings.batch_size, len(self.run.progress.losses) - 1
            total, initial = len(self.run.train) * size, done * size
            self.bar = self.tqdm(total=total, initial=initial, unit="image", leave=False, dynamic_ncols=True)
        self.bar.update(len(batch.targets))
        self.bar.set_postfix(loss=f"{batch.loss:.3f}")

    def next_epoch(self, *lines: str) -> None:
        self._close()
        print("\n".join(lines), flush=True)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _settings(args: argparse.Namespace) -> Settings:
    """Defaults, then the file of `--settings`, then the flags that were given."""
    settings = settings_file.read(args.settings) if args.settings else Settings()
    return replace(settings, **_given(args))


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    values = {f.name: getattr(args, f.name) for f in fields(Settings)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if v is not None}


def _fresh_folder(out: str | None, seed: int) -> Path:
    """The folder to write in, made now, so that it fails before the work and not after; none is written over."""
    folder = Path(out) if out else Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{seed}"
    if (folder / "settings.json").exists() or (folder / "checkpoint.npz").exists():
        raise ValueError(f"{folder} holds a run already; give another --out, or go on with it: --resume {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to")
    return folder


def _pictures(run: training.Run, folder: Path, skip: bool) -> list[str]:
    """Draw the pictures; a missing Matplotlib costs them, not the run."""
    if skip:
        return []
    try:
        return pictures.draw(run, run.history, folder)
    except ImportError as error:
        print(error, file=sys.stderr)
        return []
    except (KeyboardInterrupt, OSError):
        print(f"npsnn: the run is complete, its pictures are not: {folder}", file=sys.stderr)
        raise


# --- eval and info -------------------------------------------------------------------------------------------------


def evaluate(args: argparse.Namespace) -> int:
    """Test a checkpoint of `npsnn train`."""
    net, settings = run_folder.restore(args.checkpoint, args.backend or "auto")
    images = data.mnist(args.split, args.data or settings.data)
    loader = data.DataLoader(images, settings.batch_size)
    criterion = training.LOSSES[settings.loss]()
    loss, accuracy = training.evaluate(net, loader, settings.num_steps, criterion)
    split = args.split
    print(f"{len(images):,} {split} images: {split} loss {loss:.3f}, {split} accuracy {100 * accuracy:.2f}%")
    return 0


def check(args: argparse.Namespace) -> int:
    """Prove the engine on this machine; print the certificate."""
    from npsnn.verify.check import certificate, check

    rows = check((backends.resolve(args.backend),) if args.backend else None)
    print(certificate(rows))
    return 0 if all(row.ok for row in rows) else 1


def write_golden(args: argparse.Namespace) -> int:
    """Write the golden vectors into a folder."""
    from npsnn.verify import golden

    count = golden.write(args.out)
    print(f"{count:,} cases in {args.out}; the format is in docs/golden.md")
    return 0


def compare_recordings(args: argparse.Namespace) -> int:
    """Say where two recordings part, and why."""
    from npsnn.verify import recording
    from npsnn.verify.compare import compare

    if args.tolerance is not None and not args.tolerance >= 0:
        raise ValueError(f"--tolerance is {args.tolerance}, expected 0 or more")
    found = compare(recording.load(args.a), recording.load(args.b), args.tolerance)
    print(found)
    return 0 if found.verdict == "same" or (found.verdict == "tie" and args.allow_ties) else 1


def lab(args: argparse.Namespace) -> int:
    """Break the law by one line, and see which checks notice."""
    from npsnn.verify.lab import lab

    return lab(args.fault)


def info(args: argparse.Namespace) -> int:
    """What is installed and what would compute."""
    for name, version in versions().items():
        print(f"{name:12}{version}")
    print(f"{'ffmpeg':12}{shutil.which('ffmpeg') or 'not found (MP4 and HTML5 video need it; GIF does not)'}")
    for name in backends.NAMES:
        try:
            backends.resolve(name)
            state = "ready" + (" (default)" if backends.resolve("auto") == name else "")
            state += f" ({_cuda.available()[1]})" if name == "cuda" else ""
        except ValueError as error:
            state = str(error)
        print(f"{name:12}{state}")
    print(f"{'cores':12}{os.cpu_count()}")
    if backends.resolve("auto") == "cpu":
        from npsnn import _jit, _threads

        print(f"{'threads':12}{_threads.count()}")
        print(f"{'cache':12}{_jit.cache_folder()}")
    return 0


# --- the parser ----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="npsnn", description="Spiking networks, every derivative by hand.")
    parser.add_argument("--version", action="version", version=f"npsnn {npsnn.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _train_parser(commands)

    p = _command(commands, "eval", evaluate, "test a checkpoint", "npsnn eval runs/mine/checkpoint.npz")
    p.add_argument("checkpoint", metavar="CHECKPOINT")
    p.add_argument("--data", metavar="ROOT", help="a folder of the four IDX files (default: as it was trained)")
    p.add_argument("--split", choices=["train", "test"], default="test")
    p.add_argument("--backend", choices=["auto", *backends.NAMES], default="auto")

    p = _command(commands, "check", check, "prove the engine on this machine, in a table", "npsnn check --backend cpu")
    p.add_argument("--backend", choices=backends.NAMES, help="this backend alone (default: every one that works here)")

    p = _command(commands, "golden", write_golden, "write the golden vectors into a folder", "npsnn golden vectors")
    p.add_argument("out", metavar="OUT", type=Path, help="a new or empty folder")

    p = _command(
        commands, "compare", compare_recordings, "say where two recordings part, and why", "npsnn compare mine theirs"
    )
    p.add_argument("a", metavar="A", type=Path, help="the recording that is right: a folder or a zip")
    p.add_argument("b", metavar="B", type=Path, help="the recording to hold against it")
    p.add_argument(
        "--tolerance", type=float, help="what counts as rounding, as a share of an array's largest entry (default: "
        "1e-12 where both are float64, 1e-5 where one is float32)",
    )  # fmt: skip
    p.add_argument("--allow-ties", action="store_true", help="exit 0 where only rounding ties were found")

    p = _command(commands, "lab", lab, "break the engine by one line, and see which check notices", "npsnn lab 3")
    p.add_argument("fault", metavar="FAULT", nargs="?", help="its number, or all (default: list them)")

    _command(commands, "info", info, "versions, backends, threads, cache", "npsnn info")
    return parser


def _train_parser(commands: Any) -> None:
    p = _command(
        commands, "train", train, "train snnTorch's sixth tutorial on MNIST",
        "npsnn train --epochs 1 --num-steps 25 --seed 7 --out runs/mine",
    )  # fmt: skip
    default = asdict(Settings())

    def add(flag: str, help: str, **options: Any) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        shown = default[name]
        shown = " ".join(map(str, shown)) if isinstance(shown, tuple) else "no limit" if shown is None else shown
        p.add_argument(flag, default=None, help=f"{help} (default: {shown})", **options)

    p.add_argument(
        "--data", metavar="ROOT", help="a folder of the four IDX files of MNIST or Fashion-MNIST (default: the subset)"
    )
    add("--epochs", "how often every training image is seen", type=int)
    add("--batch-size", "images per update; a smaller last batch is left out", type=int)
    add("--num-steps", "time steps that each image is shown", type=int)
    add("--channels", "of the two convolutions", type=int, nargs=2)
    add("--kernel-size", "of both convolutions", type=int)
    add("--pool", "width of both max-pools", type=int)
    add("--beta", "membrane decay per step, 0 to 1", type=float)
    add("--threshold", "firing threshold, above 0", type=float)
    add("--slope", "of the fast sigmoid surrogate", type=float)
    add("--loss", "the loss", choices=list(training.LOSSES))
    add("--lr", "Adam's learning rate", type=float)
    add("--betas", "Adam's two decays", type=float, nargs=2)
    add("--eps", "Adam's eps", type=float)
    add("--weight-decay", "L2, added to the gradient", type=float)
    add("--seed", "of weights and batches, meaning what it means to PyTorch", type=int)
    add("--dtype", "of everything", choices=["float32", "float64"])
    add("--backend", "what computes", choices=["auto", *backends.NAMES])
    add("--memory-budget", "bytes for what backward needs of forward; the rest is computed again", type=int)
    add(
        "--check-finite",
        "name layer, step and sample of the first NaN or inf; several times slower",
        action="store_true",
    )
    p.add_argument("--out", metavar="DIR", help="where to write (default: a new folder in runs/)")
    p.add_argument("--resume", metavar="DIR", help="go on with the run in DIR, to the bits of the run never stopped")
    p.add_argument(
        "--save-every", metavar="N", type=int, default=run_folder.SAVE_EVERY,
        help="batches between two checkpoints: what a killed run loses (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--settings", metavar="FILE", help="a settings.json to run again; flags given beside it win")
    p.add_argument("--no-progress", action="store_true", help="no progress bar")
    p.add_argument("--no-plots", action="store_true", help="no pictures")


def _command(commands: Any, name: str, run: Any, help: str, example: str) -> argparse.ArgumentParser:
    p: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", epilog=f"example: {example}"
    )
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    p.set_defaults(command=run)
    return p
