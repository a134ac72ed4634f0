"""`npsnn check`: what can be proved on this machine without another library, as a table and a certificate."""

import itertools
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import npsnn
from npsnn import backends, surrogate
from npsnn import functional as SF
from npsnn._check import Array
from npsnn.layer import Layer
from npsnn.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from npsnn.network import Sequential
from npsnn.neuron import RESETS, Leaky
from npsnn.verify import golden
from npsnn.verify.gradcheck import OF_LARGEST, GradReport, gradcheck
from npsnn.verify.rtrl import rtrl

TO_ROUNDING = 1e-13  # of the largest gradient: two float64 computations of one number, in different orders


class Row(NamedTuple):
    """One claim about one op on one backend."""

    op: str
    backend: str
    claim: str
    cases: int
    worst: float  # error over the cases, in the bound's unit
    bound: float

    @property
    def ok(self) -> bool:
        """Whether it holds in every case; NaN does not, and no case is no proof."""
        return self.cases > 0 and self.worst <= self.bound


def check(on: tuple[str, ...] | None = None) -> list[Row]:
    """Every row for each backend of `on` (default: all that work here)."""
    rows = []
    for backend in on or available():
        rows += [*_golden(backend), *_complex_step(backend), _rtrl(backend)]
        if backend == "reference":
            rows.append(_smooth())
        else:
            rows += [_repeated(backend), _alone(backend)]
    return rows


def available() -> tuple[str, ...]:
    """The backends that can compute here."""
    found = []
    for name in backends.NAMES:
        try:
            found.append(backends.resolve(name))
        except ValueError:
            continue
    return tuple(found)


def certificate(rows: list[Row]) -> str:
    """The table, what computed it, and the verdict: a text to paste into a paper or a bug report."""
    lines = [f"{'op':12}{'backend':12}{'claim':44}{'cases':>6}{'worst':>10}{'bound':>10}"]
    for r in rows:
        verdict = "" if r.ok else "  FAILED"
        lines.append(f"{r.op:12}{r.backend:12}{r.claim:44}{r.cases:6}{r.worst:10.1e}{r.bound:10.1e}{verdict}")
    good, cases = sum(r.ok for r in rows), sum(r.cases for r in rows)
    lines += [
        "",
        f"npsnn {npsnn.__version__}, {', '.join(f'{k} {v}' for k, v in _versions().items())}",
        f"{processor()}; golden vectors {golden.digest()[:16]}",
        f"{'PASSED' if good == len(rows) else 'FAILED'}: {good} of {len(rows)} rows, {cases:,} cases",
    ]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "numpy": np.__version__}
    if "cpu" in available():
        from importlib import metadata

        found["numba"] = metadata.version("numba")
    return found


def processor() -> str:
    """The processor's own name where the system tells it, and how many cores are seen."""
    import os

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{platform.system()} {platform.machine()}, {name}, {os.cpu_count()} cores"


# --- the rows ------------------------------------------------------------------------------------------------------


def _golden(backend: str) -> Iterator[Row]:
    """Stored vectors, by op: dyadic ones have the same bits, certified ones 15 digits."""
    by_kind: dict[tuple[str, str], list[golden.Result]] = {}
    for result in golden.check(backend):
        by_kind.setdefault((result.case.meta["op"], result.case.meta["kind"]), []).append(result)
    for (op, kind), results in sorted(by_kind.items()):
        claim = "dyadic vectors: the same bits" if kind == "dyadic" else "certified vectors: units of the last place"
        bound = max(r.case.meta["allowed_ulp"] for r in results)
        yield Row(op, backend, claim, len(results), max(r.error for r in results), float(bound))


def _complex_step(backend: str) -> Iterator[Row]:
    """The hand-written backward against complex-step derivatives of the law, by op."""
    for op, nets in _networks(backend).items():
        claim = "backward is the complex-step derivative"
        yield Row(op, backend, claim, len(nets), _worst([_excess(net) for net in nets]), OF_LARGEST)


def _networks(backend: str) -> dict[str, list[Callable[[], GradReport]]]:
    """Op -> checks of small networks that stand for it."""
    rng = np.random.default_rng(0)

    def run(layers: list[Layer], shape: tuple[int, ...], loss: str = "mse_membrane_loss") -> Callable[[], GradReport]:
        net = _lively(layers, backend)
        x = rng.uniform(0, 1.5, (4, 2, *shape))
        return lambda: gradcheck(net, x, np.array([0, 1]), getattr(SF, loss)())

    def images(*layers: Layer) -> list[Layer]:
        features: tuple[int, ...] = (1, 2, 1, 7, 6)
        for layer in (*layers, Flatten()):
            features = layer.out_shape(features)
        return [*layers, Flatten(), Linear(features[-1], 2), Leaky(0.8)]

    sigmas = (surrogate.fast_sigmoid(5), surrogate.atan(), surrogate.sigmoid(4), surrogate.LSO())
    neurons = itertools.product(sigmas, RESETS, (True, False))
    losses = ("ce_rate_loss", "ce_count_loss", "ce_max_membrane_loss", "mse_count_loss", "mse_membrane_loss")
    return {
        "conv2d": [
            run(images(Conv2d(1, 2, 3)), (1, 7, 6)),
            run(images(Conv2d(1, 3, (2, 3), stride=(2, 1), padding=(1, 2), bias=False)), (1, 7, 6)),
        ],
        "pool2d": [
            run(images(Leaky(0.5), MaxPool2d(2)), (1, 7, 6)),
            run(images(MaxPool2d((3, 2), stride=1, padding=(1, 0))), (1, 7, 6)),
            run(images(AvgPool2d((2, 3), padding=(1, 1))), (1, 7, 6)),
        ],
        "linear": [run([Linear(3, 4), Leaky(0.5), Linear(4, 2, bias=False), Leaky(0.9)], (3,))],
        "leaky": [
            run(
                [
                    Linear(3, 4),
                    Leaky([0.0, 0.5, 0.9, 1.0], 0.8, sigma, True, True, reset, detach),
                    Linear(4, 2),
                    Leaky(0.7, [0.5, 1.5], sigma, True, True, reset, detach),
                ],
                (3,),
            )
            for sigma, reset, detach in neurons
        ],
        "losses": [run([Linear(3, 2), Leaky(0.7)], (3,), loss) for loss in losses],
    }


