"""The main job: snnTorch's sixth tutorial, trained and recorded (floor 4)."""

import csv
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import npsnn
from npsnn import _check, _files, backprop, checkpoint, data, surrogate
from npsnn import functional as SF
from npsnn.generator import Generator
from npsnn.layers import Conv2d, Flatten, Linear, MaxPool2d
from npsnn.network import Firing, Sequential
from npsnn.neuron import Leaky
from npsnn.optim import Adam

LOSSES = {
    "ce_rate_loss": SF.ce_rate_loss,
    "ce_count_loss": SF.ce_count_loss,
    "ce_max_membrane_loss": SF.ce_max_membrane_loss,
    "mse_count_loss": SF.mse_count_loss,
    "mse_membrane_loss": SF.mse_membrane_loss,
}
IMAGE = (1, 28, 28)
CLASSES = 10


@dataclass(frozen=True)
class Settings:
    """Every number of the main job; the defaults are the tutorial's."""

    data: str | None = None  # a folder of the four IDX files; None: the embedded subset
    channels: tuple[int, int] = (12, 64)
    kernel_size: int = 5
    pool: int = 2
    beta: float = 0.5
    threshold: float = 1.0
    slope: float = 25.0
    num_steps: int = 50
    batch_size: int = 128
    epochs: int = 3
    loss: str = "ce_rate_loss"
    lr: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    seed: int = 0
    dtype: str = "float32"
    backend: str = "auto"
    memory_budget: int | None = None  # bytes that a training step's tape may take

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Settings from JSON's types; ValueError for a name that is none.

        >>> Settings.from_dict({"channels": [4, 8]}).channels
        (4, 8)
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"settings: {', '.join(unknown)} unknown; there are {', '.join(sorted(known))}")
        typed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**typed)


class Epoch(NamedTuple):
    """What one epoch came to."""

    epoch: int
    train_loss: float
    train_accuracy: float  # over the epoch's batches, each before its update
    test_loss: float
    test_accuracy: float
    seconds: float
    firing: dict[str, Firing]  # of the epoch's last training batch

    def line(self, epochs: int) -> str:
        """The line for the terminal."""
        return (
            f"epoch {self.epoch}/{epochs}: train loss {self.train_loss:.3f}, train accuracy "
            f"{100 * self.train_accuracy:.2f}%, test accuracy {100 * self.test_accuracy:.2f}%  ({self.seconds:.0f} s)"
        )

    def firing_line(self) -> str:
        """Each neuron layer's firing rate and share of silent neurons, and what follows where the last is silent."""
        parts = [f"{name} {f.rate:.3f} ({100 * f.silent:.0f}% silent)" for name, f in self.firing.items()]
        last = list(self.firing.values())[-1]
        note = "; the output layer is silent, so every answer is class 0" if last.rate == 0 else ""
        return "  firing rate: " + ", ".join(parts) + note

    def row(self) -> dict[str, float]:
        """The row for history.csv."""
        row: dict[str, float] = {k: v for k, v in self._asdict().items() if k != "firing"}
        for name, f in self.firing.items():
            row[f"rate {name}"], row[f"silent {name}"] = f.rate, f.silent
        return row


def build(settings: Settings, seed: int | Generator) -> Sequential:
    """The tutorial's network: 12C5-MP2-64C5-MP2-1024FC10 by default.

    >>> build(Settings(), 0).flat_params.size
    29826
    """
    c1, c2 = settings.channels

    def neuron() -> Leaky:
        return Leaky(settings.beta, settings.threshold, surrogate.fast_sigmoid(settings.slope))

    body = [
        Conv2d(IMAGE[0], c1, settings.kernel_size), MaxPool2d(settings.pool), neuron(),
        Conv2d(c1, c2, settings.kernel_size), MaxPool2d(settings.pool), neuron(),
        Flatten(),
    ]  # fmt: skip
    shape: tuple[int, ...] = (1, 1, *IMAGE)
    for i, layer in enumerate(body):
        shape = layer.out_shape(shape, f"{i} {type(layer).__name__}")
    layers = [*body, Linear(shape[-1], CLASSES), neuron()]
    return Sequential(
        *layers, dtype=settings.dtype, backend=settings.backend, seed=seed, memory_budget=settings.memory_budget
    )


