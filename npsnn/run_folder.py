"""A training run in a folder: recorded as it goes, and gone on with after any stop (floor 4).

settings.json     what was asked for, and what computed it
checkpoint.npz    where the run stands: all that decides how it goes on, and what it came to
history.csv       a row an epoch
log.txt           what was said, for a person
(docs/checkpoint.md)
"""

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from npsnn import _files, backprop, checkpoint, health, settings
from npsnn._versions import versions
from npsnn.network import Sequential
from npsnn.settings import Settings
from npsnn.training import Epoch, Run, StoppedError, build

SAVE_EVERY = 50  # batches


def record(
    run: Run,
    folder: Path,
    on_batch: Callable[[backprop.Batch], None] = lambda batch: None,
    *,
    save_every: int = SAVE_EVERY,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Epoch]:
    """Train what is left of all epochs, in `folder`.

    The checkpoint is written at the start, every `save_every` batches, at the end of an epoch's batches, after its
    test, and when `stop()` turns True, which raises StoppedError; so a run can go on from it at any time (`resume`).
    """

    def save() -> None:
        if np.isfinite(run.net.flat_params).all():  # else the last checkpoint is the one to keep
            checkpoint.save(folder / "checkpoint.npz", run.net, run.optimizer, **run.state())

    def after(batch: backprop.Batch) -> None:
        on_batch(batch)
        done = len(run.progress.losses)
        if done % save_every == 0 or done == len(run.train):
            batch.settle()
            save()

    folder.mkdir(parents=True, exist_ok=True)
    asked = {"settings": asdict(run.settings), "versions": versions()}
    _write_text(folder / "settings.json", json.dumps(asked, indent=2) + "\n")
    save()
    _write_reports(run, folder)
    while len(run.history) < run.settings.epochs:
        try:
            epoch = run.epoch(after, stop)
        except StoppedError:
            save()
            raise
        except backprop.DivergedError as error:
            save()
            found = f"{error}; {health.after_failure(str(error))}"
            _write_reports(run, folder, f"epoch {len(run.history) + 1}: {found}")
            raise backprop.DivergedError(found) from None
        save()
        _write_reports(run, folder)
        yield epoch


def resume(folder: Path, changed: dict[str, Any]) -> Run:
    """The run that `record` wrote into `folder`, where it stands, with the settings that are `changed`.

    ValueError where there is none, and for a change that would make it another run. A run that was stopped before its
    first checkpoint stands at its beginning.
    """
    path = folder / "checkpoint.npz"
    if not path.exists():
        if (folder / "settings.json").exists():
            return Run(settings.read(folder / "settings.json").changed(changed))
        raise ValueError(f"{folder} holds no run to go on with; start one: npsnn train --out {folder}")
    saved = checkpoint.load(path)
    run = Run(_settings_of(saved, str(path)).changed(changed))
    if "backend" in changed:
        saved["backend"] = run.net.backend
    try:
        run.load(saved)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not a state that this run can go on from: {error}") from None
    return run


def restore(path: str | os.PathLike[str], backend: str = "auto") -> tuple[Sequential, Settings]:
    """The network of a checkpoint that `record` wrote, and its settings."""
    saved = checkpoint.load(path)
    found = replace(_settings_of(saved, os.fspath(path)), backend=backend)
    net = build(found, found.seed)
    checkpoint.put(saved, net, None, os.fspath(path))
    return net, found


def _settings_of(saved: dict[str, Any], where: str) -> Settings:
    if not isinstance(saved.get("settings"), dict):
        raise ValueError(f"{where}: holds no settings, so it is not of `npsnn train`")
    return Settings.from_dict(saved["settings"])


def _write_reports(run: Run, folder: Path, *more: str) -> None:
    """history.csv and log.txt, for a person: all that is in them is in the checkpoint too."""
    lines: list[str] = []

    class Lines:
        def write(self, line: str) -> None:
            lines.append(line)

    if run.history:
        writer = csv.DictWriter(Lines(), fieldnames=list(run.history[0].row()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(epoch.row() for epoch in run.history)
        _write_text(folder / "history.csv", "".join(lines))
    log = [line for epoch in run.history for line in epoch.lines(run.settings.epochs)]
    _write_text(folder / "log.txt", "".join(f"{line}\n" for line in (*log, *more)))


def _write_text(path: Path, text: str) -> None:
    _files.write(path, lambda file: file.write(text.encode("utf-8")))
