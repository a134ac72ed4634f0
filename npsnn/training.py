"""The main job: snnTorch's sixth tutorial, an epoch at a time, from wherever it stands (floor 4)."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check, backprop, checkpoint, data, health, surrogate
from npsnn import functional as SF
from npsnn._versions import versions
from npsnn.generator import Generator
from npsnn.layer import Layer, where
from npsnn.layers import Conv2d, Flatten, Linear, MaxPool2d
from npsnn.network import Firing, Sequential
from npsnn.neuron import Leaky
from npsnn.optim import Adam
from npsnn.settings import Settings as Settings

LOSSES = {
    "ce_rate_loss": SF.ce_rate_loss,
    "ce_count_loss": SF.ce_count_loss,
    "ce_max_membrane_loss": SF.ce_max_membrane_loss,
    "mse_count_loss": SF.mse_count_loss,
    "mse_membrane_loss": SF.mse_membrane_loss,
}
IMAGE = (1, 28, 28)
CLASSES = 10


class Epoch(NamedTuple):
    """What one epoch came to."""

    epoch: int
    train_loss: float
    train_accuracy: float  # over the epoch's batches, each before its update
    test_loss: float
    test_accuracy: float
    seconds: float
    firing: dict[str, Firing]  # of the epoch's last training batch
    notes: tuple[str, ...] = ()  # what is wrong in that batch, and what to try

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

    def lines(self, epochs: int) -> list[str]:
        """All that there is to say of it."""
        return [self.line(epochs), self.firing_line(), *(f"  note: {note}" for note in self.notes)]

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Epoch":
        """From JSON's types."""
        firing = {name: Firing(*fired) for name, fired in values["firing"].items()}
        return cls(**{**values, "firing": firing, "notes": tuple(values["notes"])})

    def row(self) -> dict[str, float]:
        """The row for history.csv."""
        row: dict[str, float] = {k: v for k, v in self._asdict().items() if k not in ("firing", "notes")}
        for name, f in self.firing.items():
            row[f"rate {name}"], row[f"silent {name}"] = f.rate, f.silent
        return row


def build(settings: Settings, seed: int | Generator) -> Sequential:
    """The tutorial's network: 12C5-MP2-64C5-MP2-1024FC10 by default.

    >>> build(Settings(), 0).flat_params.size
    29826
    """
    if not isinstance(settings.channels, tuple) or len(settings.channels) != 2:
        raise ValueError(f"channels must be a pair, got {settings.channels!r}")
    c1, c2 = settings.channels

    def neuron() -> Leaky:
        return Leaky(settings.beta, settings.threshold, surrogate.fast_sigmoid(settings.slope))

    body: list[Layer] = [
        Conv2d(IMAGE[0], c1, settings.kernel_size), MaxPool2d(settings.pool), neuron(),
        Conv2d(c1, c2, settings.kernel_size), MaxPool2d(settings.pool), neuron(),
        Flatten(),
    ]  # fmt: skip
    shape: tuple[int, ...] = (1, 1, *IMAGE)
    for i, layer in enumerate(body):
        shape = layer.out_shape(shape, where(body, i))
    layers = [*body, Linear(shape[-1], CLASSES), neuron()]
    return Sequential(
        *layers, dtype=settings.dtype, backend=settings.backend, seed=seed, memory_budget=settings.memory_budget,
        check_finite=settings.check_finite,
    )  # fmt: skip


