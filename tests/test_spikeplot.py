"""spikeplot: the numbers behind what is drawn, where it is drawn, what is refused, and the files."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npsnn import spikeplot

pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')

import matplotlib
from matplotlib import animation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(spikeplot.__file__).parents[2]
NEEDS_FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")

SPIKES = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]])  # (4, 3); neuron 0 spikes in the last time step
NAMES = ["a", "b", "c"]
DTYPES = [bool, np.uint8, np.int64, np.float16, np.float32, np.float64]


class Recorder(animation.AbstractMovieWriter):
    """Looks at each frame as a file would, and writes none."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []

    def setup(self, fig, outfile, dpi=None):
        super().setup(fig, outfile, dpi)

    def grab_frame(self, **kwargs):
        self.seen.append(self.look())

    def finish(self):
        pass


@pytest.fixture
def canvas():
    fig = Figure(figsize=(4, 3))
    return fig, fig.subplots()


@pytest.fixture(autouse=True)
def same_settings():
    """No test may leave a setting of Matplotlib changed."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before


def frames(anim, look):
    """What `look` returns at every frame, in order."""
    recorder = Recorder(look)
    anim.save("unwritten", writer=recorder)
    return recorder.seen


def bars(ax):
    """The length of every bar, bottom to top, with its dot at its end."""
    (lines,) = (c for c in ax.collections if hasattr(c, "get_segments"))
    segments = lines.get_segments()
    lengths = [float(s[1, 0] - s[0, 0]) for s in segments]
    assert [s[0].tolist() for s in segments] == [[0.0, n + 1.0] for n in range(len(segments))]
    assert ax.lines[0].get_xdata().tolist() == lengths
    assert ax.lines[0].get_ydata().tolist() == [n + 1 for n in range(len(segments))]
    return lengths


def film(fig, ax, T=4):
    """A short animation whose frames all differ."""
    return spikeplot.animator(np.eye(T).reshape(T, 2, -1), fig, ax)


# --- raster --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_raster_draws_a_dot_for_every_spike(canvas, dtype):
    dots = spikeplot.raster(SPIKES.astype(dtype), canvas[1])
    assert dots.axes is canvas[1]
    assert np.asarray(dots.get_offsets()).tolist() == np.argwhere(SPIKES).tolist()


def test_raster_of_one_neuron(canvas):
    dots = spikeplot.raster(np.array([0, 1, 0, 1]), canvas[1])
    assert np.asarray(dots.get_offsets()).tolist() == [[1, 0], [3, 0]]


def test_raster_keeps_silent_steps_and_neurons_in_view(canvas):
    ax = canvas[1]
    spikes = np.zeros((20, 8))
    spikes[5, 2] = 1
    spikeplot.raster(spikes, ax)
    assert ax.get_xlim()[0] <= 0 and ax.get_xlim()[1] >= 19
    assert ax.get_ylim()[0] <= 0 and ax.get_ylim()[1] >= 7


def test_raster_without_a_spike_draws_nothing_and_succeeds(canvas):
    assert len(spikeplot.raster(np.zeros((5, 2)), canvas[1]).get_offsets()) == 0


def test_raster_passes_its_keywords_to_scatter(canvas):
    dots = spikeplot.raster(SPIKES, canvas[1], s=1.5, c="black", label="layer 1")
    assert dots.get_sizes().tolist() == [1.5]
    assert dots.get_facecolor().tolist() == [[0, 0, 0, 1]]
    assert dots.get_label() == "layer 1"


# --- spike_count ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_bars_at_rest_are_the_counts(canvas, dtype):
    assert spikeplot.spike_count(SPIKES.astype(dtype), *canvas, NAMES) is None
    assert bars(canvas[1]) == [3, 2, 0]


def test_num_steps_counts_the_first_steps(canvas):
    spikeplot.spike_count(SPIKES, *canvas, NAMES, num_steps=3)
    assert bars(canvas[1]) == [2, 2, 0]
    assert canvas[1].get_xlim() == (0, 3)


@pytest.mark.parametrize("num_steps", [None, False, 4])  # False is snnTorch's "all of them"
def test_every_frame_counts_what_came_before_and_the_last_one_counts_all(canvas, num_steps):
    anim = spikeplot.spike_count(SPIKES, *canvas, NAMES, num_steps=num_steps, animate=True)
    assert frames(anim, lambda: bars(canvas[1])) == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 2, 0], [3, 2, 0]]


def test_the_time_line_moves_by_fractions_of_a_step_and_ends_at_the_end(canvas):
    anim = spikeplot.spike_count(SPIKES, *canvas, NAMES, animate=True, interpolate=4)
    seen = frames(anim, lambda: (float(canvas[1].lines[1].get_xdata()[0]), bars(canvas[1])[0]))
    counts = [0, 1, 1, 2, 3]
    assert seen == [(i / 4, counts[i // 4]) for i in range(17)]


def test_labels_stand_at_the_bars(canvas):
    spikeplot.spike_count(np.ones((50, 10)), *canvas, np.arange(10))
    ax = canvas[1]
    assert [text.get_text() for text in ax.get_yticklabels()] == [str(n) for n in range(10)]
    assert ax.get_yticks().tolist() == list(range(1, 11))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Time Step", "Labels")
    assert (ax.get_xlim(), ax.get_xticks().tolist()[-1]) == ((0, 50), 50)


def test_time_step_puts_seconds_on_the_axis(canvas):
    spikeplot.spike_count(np.ones((50, 2)), *canvas, ["a", "b"], time_step=1e-3)
    ax = canvas[1]
    assert ax.get_xlabel() == "Time [s]"
    assert [float(t.get_text()) for t in ax.get_xticklabels()] == pytest.approx([t * 1e-3 for t in ax.get_xticks()])
    assert bars(ax) == [50, 50]


def test_gridshader_shades_every_second_stretch(canvas):
    ax = canvas[1]
    spikeplot.spike_count(np.ones((50, 2)), *canvas, ["a", "b"])
    ticks = ax.get_xticks()
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in ax.patches] == list(
        zip(ticks[1::2], ticks[2::2], strict=False)
    )
    spikeplot.spike_count(np.ones((50, 2)), *canvas, ["a", "b"], gridshader=False)
    assert len(ax.patches) == 0


def test_a_second_call_replaces_the_first(canvas):
    ax = canvas[1]
    ax.plot([0, 1], [1, 1], label="mine")
    spikeplot.spike_count(SPIKES, *canvas, NAMES)
    spikeplot.spike_count(SPIKES[:2], *canvas, NAMES)
    assert (len(ax.collections), len(ax.lines)) == (1, 2)
    assert ax.get_legend_handles_labels()[1] == ["mine"]


def test_texts_stay_on_the_figure_and_apart():
    for size, layout in [((4, 3), "constrained"), ((6.4, 4.8), None), ((12, 7), None)]:
        fig = Figure(figsize=size, layout=layout)
        ax = fig.subplots()
        spikeplot.spike_count(np.ones((50, 10)), fig, ax, [str(n) for n in range(10)])
        fig.draw_without_rendering()
        for axis in (ax.xaxis, ax.yaxis):
            shown = [*axis.get_ticklabels(), axis.label]
            boxes = [text.get_window_extent() for text in shown]
            assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes), size
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]), size


# --- animator ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_frame_t_shows_step_t_to_the_last(canvas, dtype):
    data = np.eye(4).reshape(4, 2, 2).astype(dtype)
    anim = spikeplot.animator(data, *canvas)
    seen = frames(anim, lambda: canvas[1].images[0].get_array().tolist())
    assert seen == data.astype(float).tolist()


def test_animator_stops_after_num_steps_and_keeps_one_colour_scale(canvas):
    data = np.arange(12.0).reshape(3, 2, 2)
    anim = spikeplot.animator(data, *canvas, num_steps=2, cmap="viridis")
    assert len(frames(anim, lambda: None)) == 2
    (image,) = canvas[1].images
    assert image.get_clim() == (0, 11)
    assert image.get_cmap().name == "viridis"
    assert not canvas[1].axison


def test_all_spikes_do_not_look_like_none(canvas):
    anim = spikeplot.animator(np.ones((2, 2, 2), bool), *canvas)
    frames(anim, lambda: None)
    assert canvas[1].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("what", ["animator", "spike_count"])
def test_an_animation_keeps_its_own_copy(canvas, what):
    if what == "animator":
        data = np.eye(4).reshape(4, 2, 2)
        anim = spikeplot.animator(data, *canvas)
        look = lambda: float(canvas[1].images[0].get_array().sum())  # noqa: E731
    else:
        data = np.eye(4)
        anim = spikeplot.spike_count(data, *canvas, list("abcd"), animate=True)
        look = lambda: sum(bars(canvas[1]))  # noqa: E731
    data[:] = 0
    assert frames(anim, look)[-1] == {"animator": 1, "spike_count": 4}[what]


# --- traces --------------------------------------------------------------------------------------------------------


def test_traces_ride_their_spikes():
    rng = np.random.default_rng(0)
    mem, spk = rng.random((6, 4)), rng.random((6, 4)) < 0.5
    fig = spikeplot.traces(mem, spk, dim=(2, 3), spk_height=2, titles=["one", "two"])
    assert isinstance(fig, Figure)
    assert len(fig.axes) == 6
    for n, ax in enumerate(fig.axes[:4]):
        assert ax.lines[0].get_ydata().tolist() == (mem + 2 * spk)[:, n].tolist()
        assert ax.get_ylim() == fig.axes[0].get_ylim()
    assert [len(ax.lines) for ax in fig.axes] == [1, 1, 1, 1, 0, 0]
    assert [ax.get_title() for ax in fig.axes] == ["one", "two", "", "", "", ""]


def test_traces_alone():
    mem = np.arange(18).reshape(2, 9)
    fig = spikeplot.traces(mem)
    assert [ax.lines[0].get_ydata().tolist() for ax in fig.axes] == mem.T.tolist()


def test_traces_draw_without_a_display(tmp_path):
    spikeplot.traces(np.eye(9)).savefig(tmp_path / "traces.png")
    with Image.open(tmp_path / "traces.png") as image:
        assert len(np.unique(np.asarray(image))) > 2


# --- where it is drawn ---------------------------------------------------------------------------------------------


def test_only_the_given_axes_are_drawn_on():
    fig = Figure()
    given, other = fig.subplots(1, 2)
    fig.sca(other)
    before = len(other.get_children())
    spikeplot.raster(SPIKES, given)
    spikeplot.spike_count(SPIKES, fig, given, NAMES)
    frames(spikeplot.spike_count(SPIKES, fig, given, NAMES, animate=True), lambda: None)
    frames(spikeplot.animator(SPIKES.reshape(4, 1, 3), fig, given), lambda: None)
    assert len(other.get_children()) == before
    assert not other.has_data() and other.axison and other.get_xlabel() == ""
    assert given.has_data()


def test_axes_in_a_subfigure():
    fig = Figure()
    left = fig.subfigures(1, 2)[0]
    anim = spikeplot.spike_count(SPIKES, left, left.subplots(), NAMES, animate=True)
    assert len(frames(anim, lambda: None)) == 5


HEADLESS = """
import sys
import numpy as np
import npsnn.spikeplot as spikeplot
assert not [name for name in sys.modules if name.split(".")[0] == "matplotlib"], "imported too early"
from matplotlib.figure import Figure
fig = Figure(); ax = fig.subplots()
spikeplot.traces(np.eye(9)).savefig(sys.argv[1] + "/traces.png")
spikeplot.raster(np.eye(3), ax)
spikeplot.save(spikeplot.spike_count(np.eye(2), fig, ax, "a b".split(), animate=True), sys.argv[1] + "/count.gif")
assert "matplotlib.pyplot" not in sys.modules, "pyplot imported"
"""


def test_import_is_lazy_and_drawing_needs_neither_display_nor_pyplot(tmp_path):
    environment = {"MPLBACKEND": "TkAgg", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", HEADLESS, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "traces.png").stat().st_size > 0
    assert (tmp_path / "count.gif").stat().st_size > 0


# --- files ---------------------------------------------------------------------------------------------------------


def test_gif_has_every_frame_and_the_asked_for_pace(canvas, tmp_path):
    path = tmp_path / "film.GIF"
    path.write_bytes(b"an older file")
    spikeplot.save(film(*canvas), path, fps=10)
    with Image.open(path) as gif:
        assert gif.n_frames == 4
        assert gif.info["duration"] == 100
    assert [file.name for file in tmp_path.iterdir()] == ["film.GIF"]


def test_gif_pace_is_the_interval_unless_told(canvas, tmp_path):
    spikeplot.save(spikeplot.spike_count(SPIKES, *canvas, NAMES, animate=True, interval=50), str(tmp_path / "c.gif"))
    with Image.open(tmp_path / "c.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (5, 50)


def test_a_failure_leaves_the_older_file_and_nothing_else(canvas, tmp_path):
    fig = canvas[0]

    def broken(t):
        if t == 2:
            raise ZeroDivisionError("frame 2")
        return []

    path = tmp_path / "film.gif"
    path.write_bytes(b"an older file")
    with pytest.raises(ZeroDivisionError):
        spikeplot.save(animation.FuncAnimation(fig, broken, frames=4, cache_frame_data=False), path)
    assert path.read_bytes() == b"an older file"
    assert [file.name for file in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.parametrize("suffix", [".mp4", ".html"])
def test_without_ffmpeg_one_sentence_says_so(canvas, tmp_path, monkeypatch, suffix):
    anim = film(*canvas)
    monkeypatch.setenv("PATH", "")
    sentence = r"needs the program ffmpeg, which was not found; install it, or save a \.gif instead$"
    with pytest.raises(RuntimeError, match=f"^save: film{suffix} {sentence}"):
        spikeplot.save(anim, tmp_path / f"film{suffix}")
    with pytest.raises(RuntimeError, match=f"^html5: a video {sentence}"):
        spikeplot.html5(anim)
    assert list(tmp_path.iterdir()) == []
    spikeplot.save(anim, tmp_path / "film.gif")
    assert (tmp_path / "film.gif").is_file()


def test_an_ffmpeg_that_fails_says_so(canvas, tmp_path, monkeypatch):
    broken = tmp_path / "bin" / "ffmpeg"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent), prepend=":")
    with pytest.raises(RuntimeError, match=r"^ffmpeg could not write the video .*save a \.gif instead$"):
        spikeplot.save(film(*canvas), tmp_path / "film.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["bin"]


@NEEDS_FFMPEG
def test_mp4_has_every_frame(canvas, tmp_path):
    spikeplot.save(film(*canvas), tmp_path / "film.mp4", fps=5)
    video = (tmp_path / "film.mp4").read_bytes()
    assert video[4:8] == b"ftyp" and b"avc1" in video
    if shutil.which("ffprobe"):
        ask = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames,r_frame_rate"]
        done = subprocess.run([*ask, "-of", "csv=p=0", tmp_path / "film.mp4"], capture_output=True, text=True)
        assert done.stdout.strip() == "5/1,4"


@NEEDS_FFMPEG
def test_html_holds_the_video(canvas, tmp_path):
    anim = film(*canvas)
    spikeplot.save(anim, tmp_path / "film.html")
    page = (tmp_path / "film.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<video controls" in page and 'src="data:video/mp4;base64,AAAA' in page
    assert spikeplot.html5(anim, fps=5).startswith("<video controls")
    assert [file.name for file in tmp_path.iterdir()] == ["film.html"]


@pytest.mark.parametrize(
    ("error", "message", "path", "more"),
    [
        (ValueError, r"^save: path must end in \.gif, \.mp4 or \.html, got 'film\.avi'$", "film.avi", {}),
        (ValueError, r"^save: path must end in", "film", {}),
        (TypeError, r"^save: path must be a string or a Path, got int$", 3, {}),
        (FileNotFoundError, r"^save: there is no folder nowhere$", "nowhere/film.gif", {}),
        (ValueError, r"^save: fps must be above 0, got 0$", "film.gif", {"fps": 0}),
        (TypeError, r"^save: fps must be a number, got '10'$", "film.gif", {"fps": "10"}),
    ],
)
def test_save_refuses(canvas, tmp_path, monkeypatch, error, message, path, more):
    monkeypatch.chdir(tmp_path)
    anim = film(*canvas)
    frames(anim, lambda: None)
    with pytest.raises(error, match=message):
        spikeplot.save(anim, path, **more)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_animation_is_refused():
    with pytest.raises(TypeError, match=r"^save: anim must be a Matplotlib animation, got NoneType$"):
        spikeplot.save(None, "film.gif")
    with pytest.raises(TypeError, match=r"^html5: anim must be a Matplotlib animation, got str$"):
        spikeplot.html5("film")


# --- refusals ------------------------------------------------------------------------------------------------------

NAN = np.array([[0.0, np.nan]])
BAD = [
    # data
    (TypeError, "raster: data must be an array of bools, integers or floats, got NoneType", "raster", None, {}),
    (TypeError, "raster: data must be an array of bools, integers or floats, got str", "raster", "spikes", {}),
    (TypeError, "raster: data must be .*, got an array of complex128", "raster", np.ones((2, 2), complex), {}),
    (TypeError, "raster: data is not an array", "raster", [[1], [1, 0]], {}),
    (TypeError, "raster: data is a masked array", "raster", np.ma.masked_equal(SPIKES, 0), {}),
    (ValueError, r"raster: data has shape \(2, 2, 2\), expected \(T,\) or \(T, N\)", "raster", np.ones((2, 2, 2)), {}),
    (ValueError, r"raster: data is empty: shape \(0, 3\), expected \(T,\)", "raster", np.ones((0, 3)), {}),
    (ValueError, r"raster: data has 1 NaN, first non-finite value at \(0, 1\)", "raster", NAN, {}),
    (ValueError, r"animator: data has shape \(4, 3\), expected \(T, H, W\)", "animator", SPIKES, {}),
    (ValueError, r"animator: data is empty", "animator", np.ones((0, 2, 2)), {}),
    (ValueError, r"spike_count: data has shape \(4,\), expected \(T, N\)", "spike_count", np.ones(4), {}),
    (ValueError, r"spike_count: data must hold spikes, 0 or 1, got 2 at \(0, 0\)", "spike_count", SPIKES * 2, {}),
    (ValueError, r"traces: data has shape \(4,\), expected \(T, N\)", "traces", np.ones(4), {}),
    # steps and pace
    (ValueError, "animator: num_steps is 5, but data has 2 time steps", "animator", None, {"num_steps": 5}),
    (ValueError, "spike_count: num_steps is 5, but data has 4 time steps", "spike_count", SPIKES, {"num_steps": 5}),
    (ValueError, "spike_count: num_steps must be at least 1, got 0", "spike_count", SPIKES, {"num_steps": 0}),
    (TypeError, "spike_count: num_steps must be an integer, got True", "spike_count", SPIKES, {"num_steps": True}),
    (ValueError, "animator: interval must be above 0, got 0", "animator", None, {"interval": 0}),
    (ValueError, "spike_count: interval must be above 0, got -1", "spike_count", SPIKES, {"interval": -1}),
    (ValueError, "spike_count: interpolate must be at least 1, got 0", "spike_count", SPIKES, {"interpolate": 0}),
    (TypeError, "spike_count: interpolate must be an integer, got 1.5", "spike_count", SPIKES, {"interpolate": 1.5}),
    (ValueError, "spike_count: time_step must be above 0, got 0", "spike_count", SPIKES, {"time_step": 0}),
    (TypeError, "spike_count: time_step must be a number, got True", "spike_count", SPIKES, {"time_step": True}),
    # the rest
    (TypeError, "spike_count: animate must be True or False, got 1", "spike_count", SPIKES, {"animate": 1}),
    (TypeError, "spike_count: gridshader must be True or False", "spike_count", SPIKES, {"gridshader": None}),
    (
        ValueError,
        "spike_count: labels has 2 names, but data has 3 neurons",
        "spike_count",
        SPIKES,
        {"labels": ["a", "b"]},
    ),
    (TypeError, "spike_count: labels must be a list of strings, got str", "spike_count", SPIKES, {"labels": "abc"}),
    (ValueError, r"traces: dim \(3, 3\) has 9 places, but data has 10 neurons", "traces", np.eye(10), {}),
    (ValueError, "traces: dim must be at least 1, got 0", "traces", SPIKES, {"dim": (0, 3)}),
    (TypeError, r"traces: dim must be a pair \(rows, columns\), got 3", "traces", SPIKES, {"dim": 3}),
    (ValueError, r"traces: spk has shape \(3, 3\), expected \(4, 3\)", "traces", SPIKES, {"spk": np.eye(3)}),
    (TypeError, "traces: spk_height must be a number, got '5'", "traces", SPIKES, {"spk_height": "5"}),
    (ValueError, "traces: titles has 4 names, but data has 3 neurons", "traces", SPIKES, {"titles": list("abcd")}),
    (TypeError, "traces: titles must be a list of strings, got str", "traces", SPIKES, {"titles": "abc"}),
]


@pytest.mark.parametrize(("error", "message", "name", "data", "more"), BAD)
def test_bad_input_is_named_before_anything_is_drawn(canvas, error, message, name, data, more):
    fig, ax = canvas
    fig.draw_without_rendering()
    before = len(ax.get_children())
    if name == "animator" and data is None:
        data = np.zeros((2, 2, 2))
    more = dict(more)
    call = {
        "raster": lambda: spikeplot.raster(data, ax, **more),
        "animator": lambda: spikeplot.animator(data, fig, ax, **more),
        "spike_count": lambda: spikeplot.spike_count(data, fig, ax, more.pop("labels", NAMES), **more),
        "traces": lambda: spikeplot.traces(data, **more),
    }[name]
    with pytest.raises(error, match=f"^{message}"):
        call()
    assert len(ax.get_children()) == before
    assert not ax.has_data() and ax.get_xlabel() == ""


def test_figure_and_axes_are_checked(canvas):
    fig, ax = canvas
    with pytest.raises(TypeError, match=r"^raster: ax must be one Matplotlib Axes, got ndarray$"):
        spikeplot.raster(SPIKES, Figure().subplots(2, 2))
    with pytest.raises(TypeError, match=r"^spike_count: ax must be one Matplotlib Axes, got Figure$"):
        spikeplot.spike_count(SPIKES, ax, fig, NAMES)
    with pytest.raises(TypeError, match=r"^animator: fig must be a Matplotlib Figure, got NoneType$"):
        spikeplot.animator(np.zeros((2, 2, 2)), None, ax)
    with pytest.raises(ValueError, match=r"^spike_count: ax is not one of the axes of fig$"):
        spikeplot.spike_count(SPIKES, Figure(), ax, NAMES)
    assert not ax.has_data()


def test_without_matplotlib_the_sentence_says_what_to_install(canvas, monkeypatch):
    fig, ax = canvas
    assert isinstance(ax, Axes)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    calls = [
        lambda: spikeplot.raster(SPIKES, ax),
        lambda: spikeplot.spike_count(SPIKES, fig, ax, NAMES),
        lambda: spikeplot.animator(np.zeros((2, 2, 2)), fig, ax),
        lambda: spikeplot.traces(SPIKES),
        lambda: spikeplot.save(None, "film.gif"),
        lambda: spikeplot.html5(None),
    ]
    for call in calls:
        with pytest.raises(ImportError) as caught:
            call()
        assert str(caught.value) == 'npsnn: plots need Matplotlib: pip install "npsnn[plot]"'
