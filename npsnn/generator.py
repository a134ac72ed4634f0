"""PyTorch's CPU random generator in NumPy (conventions C10), so that a seed means the same with no PyTorch installed.

It is the Mersenne Twister (Matsumoto & Nishimura 1998, MT19937), seeded the old way, and one recipe for each kind of
draw. The recipes were read from PyTorch 2.13 and are compared with it, bit for bit, in tests/peers.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn._fused import multiply_add

_WORDS = 624
# From this length on PyTorch's randperm draws 64-bit numbers instead, and 1.7 GB of indices would be asked for.
_RANDPERM_LIMIT = (2**32 - 1) // 20
# What _fused.py can do exactly.
_FLOAT64_LIMIT = 1e300


class Generator:
    """The random numbers that a PyTorch program draws on the CPU after ``torch.manual_seed(seed)``.

    Parameters
    ----------
    seed : int, 0 <= seed < 2**64
        As in PyTorch, only the low 32 bits decide the stream: `seed` and ``seed + 2**32`` draw the same.

    Raises
    ------
    TypeError, ValueError
        `seed` is no integer, or out of range.

    Notes
    -----
    Each draw moves the stream on, so the order of calls matters, as it does in PyTorch. `torch.randn`, `torch.randint`
    and the draws of CUDA devices are not here.

    Example
    -------
    >>> from npsnn.generator import Generator
    >>> generator = Generator(0)
    >>> generator.uniform(0, 1, 3)
    array([0.4962566 , 0.7682218 , 0.08847743], dtype=float32)
    >>> Generator(0).randperm(5)
    array([4, 0, 1, 3, 2])
    """

    def __init__(self, seed: int) -> None:
        self._seed = _seed(seed)
        self._bits = np.random.MT19937(0)
        self._place(_first_key(self._seed), _WORDS)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed})"

    @property
    def seed(self) -> int:
        """The seed this generator was made with, which `set_state` replaces."""
        return self._seed

    def uniform(self, low: float, high: float, shape: int | tuple[int, ...], dtype: Any = np.float32) -> Array:
        """Draw numbers evenly from [low, high), as ``torch.empty(shape, dtype=...).uniform_(low, high)``.

            float32    u = (32 random bits mod 2^24) / 2^24        x = u * (high - low) + low
            float64    u = (64 random bits mod 2^53) / 2^53        x = u * (high - low) + low

        Parameters
        ----------
        low, high : float, low <= high
            Rounded to `dtype` first, as PyTorch does.
        shape : int or tuple of int
            Of the result.
        dtype : float32 or float64
            Of the result.

        Returns
        -------
        x : array of `shape` and `dtype`
            Multiplied and added with one rounding (a fused multiply-add), as PyTorch's AVX2 and AVX-512 code does.
            That rounding may reach `high` itself. PyTorch with ``ATEN_CPU_CAPABILITY=default`` rounds twice and
            then differs from itself in last digits.

        Raises
        ------
        TypeError, ValueError
            A bound is no finite number or too large for `dtype`, low > high, or `dtype` is another one.

        Example
        -------
        >>> Generator(7).uniform(-0.5, 0.5, (2, 2), np.float64)
        array([[-0.22061957, -0.22630629],
               [ 0.36209296,  0.15668843]])
        """
        dtype = _float_dtype(dtype)
        low, high = _bounds(low, high, dtype)
        sizes = shape if isinstance(shape, tuple) else (shape,)
        sizes = tuple(_check.whole(n, "shape", 0) for n in sizes)
        u = self._unit(math.prod(sizes), dtype)
        return multiply_add(u, high - low, low).reshape(sizes)

    def bernoulli(self, p: Array) -> Array:
        """Draw ones with probability `p` and zeros otherwise, as ``torch.bernoulli(p)``.

        Parameters
        ----------
        p : float32 or float64 array of any shape, 0 <= p <= 1
            float32 draws 32 bits for each element, float64 draws 64, both in row-major order.

        Returns
        -------
        ones : array of 0 and 1, shape and dtype of `p`

        Raises
        ------
        TypeError
            `p` is no float32 or float64 array.
        ValueError
            A probability is NaN or outside [0, 1].

        Example
        -------
        >>> Generator(0).bernoulli(np.array([0.25, 0.5, 0.75], np.float32))
        array([0., 0., 1.], dtype=float32)
        """
        if not isinstance(p, np.ndarray) or p.dtype not in _check.FLOATS:
            raise TypeError(f"p must be a float32 or float64 array, got {getattr(p, 'dtype', type(p).__name__)}")
        if p.size and not (p.min() >= 0 and p.max() <= 1):
            raise ValueError(f"p must lie in [0, 1], got values from {p.min()} to {p.max()}")
        drawn: Array = self._unit(p.size, p.dtype).reshape(p.shape) < p
        return drawn.astype(p.dtype)

    def randperm(self, n: int) -> Array:
        """Draw a random order of 0 .. n-1, as ``torch.randperm(n, generator=...)``.

        Fisher and Yates from the front: for i = 0 .. n-2 swap i with i + (32 random bits mod (n - i)).

        Parameters
        ----------
        n : int, 0 <= n < 214,748,364
            From there on PyTorch has another recipe.

        Returns
        -------
        order : (n,) int64

        Raises
        ------
        TypeError, ValueError
            `n` is no integer, or out of range.

        Example
        -------
        >>> Generator(7).randperm(7)
        array([5, 0, 3, 1, 2, 6, 4])
        """
        n = _check.whole(n, "n", 0)
        if n >= _RANDPERM_LIMIT:
            raise ValueError(f"n must be below {_RANDPERM_LIMIT}, got {n}")
        order = list(range(n))
        if n > 1:
            left = np.arange(n, 1, -1, dtype=np.uint64)
            for i, step in enumerate((self._bits.random_raw(n - 1) % left).tolist()):
                order[i], order[i + step] = order[i + step], order[i]
        return np.array(order, dtype=np.int64)

    def int64(self) -> int:
        """Draw one integer from 0 .. 2**63 - 1, as ``torch.empty((), dtype=torch.int64).random_()``.

        It is what a PyTorch ``DataLoader`` draws when an epoch begins.

        Example
        -------
        >>> Generator(0).int64()
        900450186894289455
        """
        return int(self._pairs(1)[0]) & (2**63 - 1)

    def get_state(self) -> dict[str, Any]:
        """Return where the stream stands: plain numbers, to be kept in a checkpoint.

        Returns
        -------
        state : dict
            ``"seed"`` int, ``"position"`` int in 0 .. 624, ``"key"`` (624,) uint32, a copy.

        Example
        -------
        >>> generator = Generator(0)
        >>> state = generator.get_state()
        >>> generator.int64() == generator.int64()
        False
        >>> first = Generator(0).int64()
        >>> generator.set_state(state)
        >>> generator.int64() == first
        True
        """
        inner: Any = self._bits.state["state"]
        return {"seed": self._seed, "position": int(inner["pos"]), "key": inner["key"].astype(np.uint32)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go back to a place that `get_state` returned.

        Parameters
        ----------
        state : mapping with ``"seed"``, ``"position"`` and ``"key"``
            Integers may be 0-d arrays, as they come out of an ``.npz`` file.

        Raises
        ------
        TypeError, ValueError
            A part is missing, or is not what `get_state` returns; the generator is then left as it was.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what get_state() returned, got {type(state).__name__}")
        missing = [name for name in ("seed", "position", "key") if name not in state]
        if missing:
            raise ValueError(f"state has no {missing[0]!r}, expected 'seed', 'position' and 'key'")
        key = _check.plain(state["key"], "state['key']")
        if key.dtype != np.uint32 or key.shape != (_WORDS,):
            raise ValueError(f"state['key'] is {key.dtype} {_check.shape_text(key.shape)}, expected uint32 ({_WORDS},)")
        seed = _seed(_unwrap(state["seed"], "state['seed']"))
        position = _check.whole(_unwrap(state["position"], "state['position']"), "state['position']", 0)
        if position > _WORDS:
            raise ValueError(f"state['position'] must be at most {_WORDS}, got {position}")
        self._seed = seed
        self._place(key, position)

    def _place(self, key: Array, position: int) -> None:
        self._bits.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": position}}

    def _pairs(self, n: int) -> Array:
        words = self._bits.random_raw(2 * n)
        return (words[0::2] << np.uint64(32)) | words[1::2]

    def _unit(self, n: int, dtype: np.dtype[Any]) -> Array:
        """`n` numbers in [0, 1), each exact in `dtype`."""
        if dtype == np.float32:
            return (self._bits.random_raw(n) & np.uint64(2**24 - 1)).astype(np.float32) * np.float32(2.0**-24)
        return (self._pairs(n) & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53


def as_generator(seed: int | Generator) -> Generator:
    """Return `seed` itself if it is a `Generator`, and a new ``Generator(seed)`` if it is an int.

    Example
    -------
    >>> as_generator(3)
    Generator(seed=3)
    """
    return seed if isinstance(seed, Generator) else Generator(seed)


def init_bounds(fan_in: int) -> tuple[float, float]:
    """Return the bounds of PyTorch's first weights and biases of a convolution or linear layer (C10).

    Weights are drawn from ``uniform(-weight_bound, weight_bound)``, then biases likewise.

        weight_bound = sqrt(3) * (sqrt(2 / 6) / sqrt(fan_in))        kaiming_uniform_ with a = sqrt(5)
        bias_bound   = 1 / sqrt(fan_in)

    Both are 1 / sqrt(fan_in) but for rounding; the order of operations is PyTorch's, so that the bits are.

    Parameters
    ----------
    fan_in : int, at least 1
        Inputs of one output: ``in_channels * kh * kw``, or ``in_features``.

    Returns
    -------
    weight_bound, bias_bound : float

    Raises
    ------
    TypeError, ValueError
        `fan_in` is no integer, or below 1.

    Example
    -------
    >>> init_bounds(25)
    (0.19999999999999998, 0.2)
    """
    root = math.sqrt(_check.whole(fan_in, "fan_in"))
    return math.sqrt(3.0) * (math.sqrt(2.0 / 6.0) / root), 1 / root


def _seed(seed: Any) -> int:
    number = _check.whole(seed, "seed", 0)
    if number >= 2**64:
        raise ValueError(f"seed must be below 2**64, got {number}")
    return number


def _first_key(seed: int) -> Array:
    """The 624 words that Knuth's recurrence makes of the low 32 bits (init_genrand of MT19937)."""
    key = [seed & 0xFFFFFFFF]
    for i in range(1, _WORDS):
        key.append((1812433253 * (key[-1] ^ (key[-1] >> 30)) + i) & 0xFFFFFFFF)
    return np.array(key, dtype=np.uint32)


def _unwrap(value: Any, name: str) -> Any:
    return _check.plain(value, name).item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _float_dtype(dtype: Any) -> np.dtype[Any]:
    for known in _check.FLOATS:
        if dtype is not None and known == dtype:
            return known
    raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")


def _bounds(low: float, high: float, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    low, high = _check.real(low, "low"), _check.real(high, "high")
    limit = float(np.finfo(np.float32).max) if dtype == np.float32 else _FLOAT64_LIMIT
    if low > high:
        raise ValueError(f"low must not be above high, got low {low} and high {high}")
    if max(-low, high, high - low) > limit:
        raise ValueError(f"low and high must span at most {limit:.4g} in {dtype}, got {low} and {high}")
    return dtype.type(low), dtype.type(high)