@dataclass
class Progress:
    """The epoch under way: what its batches came to so far."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    firing: dict[str, Firing] = field(default_factory=dict)  # of its last batch, once that is done
    notes: tuple[str, ...] = ()  # likewise


class StoppedError(Exception):
    """The run was asked to stop, and is saved as far as it had come."""


class Run:
    """One training run: network, optimiser, data and loss from settings, an epoch at a time.

    Network and training loader share one generator, as a PyTorch program's do after `torch.manual_seed(seed)`. What
    `state` says and `load` takes over is all that decides how it goes on.
    """

    def __init__(self, settings: Settings) -> None:
        if not isinstance(settings.loss, str) or settings.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {settings.loss!r}")
        _check.whole(settings.epochs, "epochs")
        _check.whole(settings.num_steps, "num_steps")
        if settings.data is not None and not isinstance(settings.data, str):
            raise TypeError(f"data must be a folder's name, got {settings.data!r}")
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
        self.history: list[Epoch] = []
        self.progress = Progress()
        self.other_versions: list[tuple[str, str, str]] = []  # (name, then, now) of what computed the part before

    def epoch(
        self, on_batch: Callable[[backprop.Batch], None] = lambda batch: None, stop: Callable[[], bool] = lambda: False
    ) -> Epoch:
        """Train on what is left of the epoch's batches, then test.

        StoppedError where `stop()` is True between two batches; the next call goes on from there.
        """
        for batch in self._batches():
            on_batch(batch)
            if stop():
                batch.settle()
                raise StoppedError
        start, now = time.perf_counter(), self.progress
        test_loss, test_accuracy = evaluate(self.net, self.test, self.settings.num_steps, self.criterion, stop)
        train = float(np.mean(now.losses)), float(np.mean(now.accuracies))
        seconds = now.seconds + time.perf_counter() - start
        epoch = Epoch(len(self.history) + 1, *train, test_loss, test_accuracy, seconds, now.firing, now.notes)
        self.history.append(epoch)
        self.progress = Progress()
        return epoch

    def _batches(self) -> Iterator[backprop.Batch]:
        now = self.progress
        if len(now.losses) == len(self.train):
            return
        start = time.perf_counter()
        for batch in backprop.batches(
            self.net, self.train, self.optimizer, self.criterion, self.settings.num_steps, time_var=False
        ):
            now.losses.append(batch.loss)
            now.accuracies.append(SF.accuracy_rate(batch.spk_rec, batch.targets))
            if len(now.losses) == len(self.train):
                now.firing, now.notes = self.net.firing(batch.tape), self._notes(batch)
            start, now.seconds = time.perf_counter(), now.seconds + time.perf_counter() - start
            yield batch

    def _notes(self, batch: backprop.Batch) -> tuple[str, ...]:
        on, last = self.criterion.on, len(self.net.layers) - 1
        rec = batch.spk_rec if on == "spk" else batch.tape.neurons()[last].U
        _, d = self.criterion.value_and_grad(rec, batch.targets)
        return tuple(health.notes(self.net, batch.tape, **{f"d{on}": d}))

    def state(self) -> dict[str, Any]:
        """Beside network and optimiser, what decides how the run goes on, and what it came to so far."""
        now = self.progress
        return {
            "settings": asdict(self.settings),
            "versions": versions(),
            "backend": self.net.backend,
            "images": self.images,
            "epoch": len(self.history),
            "history": [epoch._asdict() for epoch in self.history],
            "loader": self.train.state_dict(),
            "losses": np.array(now.losses),
            "accuracies": np.array(now.accuracies),
            "seconds": now.seconds,
            "firing": [[name, *fired] for name, fired in now.firing.items()],
            "notes": list(now.notes),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Go to where `checkpoint.load` found a run of these settings; an error where that cannot be.

        The run is then good for nothing else.
        """
        theirs, ours = saved["backend"], self.net.backend
        if theirs != ours:
            raise ValueError(
                f"it was computed by {theirs!r}, this would be {ours!r}, whose bits differ; give --backend"
            )
        if saved["images"] != self.images:
            raise ValueError("it was trained on other images than these")
        now = Progress(
            saved["losses"].tolist(), saved["accuracies"].tolist(), float(saved["seconds"]),
            {name: Firing(rate, silent) for name, rate, silent in saved["firing"]}, tuple(saved["notes"]),
        )  # fmt: skip
        history = [Epoch.of(values) for values in saved["history"]]
        if not len(now.losses) == len(now.accuracies) <= len(self.train):
            raise ValueError(f"it has {len(now.losses)} batches of an epoch of {len(self.train)}")
        checkpoint.put(saved, self.net, self.optimizer, "it")
        self.train.load_state_dict(saved["loader"])
        self.history, self.progress = history, now
        then, today = saved["versions"], versions()
        self.other_versions = [(n, then.get(n, "not there"), v) for n, v in today.items() if then.get(n) != v]

    @cached_property
    def images(self) -> str:
        """The SHA-256 of all images and labels."""
        sha = hashlib.sha256()
        for dataset in (self.train.dataset, self.test.dataset):
            sha.update(dataset.data.tobytes())
            sha.update(dataset.targets.tobytes())
        return sha.hexdigest()


def evaluate(
    net: Sequential,
    loader: data.DataLoader,
    num_steps: int,
    criterion: SF.Loss,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[float, float]:
    """(loss, accuracy) over every sample of `loader`, each counted once. StoppedError where `stop()` is True."""
    loss, right, samples = 0.0, 0.0, 0
    for x, targets in loader:
        spk_rec, mem_rec = net(np.asarray(x, net.dtype), num_steps)
        loss += len(x) * criterion(spk_rec if criterion.on == "spk" else mem_rec, targets)
        right += len(x) * SF.accuracy_rate(spk_rec, targets)
        samples += len(x)
        if stop():
            raise StoppedError
    return loss / samples, right / samples
