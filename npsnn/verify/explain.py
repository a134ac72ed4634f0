"""At the place where two recordings part: the layer's equation with its numbers, and what would explain B."""

from collections.abc import Iterator

import numpy as np

from npsnn import backends
from npsnn._check import Array
from npsnn.layer import Layer
from npsnn.layers import Conv2d, Linear, MaxPool2d
from npsnn.neuron import Leaky
from npsnn.pool2d.reference import add_to_windows, windows
from npsnn.spec import layer_of
from npsnn.verify import misreadings
from npsnn.verify.misreadings import Neuron, Upstream
from npsnn.verify.recording import Recording

Index = tuple[int, ...]


class _Run:
    """One recording's arrays in double, over all steps; what it lacks is taken from the other."""

    def __init__(self, recording: Recording, other: Recording) -> None:
        self.layers = [layer_of(spec) for spec in (recording.layers or other.layers)]
        self.arrays = {**other.arrays, **recording.arrays}
        self.own = set(recording.arrays)
        self.static = (recording if recording.layers else other).num_steps is not None
        self.T = max((len(a) for name, a in self.arrays.items() if name[-2:] in (".U", ".S", ".y")), default=1)

    def get(self, name: str) -> Array | None:
        """An array (T, B, ...); None where neither recording has it."""
        if name not in self.arrays:
            return None
        a = self.arrays[name].astype(np.float64)
        if name == "x" and self.static:
            a = a[None]
        return np.broadcast_to(a, (self.T, *a.shape[1:])) if len(a) == 1 else a

    def into(self, i: int) -> Array | None:
        """What goes into layer i."""
        if i == 0:
            return self.get("x")
        return self.get(f"{i - 1}.{'S' if isinstance(self.layers[i - 1], Leaky) else 'y'}")

    def params(self, i: int) -> dict[str, Array]:
        """The parameters of layer i."""
        names = self.layers[i].param_shapes()
        return {name: self.arrays[f"{i}.{name}"].astype(float) for name in names if f"{i}.{name}" in self.arrays}

    def neuron(self, i: int) -> Neuron | None:
        """Layer i as the misreadings want it; None where an array is missing."""
        layer, I, U, S = self.layers[i], self.into(i), self.get(f"{i}.U"), self.get(f"{i}.S")
        if not isinstance(layer, Leaky) or I is None or U is None:
            return None
        constants = {"beta": layer.beta, "threshold": layer.threshold} | self.params(i)
        S = misreadings.fires(U, constants["threshold"]) if S is None else S
        return Neuron(
            np.clip(constants["beta"], 0, 1), constants["threshold"], layer.reset_mechanism, layer.detach_reset,
            layer.spike_grad, I, U, S,
        )  # fmt: skip

    def upstream(self, i: int) -> Upstream | None:
        """What goes backward into neuron layer i."""
        dS, dU = self.get(f"{i}.dS"), self.arrays.get(f"{i}.dU")
        if dS is None or dU is None:
            return None
        dmem = self.get(f"{i}.dmem")
        return Upstream(dS, np.zeros_like(dS) if dmem is None else dmem, dU.astype(np.float64))


# --- what would explain B ------------------------------------------------------------------------------------------


def explanations(array: str, A: Recording, B: Recording, allowed: dict[str, float], samples: Array) -> Iterator[str]:
    """The misreadings that give every number of B in that layer, but for rounding, in the samples that count."""
    run = _Run(B, A)
    *_, layer, kind = ("", *array.split("."))
    i = int(layer) if layer.isdecimal() else 0
    if array == "x" or (kind in ("weight", "bias", "beta", "threshold") and not array.startswith("grad")):
        yield "The two runs are not of the same input and parameters"
    elif kind in ("U", "S"):
        yield from _neuron_forward(run, i, allowed, samples)
    elif kind == "y":
        yield from _layer_forward(run, i, allowed[array], samples)
    elif kind == "dU":
        yield from _neuron_backward(run, i, allowed[array], samples)
    elif kind in ("dS", "dy") and i + 1 < len(run.layers) and isinstance(run.layers[i + 1], MaxPool2d):
        yield from _pool_backward(run, i + 1, allowed[array], samples)
    if kind.startswith("d") or array.startswith("grad"):
        yield from _multiple(run, A.arrays[array], B.arrays[array], allowed[array])


