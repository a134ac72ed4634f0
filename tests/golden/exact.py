"""Exact arrays that know their gradients: the second origin of the golden vectors. npsnn is not imported.

An array is a NumPy array of Python's Fractions, or of mpmath numbers of 100 digits where exp, log or pi come in. Each
operation records how to send a gradient back (reverse-mode automatic differentiation, the method that npsnn does
without), so the gradients here and there share no derivation.

For dyadic cases every sum is certified on the way (`Bits`): its terms are multiples of some q = 2^-k, and the sum of
their sizes is less than 2^bits q. With bits <= 53 every order of summation, with or without fused multiply-add, gives
the same double; with bits <= 24, the same float32.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np


class Bits:
    """The most bits that any sum has needed so far."""

    most = 0

    @classmethod
    def start(cls) -> None:
        cls.most = 0

    @classmethod
    def note(cls, *terms: np.ndarray) -> None:
        """Terms that are added up elementwise; nothing is noted for numbers that are no Fractions."""
        terms = tuple(np.asarray(term, object) for term in terms)
        if not all(isinstance(x, Fraction) for term in terms for x in term.flat):
            return
        k = max((x.denominator for term in terms for x in term.flat), default=1)
        if k & (k - 1):
            return  # not dyadic: such a case is certified, not exact
        total = np.zeros(np.broadcast_shapes(*(t.shape for t in terms)), object)
        for term in terms:
            total = np.asarray(total + abs(term), object)
        largest = max((int(x * k) for x in total.flat), default=0)
        cls.most = max(cls.most, largest.bit_length())


class Sizes:
    """While `on`, gradients add up the sizes of their terms instead of the terms."""

    on = False


def sized(a: np.ndarray) -> np.ndarray:
    return np.asarray(abs(a), object) if Sizes.on else a


class Exact:
    """An array, and how its gradient goes back to the arrays that it was made of."""

    def __init__(self, value, parents=()) -> None:
        self.value = np.asarray(value, dtype=object)
        self.parents = parents  # (array, function of this array's gradient)

    def __add__(self, other: "Exact") -> "Exact":
        Bits.note(self.value, other.value)
        a, b = self.value.shape, other.value.shape
        return Exact(self.value + other.value, ((self, lambda g: fold(g, a)), (other, lambda g: fold(g, b))))

    def __neg__(self) -> "Exact":
        return Exact(-self.value, ((self, lambda g: g if Sizes.on else -g),))

    def __sub__(self, other: "Exact") -> "Exact":
        return self + -other

    def __mul__(self, other: "Exact") -> "Exact":
        a, b = self.value, other.value
        product = Exact(
            a * b, ((self, lambda g: fold(g * sized(b), a.shape)), (other, lambda g: fold(g * sized(a), b.shape)))
        )
        Bits.note(product.value)
        return product

    def __matmul__(self, other: "Exact") -> "Exact":
        a, b = self.value, other.value
        return Exact(
            multiply(a, b), ((self, lambda g: multiply(g, sized(b.T))), (other, lambda g: multiply(sized(a.T), g)))
        )

    def take(self, places: np.ndarray) -> "Exact":
        """The entries at flat `places`, 0 where a place is -1; reshaping, padding, windows and slices are all this."""
        flat, zero = self.value.reshape(-1), self.value.flat[0] * 0
        picked = np.array([flat[p] if p >= 0 else zero for p in places.flat], object).reshape(places.shape)
        return Exact(picked, ((self, lambda g: scatter(g, places, self.value)),))

    def reshape(self, *shape: int) -> "Exact":
        before = self.value.shape
        return Exact(self.value.reshape(shape), ((self, lambda g: g.reshape(before)),))

    def sum(self, axis: int) -> "Exact":
        Bits.note(*np.moveaxis(self.value, axis, 0))
        shape = self.value.shape
        total = self.value.sum(axis=axis)
        return Exact(total, ((self, lambda g: np.broadcast_to(np.expand_dims(g, axis), shape)),))

    def map(self, function: Callable, slope: Callable) -> "Exact":
        """function(x) elementwise, whose gradient is taken to be slope(x)."""
        slopes = np.frompyfunc(slope, 1, 1)(self.value)
        return Exact(np.frompyfunc(function, 1, 1)(self.value), ((self, lambda g: g * sized(slopes)),))

    def constant(self) -> "Exact":
        """The same numbers, through which no gradient goes."""
        return Exact(self.value)


def stack(arrays: list[Exact]) -> Exact:
    """One array of several, along a new first axis."""
    parts = tuple((a, lambda g, t=t: g[t]) for t, a in enumerate(arrays))
    return Exact(np.stack([a.value for a in arrays]), parts)


def gradients(outputs: list[tuple[Exact, np.ndarray]], wanted: dict[str, Exact]) -> dict[str, np.ndarray]:
    """By name, the gradient of the sum of <output, upstream> over `outputs`; zero where nothing arrives."""
    order: list[Exact] = []
    seen: set[int] = set()
    pending = [(array, False) for array, _ in outputs]
    while pending:
        array, done = pending.pop()
        if done:
            order.append(array)
        elif id(array) not in seen:
            seen.add(id(array))
            pending.append((array, True))
            pending += [(parent, False) for parent, _ in array.parents]
    arrived: dict[int, list[np.ndarray]] = {}
    for array, upstream in outputs:
        arrived.setdefault(id(array), []).append(np.asarray(upstream, object))
    for array in reversed(order):
        if id(array) in arrived:
            g = total(arrived[id(array)])
            arrived[id(array)] = [g]
            for parent, back in array.parents:
                arrived.setdefault(id(parent), []).append(back(g))
    return {name: np.asarray(arrived.get(id(a), [a.value * 0])[0], object) for name, a in wanted.items()}


def sizes(outputs: list[tuple[Exact, np.ndarray]], wanted: dict[str, Exact]) -> dict[str, np.ndarray]:
    """As `gradients`, but of every sum the sizes of its terms: how large an entry would be if nothing cancelled."""
    Sizes.on = True
    try:
        return gradients([(array, sized(np.asarray(upstream, object))) for array, upstream in outputs], wanted)
    finally:
        Sizes.on = False


def total(terms: list[np.ndarray]) -> np.ndarray:
    """The sum of gradients that arrive from several uses."""
    Bits.note(*terms)
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return np.asarray(result, object)


def fold(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of broadcasting `shape` to g's: the sum over what was stretched."""
    g = np.asarray(g, object)
    extra = g.ndim - len(shape)
    axes = (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1))
    if axes:
        rest = [n for i, n in enumerate(g.shape) if i not in axes]
        Bits.note(*np.moveaxis(g, axes, range(len(axes))).reshape(-1, *rest))
        g = g.sum(axis=axes, keepdims=True)
    return np.asarray(g, object).reshape(shape)