class Run:
    """One training run: network, optimiser, data and loss from settings, an epoch at a time.

    Network and training loader share one generator, as a PyTorch program's do after `torch.manual_seed(seed)`.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {settings.loss!r}")
        _check.whole(settings.epochs, "epochs")
        _check.whole(settings.num_steps, "num_steps")
        self.settings = settings
        self.criterion = LOSSES[settings.loss]()
        generator = Generator(settings.seed)
        self.net = build(settings, generator)
        self.optimizer = Adam(self.net, settings.lr, settings.betas, settings.eps, settings.weight_decay)
        self.test = data.DataLoader(data.mnist("test", settings.data), settings.batch_size)
        self.train = data.DataLoader(
            data.mnist("train", settings.data), settings.batch_size, shuffle=True, drop_last=True, seed=generator
        )
        if len(self.train) == 0:
            raise ValueError(f"batch_size {settings.batch_size} is more than the {len(self.train.dataset)} images")

    def epoch(self, number: int, on_batch: Callable[[backprop.Batch], None] = lambda batch: None) -> Epoch:
        """Train on every batch once, then test."""
        start = time.perf_counter()
        losses, accuracies = [], []
        for batch in backprop.batches(
            self.net, self.train, self.optimizer, self.criterion, self.settings.num_steps, time_var=False
        ):
            losses.append(batch.loss)
            accuracies.append(SF.accuracy_rate(batch.spk_rec, batch.targets))
            on_batch(batch)
        firing = self.net.firing(batch.tape)
        test_loss, test_accuracy = evaluate(self.net, self.test, self.settings.num_steps, self.criterion)
        train = float(np.mean(losses)), float(np.mean(accuracies))
        return Epoch(number, *train, test_loss, test_accuracy, time.perf_counter() - start, firing)


def evaluate(net: Sequential, loader: data.DataLoader, num_steps: int, criterion: SF.Loss) -> tuple[float, float]:
    """(loss, accuracy) over every sample of `loader`, each counted once."""
    loss, right, samples = 0.0, 0.0, 0
    for x, targets in loader:
        spk_rec, mem_rec = net(np.asarray(x, net.dtype), num_steps)
        loss += len(x) * criterion(spk_rec if criterion.on == "spk" else mem_rec, targets)
        right += len(x) * SF.accuracy_rate(spk_rec, targets)
        samples += len(x)
    return loss / samples, right / samples


def restore(path: str | os.PathLike[str], backend: str = "auto") -> tuple[Sequential, Settings]:
    """The network of a checkpoint that `record` wrote, and its settings."""
    saved = checkpoint.load(path)
    if "settings" not in saved:
        raise ValueError(f"{os.fspath(path)}: holds no settings, so it is not of `npsnn train`")
    settings = Settings.from_dict({**saved["settings"], "backend": backend})
    net = build(settings, settings.seed)
    net.load_state_dict(saved["net"])
    return net, settings


def record(run: Run, folder: Path, on_batch: Callable[[backprop.Batch], None]) -> Iterator[Epoch]:
    """Train all epochs; after each, the checkpoint and history.csv are those of the epochs done."""
    settings = {"settings": asdict(run.settings), "versions": versions()}
    _write_text(folder / "settings.json", json.dumps(settings, indent=2) + "\n")
    rows: list[dict[str, float]] = []
    for number in range(1, run.settings.epochs + 1):
        epoch = run.epoch(number, on_batch)
        rows.append(epoch.row())
        checkpoint.save(
            folder / "checkpoint.npz", run.net, run.optimizer,
            epoch=number, settings=asdict(run.settings), generator=run.train.generator.get_state(),
        )  # fmt: skip
        _write_history(folder / "history.csv", rows)
        yield epoch


def versions() -> dict[str, str]:
    """What computed the run."""
    found = {"npsnn": npsnn.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("numba", "scipy", "matplotlib", "tqdm"):
        found[name] = installed(name)
    return found


def installed(package: str) -> str:
    """The version of a package, or "not installed"; it is not imported.

    >>> installed("surely-no-such-package")
    'not installed'
    """
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _write_history(path: Path, rows: list[dict[str, float]]) -> None:
    lines: list[str] = []

    class Lines:
        def write(self, line: str) -> None:
            lines.append(line)

    writer = csv.DictWriter(Lines(), fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write_text(path, "".join(lines))


def _write_text(path: Path, text: str) -> None:
    _files.write(path, lambda file: file.write(text.encode("utf-8")))
