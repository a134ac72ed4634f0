"""What a network runs (floor 2): its layers, and some of them together."""

from npsnn.firing import LeakyConv2d, LeakyConvPool2d, LeakyLinear, fits
from npsnn.layer import Layer
from npsnn.layers import Conv2d, Flatten, Linear, MaxPool2d
from npsnn.neuron import Leaky
from npsnn.pairs import ConvPool2d, FlatLinear


def pair_up(layers: tuple[Layer, ...], fuse: bool = False) -> tuple[tuple[int, Layer], ...]:
    """(index, layer) of what a network runs: its layers, and some together, under the index of the one with parameters.

    `fuse` also puts neurons together with what follows them: a convolution, with its pool, or a dense layer.

    >>> layers = Conv2d(1, 2, 3), MaxPool2d(2), Leaky(0.5), Conv2d(2, 2, 3), MaxPool2d(2), Flatten(), Linear(8, 2)
    >>> [(i, type(layer).__name__) for i, layer in pair_up(layers)]
    [(0, 'ConvPool2d'), (2, 'Leaky'), (3, 'ConvPool2d'), (6, 'FlatLinear')]
    >>> [(i, type(layer).__name__) for i, layer in pair_up(layers, fuse=True)]
    [(0, 'ConvPool2d'), (3, 'LeakyConvPool2d'), (6, 'FlatLinear')]
    >>> layers = Linear(5, 9), Leaky(0.5), Linear(9, 2), Leaky(0.5)
    >>> [(i, type(layer).__name__) for i, layer in pair_up(layers, fuse=True)]
    [(0, 'Linear'), (2, 'LeakyLinear'), (3, 'Leaky')]
    >>> [(i, type(layer).__name__) for i, layer in pair_up((Leaky(0.5), Conv2d(1, 2, 3), Leaky(0.5)), fuse=True)]
    [(1, 'LeakyConv2d'), (2, 'Leaky')]
    """
    run: list[tuple[int, Layer]] = []
    for i, layer in enumerate(layers):
        last = run[-1][1] if run else None
        if isinstance(layer, MaxPool2d) and isinstance(last, Conv2d):
            run[-1] = (i - 1, ConvPool2d(last, layer))
        elif isinstance(layer, Linear) and isinstance(last, Flatten):
            run[-1] = (i, FlatLinear(last, layer))
        else:
            run.append((i, layer))
    return tuple(_fused(run) if fuse else run)


def _fused(items: list[tuple[int, Layer]]) -> list[tuple[int, Layer]]:
    run: list[tuple[int, Layer]] = []
    for i, layer in items:
        before = run[-1][1] if run else None
        as_one = _as_one(before, layer) if isinstance(before, Leaky) and fits(before) else None
        if as_one is None:
            run.append((i, layer))
        else:
            run[-1] = (i, as_one)
    return run


def _as_one(leaky: Leaky, layer: Layer) -> Layer | None:
    """Neurons and the layer after them; None where there is no op for these."""
    if isinstance(layer, ConvPool2d):
        return LeakyConvPool2d(leaky, layer)
    if isinstance(layer, Conv2d):
        return LeakyConv2d(leaky, layer)
    if isinstance(layer, Linear | FlatLinear) and LeakyLinear.has_few_outputs(layer):
        return LeakyLinear(leaky, layer)
    return None