def scatter(g: np.ndarray, places: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Zeros like `like`, and g added at its flat places."""
    result, sizes = np.array([like.flat[0] * 0] * like.size, object), np.array([like.flat[0] * 0] * like.size, object)
    for p, x in zip(places.flat, np.asarray(g, object).flat, strict=True):
        if p >= 0:
            result[p], sizes[p] = result[p] + x, sizes[p] + abs(x)
    Bits.note(sizes)
    return result.reshape(like.shape)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product. Fractions are brought to a common denominator, so that integers are multiplied."""
    if not all(isinstance(x, Fraction) for m in (a, b) for x in m.flat):
        return np.dot(a, b)
    (n, k), (m, j) = _integers(a), _integers(b)
    products, sizes = np.dot(n, m), np.dot(abs(n), abs(m))
    if k & (k - 1) == 0 and j & (j - 1) == 0:
        Bits.most = max(Bits.most, max((int(x).bit_length() for x in sizes.flat), default=0))
    return np.array([Fraction(x, k * j) for x in products.flat], object).reshape(products.shape)


def _integers(a: np.ndarray) -> tuple[np.ndarray, int]:
    """Integers n and k with a = n / k."""
    k = int(np.lcm.reduce([x.denominator for x in a.flat] or [1], dtype=object))
    return np.array([x.numerator * (k // x.denominator) for x in a.flat], object).reshape(a.shape), k
