"""Every number of the main job, and the file that they are read from (floor 4)."""

import difflib
import json
import os
from dataclasses import dataclass, fields, replace
from typing import Any

from npsnn import _files

# When a run goes on; any other change would make it another run.
MAY_CHANGE = ("epochs", "data", "backend", "memory_budget", "check_finite")


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
    check_finite: bool = False  # look at every layer, to find out where a run goes wrong

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Settings from JSON's types; ValueError for a name that is none.

        >>> Settings.from_dict({"channels": [4, 8]}).channels
        (4, 8)
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise ValueError(f"settings: {', '.join(unknown)} unknown; {hint}")
        typed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**typed)

    def changed(self, values: dict[str, Any]) -> "Settings":
        """With other values that leave the run what it is; ValueError for one that would make it another.

        >>> Settings().changed({"epochs": 5}).epochs
        5
        >>> Settings().changed({"lr": 0.5})
        Traceback (most recent call last):
          ...
        ValueError: the run would be another with lr 0.01 -> 0.5; leave it out, or start anew
        """
        other = replace(self, **values)
        different = [
            f"{name} {getattr(self, name)} -> {getattr(other, name)}"
            for name in (f.name for f in fields(self))
            if name not in MAY_CHANGE and getattr(self, name) != getattr(other, name)
        ]
        if different:
            raise ValueError(f"the run would be another with {', '.join(different)}; leave it out, or start anew")
        return other


def read(path: str | os.PathLike[str]) -> Settings:
    """The settings of a settings.json; ValueError for what is none."""
    try:
        text = _files.read(path, 2**20, "a settings file").decode("utf-8")
        loaded = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
        return Settings.from_dict(dict(loaded.get("settings", loaded)))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)}: not a settings file: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
