"""What the kernels of a convolution on the device are compiled for, and the sizes that they are given."""

from typing import NamedTuple

Pair = tuple[int, int]

NO_POOL: tuple[Pair, Pair, Pair] = ((1, 1), (1, 1), (0, 0))


class Geometry(NamedTuple):
    """What is compiled into the kernels."""

    kernel: Pair
    stride: Pair
    padding: Pair
    pool: tuple[Pair, Pair, Pair]  # the pool's kernel, stride, padding


class Sizes(NamedTuple):
    """What is passed to them."""

    C: int
    H: int
    W: int
    O: int
    H_conv: int
    W_conv: int
    H_out: int
    W_out: int


def sizes(X_shape: tuple[int, ...], O: int, g: Geometry) -> Sizes:
    """Of the image, of the convolution's output and of the pooled one."""
    image, (q, t, r) = X_shape[-2:], g.pool
    conv = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(image, g.kernel, g.stride, g.padding, strict=True)]
    out = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(conv, q, t, r, strict=True)]
    return Sizes(X_shape[1], image[0], image[1], O, conv[0], conv[1], out[0], out[1])
