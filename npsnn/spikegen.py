"""Turn data into spikes: rate, latency and delta codes, with the meaning they have in snnTorch 1.0.0.

Spikes have the dtype of the data (snnTorch: float32 from `latency` whatever comes in). Lists are float64 arrays here
and float32 tensors there, which matters to `rate` alone: float64 draws other random numbers.
"""

from typing import Any

import numpy as np

from npsnn import _check, _free
from npsnn._check import Array
from npsnn.generator import Generator, as_generator


def rate(
    data: Any,
    num_steps: int | None = None,
    gain: float = 1,
    offset: float = 0,
    first_spike_time: int = 0,
    time_var_input: bool = False,
    seed: int | Generator = 0,
) -> Array:
    """Draw a spike at each step with a probability given by the data (Bernoulli, "Poisson" code).

        p[t] = clip(data * gain + offset, 0, 1)      the same at every t, for static data
        p[t] = clip(data[t], 0, 1)                   with time_var_input

    Parameters
    ----------
    data : (B, ...) float array, or (T, B, ...) with `time_var_input`
        Values outside [0, 1] are not refused: they are probabilities 0 and 1.
    num_steps : int, at least 1
        T for static data; not to be given with `time_var_input`.
    gain, offset : float
        Not used with `time_var_input`, as in snnTorch.
    first_spike_time : int
        Static data: the first steps become 0, T stays (and their random numbers are drawn all the same). With
        `time_var_input` that many steps of 0 are put in front, and T grows.
    time_var_input : bool
        `data` has a time axis.
    seed : int or Generator
        Where the random numbers come from.

    Returns
    -------
    spikes : (T, B, ...) array of 0 and 1, dtype of `data`
        For float32 the spikes of ``snntorch.spikegen.rate`` after ``torch.manual_seed(seed)``, bit for bit.

    Raises
    ------
    TypeError, ValueError
        `data` is no float array or has NaN or inf; steps that do not fit together.

    Example
    -------
    >>> from npsnn import spikegen
    >>> spikegen.rate(np.array([0.0, 0.5, 1.0], np.float32), num_steps=4, seed=0)
    array([[0., 0., 1.],
           [0., 1., 1.],
           [0., 0., 1.],
           [0., 1., 1.]], dtype=float32)
    """
    p = _floats(data, "rate")
    gain, offset = _check.real(gain, "gain"), _check.real(offset, "offset")
    first = _check.whole(first_spike_time, "first_spike_time", 0)
    if _check.flag(time_var_input, "time_var_input"):
        if num_steps is not None:
            raise ValueError(f"num_steps is the length of time-varying data; leave it out, got {num_steps}")
        _check_time_axis(p, "rate")
        _require(first, p[:1], "rate")
        spikes = as_generator(seed).bernoulli(np.asarray(np.clip(p, 0, 1)))
        return np.concatenate([np.zeros((first, *p.shape[1:]), p.dtype), spikes])
    if num_steps is None:
        raise ValueError("num_steps must be given for static data; for data with a time axis set time_var_input=True")
    steps = _steps(num_steps, first)
    _require(steps, p, "rate")
    p = np.asarray(np.clip(p * gain + offset, 0, 1))
    generator = as_generator(seed)
    spikes = np.empty((steps, *p.shape), p.dtype)
    for t in range(steps):
        spikes[t] = generator.bernoulli(p)
    spikes[:first] = 0
    return spikes