def _near(a: Array, b: Array, allowed: float, samples: Array) -> bool:
    """Whether a is b in the samples that count, but for rounding."""
    return a.shape == b.shape and bool((np.abs(a - b)[:, samples] <= 4 * allowed).all())


def _neuron_forward(run: _Run, i: int, allowed: dict[str, float], samples: Array) -> Iterator[str]:
    n = run.neuron(i)
    if n is None:
        return
    for text, S, U in misreadings.forward(n):
        spikes = f"{i}.S" not in run.own or bool((S == n.S)[:, samples].all())
        membranes = f"{i}.U" not in run.own or _near(U, n.U, allowed.get(f"{i}.U", 0.0), samples)
        if spikes and membranes:
            yield text


def _neuron_backward(run: _Run, i: int, allowed: float, samples: Array) -> Iterator[str]:
    n, d = run.neuron(i), run.upstream(i)
    if n is None or d is None:
        return
    for text, dU in misreadings.backward(n, d):
        if _near(dU if len(d.dU) > 1 else dU.sum(axis=0, keepdims=True), d.dU, allowed, samples):
            yield text


def _layer_forward(run: _Run, i: int, allowed: float, samples: Array) -> Iterator[str]:
    layer, params, x, y = run.layers[i], run.params(i), run.into(i), run.get(f"{i}.y")
    if x is None or y is None:
        return
    for text, changed in _other_parameters(layer, params):
        if _near(layer.run(np.ascontiguousarray(x), changed, backends.load("reference"))[0], y, allowed, samples):
            yield text


def _other_parameters(layer: Layer, params: dict[str, Array]) -> Iterator[tuple[str, dict[str, Array]]]:
    """The usual slips with weights and biases."""
    if "bias" in params and "weight" in params:
        yield "The bias is left out", {**params, "bias": 0 * params["bias"]}
        yield "The bias is added twice", {**params, "bias": 2 * params["bias"]}
    if isinstance(layer, Conv2d) and "weight" in params:
        flipped = np.ascontiguousarray(params["weight"][..., ::-1, ::-1])
        yield (
            "The kernel is flipped: convolution, where the law has cross-correlation (C7)",
            {**params, "weight": flipped},
        )


def _pool_backward(run: _Run, i: int, allowed: float, samples: Array) -> Iterator[str]:
    layer, x, dY = run.layers[i], run.into(i), run.arrays.get(f"{i}.dy")
    below = f"{i - 1}.{'dS' if isinstance(run.layers[i - 1], Leaky) else 'dy'}"
    if not isinstance(layer, MaxPool2d) or x is None or dY is None:
        return
    x = x[: len(dY)].reshape(-1, *x.shape[2:])
    size = layer.kernel_size, layer.stride, layer.padding
    seen = windows(x, *size, -np.inf)
    dX = run.arrays[below].astype(np.float64)
    for text, d in misreadings.pool_backward(seen, dY.reshape(seen.shape[:-1]).astype(np.float64)):
        if _near(add_to_windows(d, x.shape, *size).reshape(dX.shape), dX, allowed, samples):
            yield text