def _lively(layers: list[Layer], backend: str) -> Sequential:
    """A float64 network whose weights make its neurons fire."""
    net = Sequential(*layers, dtype=np.float64, backend=backend, seed=1)
    rng = np.random.default_rng(2)
    for name, value in net.params.items():
        if name.endswith("weight"):
            value[...] = rng.uniform(-0.4, 1.0, value.shape)
    return net


def _dense(backend: str, reset: str = "subtract", detach: bool = False) -> Sequential:
    def neuron(beta: float) -> Leaky:
        return Leaky(beta, learn_beta=True, learn_threshold=True, reset_mechanism=reset, detach_reset=detach)

    return _lively([Linear(5, 6), neuron(0.8), Linear(6, 3), neuron(0.6)], backend)


def _rtrl(backend: str) -> Row:
    """Backpropagation through time against forward-mode sensitivities."""
    rng, errors = np.random.default_rng(3), []
    for reset, detach in itertools.product(RESETS, (True, False)):
        net, x = _dense(backend, reset, detach), rng.uniform(0, 1.5, (2, 5))
        spk_rec, _, tape = net.forward(x, 12)
        dspk, dmem = rng.standard_normal((2, *spk_rec.shape))
        by_bptt, by_rtrl = net.backward(tape, dspk, dmem), rtrl(net, x, 12, dspk, dmem)
        errors.append(_worst([_error(d, by_rtrl[name]) for name, d in by_bptt.items()]))
    return Row("network", backend, "BPTT is real-time recurrent learning", len(errors), _worst(errors), TO_ROUNDING)


def _smooth() -> Row:
    """The surrogates' derivatives against their primitives, through a network."""
    sigmas = [
        surrogate.fast_sigmoid(5), surrogate.atan(), surrogate.sigmoid(4), surrogate.LSO(), surrogate.heaviside(),
        surrogate.triangular(0.5), surrogate.straight_through_estimator(), surrogate.spike_rate_escape(slope=0.5),
        surrogate.SFS(2, -0.45),
    ]  # fmt: skip
    x, y = np.random.default_rng(4).uniform(0, 1.5, (2, 3)), np.array([0, 1])
    errors = []
    for sigma in sigmas:
        net = _lively([Linear(3, 4), Leaky(0.8, 0.9, sigma), Linear(4, 2), Leaky(0.6, 1.1, sigma)], "reference")
        errors.append(_excess(partial(gradcheck, net, x, y, SF.mse_membrane_loss(), 5, smooth=True)))
    claim = "surrogates are their primitives' derivatives"
    return Row("surrogate", "reference", claim, len(errors), _worst(errors), OF_LARGEST)


def _repeated(backend: str) -> Row:
    """The same bits in three runs, and in a sequence taken step by step (C11)."""
    net, x = _dense(backend), np.random.default_rng(5).uniform(0, 1.5, (9, 40, 5))
    runs = []
    for _ in range(3):
        spk_rec, mem_rec, tape = net.forward(x)
        runs.append(net.flatten(net.backward(tape, dspk=spk_rec, dmem=mem_rec)).tobytes() + _bytes(mem_rec))
    state, steps = net.init_state(40), b""
    for x_t in x:
        (_, mem), state = net.step(x_t, state)
        steps += _bytes(mem)
    different = len(set(runs)) - 1 + int(steps != _bytes(mem_rec))
    return Row("network", backend, "same bits again, and step by step", 4, float(different), 0.0)


def _alone(backend: str) -> Row:
    """A sample's bits do not depend on its neighbours (C11)."""
    net, x = _dense(backend), np.random.default_rng(6).uniform(0, 1.5, (9, 40, 5))
    spk_rec, mem_rec, _ = net.forward(x)
    assert mem_rec is not None
    alone = [net(np.ascontiguousarray(x[:, b : b + 1])) for b in range(40)]
    different = sum(
        _bytes(S) + _bytes(U) != _bytes(spk_rec[:, b : b + 1]) + _bytes(mem_rec[:, b : b + 1])
        for b, (S, U) in enumerate(alone)
    )
    return Row("network", backend, "a sample alone has the bits it has in a batch", 40, float(different), 0.0)


def _worst(errors: list[float]) -> float:
    """The largest error; NaN where one is."""
    return float(np.max(errors))


def _excess(check: Callable[[], GradReport]) -> float:
    """How far a network is from its bounds, as a share of the largest gradient."""
    try:
        report = check()
    except ValueError:  # the engine itself found a number that is none
        return float("inf")
    return OF_LARGEST * report.excess(report.worst)


def _bytes(x: Array | None) -> bytes:
    return b"" if x is None else x.tobytes()


def _error(actual: Array, expected: Array) -> float:
    """The largest difference as a share of the largest entry."""
    scale = float(np.abs(expected).max())
    return float(np.abs(actual - expected).max()) / scale if scale else float(np.abs(actual).max())