def latency(
    data: Any,
    num_steps: int | None = None,
    threshold: float = 0.01,
    tau: float = 1,
    first_spike_time: int = 0,
    on_target: float = 1,
    off_target: float = 0,
    clip: bool = False,
    normalize: bool = False,
    linear: bool = False,
    interpolate: bool = False,
    bypass: bool = False,
    epsilon: float = 1e-7,
) -> Array:
    """Let each value spike once, the larger the earlier.

        time = tau * log(x / (x - threshold)) + first_spike_time,  x = max(data, threshold + epsilon)
        time = min(tau * (1 - data), tau * (1 - threshold)) + first_spike_time           with linear

    rounded to a whole step, half to even.

    Parameters
    ----------
    data : (B, ...) float array
        Values in [0, 1].
    num_steps : int, at least 1
        T. It may be left out with `bypass`: then the last spike is at the last step.
    threshold : float, 0 < threshold < 1
        Smaller values all spike at the same, last time, or not at all with `clip`.
    tau : float, positive
        Steps. `linear` with `normalize` has its own.
    first_spike_time : int
        Added to every time.
    on_target, off_target : float
        The numbers for "spike" and "no spike". Nothing below `off_target` comes out.
    clip : bool
        Values below `threshold` do not spike. Not used with `interpolate`, as in snnTorch.
    normalize : bool
        Stretch the times to fill `num_steps`. linear: tau = num_steps - 1 - first_spike_time. Otherwise the latest time
        of the WHOLE batch goes to the last step: the code of one image depends on the images beside it, and equal
        values, however large, all spike last.
    linear : bool
        The second formula.
    interpolate : bool
        A ramp from `off_target` up to `on_target` at the spike, instead of a single step.
    bypass : bool
        Times beyond the last step are no error; they do not spike.
    epsilon : float, positive
        Keeps the logarithm finite.

    Returns
    -------
    spikes : (T, B, ...) array, dtype of `data`

    Raises
    ------
    TypeError, ValueError
        `data` is no float array, is empty, has NaN or leaves [0, 1]; a constant out of range; a spike after the last
        step without `bypass`.

    Example
    -------
    >>> from npsnn import spikegen
    >>> spikegen.latency(np.array([0.02, 0.5, 1], np.float32), num_steps=5, normalize=True, linear=True)
    array([[0., 0., 1.],
           [0., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    x = _floats(data, "latency")
    if x.size == 0 or x.min() < 0 or x.max() > 1:
        found = f"values from {x.min()} to {x.max()}" if x.size else "no values"
        raise ValueError(f"spikegen.latency: data must lie in [0, 1], got {found}")
    on, off = _check.real(on_target, "on_target"), _check.real(off_target, "off_target")
    if _check.flag(interpolate, "interpolate") and on < off:
        raise ValueError(f"on_target must not be below off_target ({off}) with interpolate, got {on}")
    bypass, clip = _check.flag(bypass, "bypass"), _check.flag(clip, "clip")
    if num_steps is None and (normalize or not bypass):
        raise ValueError("num_steps must be given; with bypass=True and without normalize the last spike sets it")
    first = _check.whole(first_spike_time, "first_spike_time", 0)
    steps = None if num_steps is None else _steps(num_steps, first)

    with np.errstate(all="ignore"):
        times = np.rint(_spike_times(x, steps, threshold, tau, first, normalize, linear, epsilon))
    if not np.isfinite(times).all():
        raise ValueError(f"a spike's time is not finite: tau {tau} is too large, or threshold {threshold} too small")
    last = int(times.max())
    if steps is None:
        steps = last + 1
    _require(steps, x, "latency")
    if last > steps - 1 and not bypass:
        raise ValueError(
            f"the last spike is at step {last}, num_steps {steps} ends at {steps - 1}: lower tau, set normalize=True, "
            "or bypass=True to leave such spikes out"
        )
    t = np.arange(steps, dtype=x.dtype).reshape(-1, *[1] * x.ndim)
    if interpolate:
        return _ramp(t, times, steps, on, off)
    spikes: Array = t == times
    if clip:
        spikes &= x >= threshold
    targets: Array = np.maximum(spikes.astype(x.dtype) * on, off)
    return targets


def delta(data: Any, threshold: float = 0.1, padding: bool = False, off_spike: bool = False) -> Array:
    """Spike where the data rose by at least `threshold` since the step before.

        S[t] = 1 if data[t] - data[t-1] >= threshold, -1 if data[t] - data[t-1] <= -threshold and off_spike, else 0

    Parameters
    ----------
    data : (T, ...) float array
        The signal, time first.
    threshold : float
        Reaching it is enough (>=), other than in the neurons (>).
    padding : bool
        What stands before the first step. False: 0, so that the first step spikes by its size. True: the first step
        itself, so that it does not spike.
    off_spike : bool
        Falls give -1.

    Returns
    -------
    spikes : (T, ...) array of 1, 0 and -1, dtype of `data`

    Raises
    ------
    TypeError, ValueError
        `data` is no float array, has NaN or inf or no time steps; `threshold` is no finite number.

    Example
    -------
    >>> from npsnn import spikegen
    >>> spikegen.delta(np.array([1, 2, 0, 2, 2.9]), threshold=1, off_spike=True)
    array([ 1.,  1., -1.,  1.,  0.])
    """
    x = _floats(data, "delta")
    _check_time_axis(x, "delta")
    threshold = _check.real(threshold, "threshold")
    before = x[:1] if _check.flag(padding, "padding") else np.zeros_like(x[:1])
    step = np.diff(x, axis=0, prepend=before)
    spikes = (step >= threshold).astype(x.dtype)
    return spikes - (step <= -threshold) if _check.flag(off_spike, "off_spike") else spikes


def _spike_times(
    x: Array, steps: int | None, threshold: float, tau: float, first: int, normalize: bool, linear: bool, epsilon: float
) -> Array:
    """When each value spikes, before rounding to whole steps. The order of operations is snnTorch's."""
    threshold, tau, epsilon = (
        _check.real(value, name) for value, name in ((threshold, "threshold"), (tau, "tau"), (epsilon, "epsilon"))
    )
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    if tau <= 0 or epsilon <= 0:
        raise ValueError(f"tau and epsilon must be positive, got {tau} and {epsilon}")
    span = steps - 1 - first if steps is not None and _check.flag(normalize, "normalize") else None
    if _check.flag(linear, "linear"):
        tau = tau if span is None else span
        return np.minimum(-tau * (x - 1), -tau * (threshold - 1)) + first
    x = np.maximum(x, threshold + epsilon)
    if (x - threshold).min() <= 0:
        raise ValueError(f"epsilon {epsilon} vanishes beside threshold {threshold} in {x.dtype}; take a larger one")
    times: Array = tau * np.log(x / (x - threshold)) + first
    return times if span is None else (times - first) * span / (times - first).max() + first