def _multiple(run: _Run, a: Array, b: Array, allowed: float) -> Iterator[str]:
    """B is a constant times A: a mean where the law has a sum, or the reverse."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    seen = np.abs(a) > 1e-3 * np.abs(a).max(initial=0.0)
    if a.shape != b.shape or not seen.any():
        return
    c = float(np.median(b[seen] / a[seen]))
    if np.abs(b - c * a).max() <= 4 * allowed * max(1.0, abs(c)):
        samples = run.arrays["x"].shape[0 if run.static else 1] if "x" in run.arrays else 0
        names = {"B, the number of samples": samples, "T, the number of steps": run.T}
        hints = [f" ({name})" for name, n in names.items() if n > 1 and np.isclose(c, n)]
        hints += [f" (1 / {name})" for name, n in names.items() if n > 1 and np.isclose(c, 1 / n)]
        yield f"B is {c:.7g} times A in this array{''.join(hints)}"


# --- the equation with its numbers ---------------------------------------------------------------------------------


def equation(
    array: str, layer: int | None, step: int | None, sample: int | None, index: Index, A: Recording, B: Recording
) -> str:
    """The law's equation at a place, once with A's numbers and once with B's."""
    lines = []
    for name, run in (("A", _Run(A, B)), ("B", _Run(B, A))):
        if layer is None or step is None or sample is None:
            continue
        kind, n = array.rpartition(".")[2], run.neuron(layer) if layer is not None else None
        if kind in ("U", "S") and n is not None:
            lines.append(f"  {name}: {_charge_text(n, step, (sample, *index))}")
        elif kind == "dU" and n is not None and (d := run.upstream(layer)) is not None and len(d.dU) > 1:
            lines.append(f"  {name}: {_bptt_text(n, d, step, (sample, *index))}")
        elif kind == "y" and isinstance(run.layers[layer], Linear):
            lines.append(f"  {name}: {_sum_text(run, layer, step, sample, index)}")
    return "\n".join(lines)


def _charge_text(n: Neuron, t: int, at: Index) -> str:
    """(L2) and (L3)."""
    beta, theta = (float(np.broadcast_to(c, n.U.shape[2:])[at[1:]]) for c in (n.beta, n.theta))
    U_last, I = float(n.U[t - 1][at]) if t else 0.0, float(n.I[t][at])
    R = float(theta < U_last)
    names, numbers = {
        "subtract": ("(beta U[t-1] + I[t]) - R[t] theta", f"({beta!r} * {U_last!r} + {I!r}) - {R:g} * {theta!r}"),
        "zero": ("beta ((1 - R[t]) U[t-1]) + I[t]", f"{beta!r} * ((1 - {R:g}) * {U_last!r}) + {I!r}"),
        "none": ("beta U[t-1] + I[t]", f"{beta!r} * {U_last!r} + {I!r}"),
    }[n.reset]
    U = float(misreadings.charge(n, n.U[t - 1] if t else 0 * n.U[0], np.asarray(R), n.I[t])[at])
    return (
        f"t = {t}: U[t] = {names} = {numbers} = {U!r}, recorded {float(n.U[t][at])!r}; "
        f"S[t] = H(U[t] - {theta!r}), recorded {float(n.S[t][at]):g}"
    )


def _bptt_text(n: Neuron, d: Upstream, t: int, at: Index) -> str:
    """(L6)."""
    beta, theta = (float(np.broadcast_to(c, n.U.shape[2:])[at[1:]]) for c in (n.beta, n.theta))
    U, dU_next = float(n.U[t][at]), float(d.dU[t + 1][at]) if t + 1 < len(d.dU) else 0.0
    slope = float(misreadings.slopes(n)[t][at])
    dR = 0.0
    if not n.detach and n.reset != "none":
        dR = -theta * dU_next if n.reset == "subtract" else -beta * U * dU_next
    kept = 1 - float(theta < U) if n.reset == "zero" else 1.0
    dS, dmem = float(d.dS[t][at]), float(d.dmem[t][at])
    value = (dS + dR) * slope + dmem + dU_next * (beta * kept)
    return (
        f"t = {t}: dU[t] = (dS[t] + dR[t+1]) sigma'(U[t] - theta) + dmem[t] + dU[t+1] beta kept = "
        f"({dS!r} + {dR!r}) * {slope!r} + {dmem!r} + {dU_next!r} * {beta!r} * {kept:g} = {value!r}, "
        f"recorded {float(d.dU[t][at])!r}"
    )


def _sum_text(run: _Run, i: int, t: int, sample: int, index: Index) -> str:
    """(D1)."""
    x, params = run.into(i), run.params(i)
    y = run.get(f"{i}.y")
    if x is None or y is None or "weight" not in params:
        return "not recorded"
    total = float(x[t, sample] @ params["weight"][index])
    bias = float(params["bias"][index]) if "bias" in params else 0.0
    recorded = float(y[t, sample][index])
    return f"y = sum over k of x[k] W[k] + b = {total!r} + {bias!r} = {total + bias!r}, recorded {recorded!r}"
