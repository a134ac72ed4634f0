"""An animation as a file or as HTML."""

import base64
import importlib
import operator
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from npsnn import _files, _free
from npsnn.spikeplot import _door

SUFFIXES = (".gif", ".mp4", ".html")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>{video}</body>
</html>
"""


def save(anim: Any, path: str | os.PathLike[str], fps: float | None = None) -> None:
    """Write an animation to `path`: whole, or not at all.

    The suffix says how: `.gif` always works; `.mp4` and `.html`, a page that holds the video, need the program ffmpeg.
    The file is written beside its place and moved there when it is done, so a failure leaves an older file as it was.

    A GIF counts time in hundredths of a second, rounded down: 40 frames a second play as 50. Neighbouring frames that
    are equal to the last pixel become one, shown for as long as both.

    Parameters
    ----------
    anim : Animation
        From `animator` or `spike_count(..., animate=True)`, or any other of Matplotlib's.
    path : str or Path
        Ends in .gif, .mp4 or .html; its folder exists.
    fps : float, optional
        Frames a second; 1000 / interval without it.

    Example
    -------
    >>> import tempfile
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from pathlib import Path
    >>> from npsnn import spikeplot
    >>> fig = Figure(figsize=(2, 2))
    >>> film = spikeplot.spike_count(np.eye(2), fig, fig.subplots(), ["a", "b"], animate=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spikeplot.save(film, Path(folder) / "count.gif", fps=10)
    ...     print([file.name for file in Path(folder).iterdir()])
    ['count.gif']
    """
    animation = _door.matplotlib("animation")
    _animation(anim, animation, "save")
    target, suffix = _target(path)
    rate = None if fps is None else _door.positive(fps, "fps", "save")
    if suffix == ".gif":
        _need_memory(anim)
    else:
        _need_ffmpeg(animation, f"save: {target.name}")
    with _files.replacing(target) as draft:
        if suffix == ".html":
            draft.write_text(PAGE.format(title="Spikes", video=html5(anim, rate)), encoding="utf-8")
        elif suffix == ".mp4":
            _write_mp4(anim, draft, rate)
        else:
            anim.save(draft, writer="pillow", fps=rate)


def html5(anim: Any, fps: float | None = None) -> str:
    """The animation as an HTML5 video element, for a notebook: `IPython.display.HTML(spikeplot.html5(anim))`.

    Needs the program ffmpeg.

    Parameters
    ----------
    anim : Animation
        As for `save`.
    fps : float, optional
        Frames a second; 1000 / interval without it.

    Returns
    -------
    str
        `<video ...>...</video>` with the film inside, no other file needed.
    """
    animation = _door.matplotlib("animation")
    _animation(anim, animation, "html5")
    rate = None if fps is None else _door.positive(fps, "fps", "html5")
    _need_ffmpeg(animation, "html5: a video")
    with tempfile.TemporaryDirectory(prefix="npsnn-") as folder:
        film = Path(folder) / "film.mp4"
        _write_mp4(anim, film, rate)
        code = base64.b64encode(film.read_bytes()).decode("ascii")
    source = f'<source type="video/mp4" src="data:video/mp4;base64,{code}">'
    return f'<video controls autoplay loop muted playsinline style="max-width: 100%">{source}</video>'


def _animation(anim: Any, animation: Any, where: str) -> None:
    """Refuse what is no animation: None, from `spike_count` without `animate=True`, first of all."""
    if not isinstance(anim, animation.Animation):
        raise TypeError(f"{where}: anim must be a Matplotlib animation, got {type(anim).__name__}")


def _target(path: Any) -> tuple[Path, str]:
    """The path and its suffix in small letters, refused where nothing could be written."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"save: path must be a string or a Path, got {type(path).__name__}")
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"save: path must end in .gif, .mp4 or .html, got {target.name!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save: there is no folder {target.parent}")
    return target, suffix


def _need_ffmpeg(animation: Any, what: str) -> None:
    """RuntimeError unless Matplotlib finds ffmpeg."""
    if not animation.writers.is_available("ffmpeg"):
        raise RuntimeError(f"{what} needs the program ffmpeg, which was not found; install it, or save a .gif instead")


def _need_memory(anim: Any) -> None:
    """MemoryError where a GIF's frames, all of which Matplotlib keeps until the last is drawn, do not fit."""
    frames = operator.length_hint(anim.new_frame_seq())
    dpi = importlib.import_module("matplotlib").rcParams["savefig.dpi"]
    width, height = anim._fig.get_size_inches() * (anim._fig.dpi if dpi == "figure" else dpi)
    what = f"save: a GIF of {frames:,} frames of {width:.0f} x {height:.0f}"
    advice = "take fewer steps (num_steps=), a smaller figure, or .mp4, of which a frame is kept at a time"
    _free.require(int(3 * frames * width * height), what, advice)


def _write_mp4(anim: Any, path: Path, fps: float | None) -> None:
    """H.264, which every browser plays. An ffmpeg built without it starts, and then gives up."""
    try:
        anim.save(path, writer="ffmpeg", codec="h264", fps=fps)
    except (subprocess.CalledProcessError, BrokenPipeError) as error:
        raise RuntimeError(f"ffmpeg could not write the video ({error}); save a .gif instead") from error