def _ramp(t: Array, times: Array, steps: int, on: float, off: float) -> Array:
    # Half a step stands for "never": step 1 is then already past it.
    end = np.where((times == 0) | (times > steps), times.dtype.type(0.5), times)
    # A reciprocal, because PyTorch divides a number by a tensor so: t / end differs in last digits.
    ramp = t * (1 / end)
    ramp[0] = times == 0
    ramp = ramp * (on - off) + off
    ramp[ramp > on] = off
    return ramp


def _floats(data: Any, place: str) -> Array:
    given = _check.plain(data, "data", f"spikegen.{place}").dtype.newbyteorder("=")
    dtype = np.dtype(np.float64 if given == np.float64 else np.float32)
    return _check.array(data, dtype, "data", f"spikegen.{place}")


def _require(steps: int, x: Array, place: str) -> None:
    """MemoryError where there is no room for so many steps of x."""
    what = f"spikegen.{place}: a code of {steps:,} steps of shape {x.shape}"
    _free.require(steps * x.nbytes, what, "take fewer steps")


def _check_time_axis(x: Array, place: str) -> None:
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"spikegen.{place}: data has shape {_check.shape_text(x.shape)}, expected (T, ...), T >= 1")


def _steps(num_steps: int, first: int) -> int:
    steps = _check.whole(num_steps, "num_steps")
    if first > steps - 1:
        raise ValueError(f"first_spike_time must be below num_steps ({steps}), got {first}")
    return steps
