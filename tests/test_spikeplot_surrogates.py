"""spikeplot.surrogates: the curves are the surrogates' own numbers, by formulas written out again."""

import numpy as np
import pytest

from npsnn import spikeplot, surrogate

pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')

import matplotlib
from matplotlib.figure import Figure

X = np.array([-2.0, -0.25, 0.0, 0.5, 3.0])


@pytest.fixture
def pair():
    return Figure().subplots(1, 2)


def test_the_curves_are_derivative_and_primitive(pair):
    lines = spikeplot.surrogates(surrogate.fast_sigmoid(slope=2), surrogate.atan(alpha=1), axes=pair, x=X)
    expected = [
        (1 / (1 + 2 * abs(X)) ** 2, X / (1 + 2 * abs(X))),
        (0.5 / (1 + (np.pi * X / 2) ** 2), np.arctan(np.pi * X / 2) / np.pi),
    ]
    for drawn, curves in zip(lines, expected, strict=True):
        for line, ax, curve in zip(drawn, pair, curves, strict=True):
            assert line.axes is ax
            np.testing.assert_array_equal(line.get_xdata(), X)
            np.testing.assert_allclose(line.get_ydata(), curve, rtol=1e-14)
    assert [line.get_label() for line in pair[0].lines] == ["fast_sigmoid(slope=2)", "atan(alpha=1)"]
    assert [ax.get_title() for ax in pair] == ["derivative", "primitive"]


def test_derivative_and_primitive_share_colour_and_style_and_neighbours_do_not(pair):
    lines = spikeplot.surrogates(*[surrogate.sigmoid(k) for k in (1, 2, 3, 4, 5)], axes=pair)
    looks = [[(line.get_color(), line.get_linestyle()) for line in drawn] for drawn in lines]
    assert all(a == b for a, b in looks)
    assert len({a for a, _ in looks}) == 5


def test_every_surrogate_can_be_drawn():
    made = [
        surrogate.fast_sigmoid(), surrogate.atan(), surrogate.sigmoid(), surrogate.straight_through_estimator(),
        surrogate.triangular(), surrogate.heaviside(), surrogate.spike_rate_escape(), surrogate.LSO(), surrogate.SFS(),
        surrogate.SSO(), surrogate.custom_surrogate(lambda x: np.full_like(x, 3.0)),
    ]  # fmt: skip
    lines = spikeplot.surrogates(*made)
    assert [line.get_label() for line, _ in lines] == [str(s) for s in made]
    assert [primitive is not None for _, primitive in lines] == [s.has_primitive for s in made]
    assert set(lines[-1][0].get_ydata()) == {3.0}


def test_drawing_draws_no_noise():
    """SSO's generator is where it was: the next run's key does not depend on a picture."""
    drawn, other = surrogate.SSO(seed=3), surrogate.SSO(seed=3)
    spikeplot.surrogates(drawn)
    assert drawn.for_run().key == other.for_run().key


def test_without_arguments_a_figure_with_a_legend(tmp_path):
    lines = spikeplot.surrogates()
    figure = lines[0][0].figure
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [line.get_label() for line, _ in lines] and len(labels) == 4
    x = lines[0][0].get_xdata()
    assert (x[0], x[400], x[-1]) == (-1, 0, 1)
    figure.savefig(tmp_path / "surrogates.png")
    assert (tmp_path / "surrogates.png").stat().st_size > 0


def test_one_axes_twice_holds_both_and_keywords_go_to_plot():
    ax = Figure().subplots()
    ((a, b),) = spikeplot.surrogates(surrogate.atan(), axes=(ax, ax), x=[-1, 0, 1], color="black", linewidth=5)
    assert a.axes is b.axes is ax
    assert (a.get_color(), b.get_color(), a.get_linewidth()) == ("black", "black", 5)


def test_nothing_else_is_changed():
    left, right, other = Figure().subplots(1, 3)
    other.figure.sca(other)
    settings, x = dict(matplotlib.rcParams), X.copy()
    spikeplot.surrogates(axes=[left, right], x=x)
    assert not other.has_data() and len(other.figure.axes) == 3 and not other.figure.legends
    assert dict(matplotlib.rcParams) == settings
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    ("error", "message", "given", "change"),
    [
        (TypeError, r"got fast_sigmoid; write fast_sigmoid\(\)$", [surrogate.atan(), surrogate.fast_sigmoid], {}),
        (TypeError, r"^surrogates: takes surrogates, such as surrogate.atan\(\), got str$", ["atan"], {}),
        (TypeError, r"^surrogates: takes surrogates, such as surrogate.atan\(\), got <lambda>$", [lambda x: x], {}),
        (TypeError, r"^surrogates: axes must be two Matplotlib Axes, got Axes$", [], {"axes": "one"}),
        (TypeError, r"^surrogates: axes must be two Matplotlib Axes, got tuple$", [], {"axes": ()}),
        (TypeError, r"^surrogates: ax must be one Matplotlib Axes, got int$", [], {"axes": (1, 2)}),
        (ValueError, r"^surrogates: x has 1 NaN", [], {"x": [0.0, np.nan]}),
        (ValueError, r"^surrogates: x has shape \(1, 2\), expected \(N,\)$", [], {"x": [[0.0, 1.0]]}),
        (ValueError, r"^surrogates: x is empty", [], {"x": []}),
        (TypeError, r"^surrogates: x must be an array of bools, integers or floats, got str$", [], {"x": "x"}),
    ],
)
def test_errors_come_before_anything_is_drawn(pair, error, message, given, change):
    if change.get("axes") == "one":
        change = {"axes": pair[0]}
    with pytest.raises(error, match=message):
        spikeplot.surrogates(*given, **{"axes": pair, **change})
    assert not pair[0].has_data() and not pair[1].has_data()


def test_a_surrogate_that_fails_leaves_the_axes_empty(pair):
    def broken(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spikeplot.surrogates(surrogate.atan(), surrogate.custom_surrogate(broken), axes=pair)
    assert not pair[0].has_data()
