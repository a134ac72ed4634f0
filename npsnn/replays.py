"""Training steps that are done again on the memory of an earlier one (floor 3).

Steps of one shape are the same launches, whatever the numbers. So a step is recorded, and later ones copy their inputs
to where its inputs lay and start the recording (_graph.py). Three things keep that honest:

- What a step gives lies in that memory. So a recording is started again only when nobody has what it gave last; there
  are two, for a loop holds a batch while it asks for the next.
- Work that also copies, or calls the host, is not recorded.
- A recording is done again at once, from the same inputs, and believed only if it gives the same bits.
"""

import warnings
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from npsnn import _cuda, _device, _graph
from npsnn._device import DeviceArray, Owner, copy_into, send
from npsnn.parameters import FlatParams

SHAPES = 2  # whose steps are recorded, the first that come: a batch, and the rest that ends an epoch
EACH = 2
TRIES = 3  # the first step of a shape sends its constants, and is not recorded

Work = Callable[..., Any]


class Place:
    """Where a step finds its inputs: what `state` was before it, and arrays of the host."""

    def __init__(self, state: DeviceArray, hosts: tuple[Any, ...]) -> None:
        self.state, self.hosts = state, hosts
        self.inputs = (state.copy(), *(send(host) for host in hosts))
        self._start: Callable[[], None] | None = None
        self._made: Any = None
        self._launches: list[_cuda.Launch] = []  # a graph knows addresses, and keeps no array alive
        self._taken: Callable[[], Owner | None] = lambda: None

    def free(self) -> bool:
        """Whether nobody has what it gave last."""
        return self._taken() is None

    def fill(self, hosts: tuple[Any, ...]) -> None:
        """The inputs of the next step."""
        self.hosts = hosts
        for there, x in zip(self.inputs, (self.state, *hosts), strict=True):
            copy_into(there, x)

    def restore(self) -> None:
        """The state as it was before."""
        copy_into(self.state, self.inputs[0])

    def again(self) -> Any:
        """What the step gives from the present inputs."""
        assert self._start is not None
        self._start()
        return self._lent()

    def done(self, work: Work) -> tuple[Any, bool]:
        """(what `work(*inputs)` gives, whether the next such step can be had by `again`)."""
        with _cuda.record() as recording:
            made = work(*self.inputs)
        start = _graph.graph(recording.launches) if recording.whole else None
        if start is None:
            return made, False
        first = self._bits()
        self._rewind()
        start()
        if self._bits() != first:
            warnings.warn("npsnn: a CUDA graph gave other numbers than its launches; it is not used", stacklevel=2)
            self._rewind()
            return work(*self.inputs), False
        self._start, self._made, self._launches = start, made, recording.launches
        return self._lent(), True

    def _bits(self) -> list[bytes]:
        return [np.asarray(x).tobytes() for x in (self.state, *self.inputs)]

    def _rewind(self) -> None:
        self.restore()
        self.fill(self.hosts)

    def _lent(self) -> Any:
        owner = Owner()
        self._taken = weakref.ref(owner)
        return lent(self._made, owner)


class Replays:
    """The recorded steps of one network in training."""

    def __init__(self) -> None:
        self._places: dict[Hashable, list[Place]] = {}
        self._tries: dict[Hashable, int] = {}
        self._short = False  # of memory
        self.count = 0  # steps that were not launched kernel by kernel
        _device.savers.add(self)

    def clear(self) -> None:
        """Give up the memory, for good; what was lent stays."""
        self._places.clear()
        self._short = True

    def place(self, key: Hashable, state: DeviceArray, hosts: tuple[Any, ...]) -> Place:
        """Where the next step of shape `key` finds its inputs."""
        for place in self._places.get(key, ()):
            if place.free():
                place.fill(hosts)
                return place
        return Place(state, hosts)

    def step(self, key: Hashable, place: Place, work: Work) -> Any:
        """What `work(*place.inputs)` gives; it must do nothing but launch kernels, or else it is never recorded."""
        kept = self._places.get(key, [])
        if place in kept:
            self.count += 1
            return place.again()
        if not self._records(key):
            return work(*place.inputs)
        self._tries[key] = self._tries.get(key, 0) + 1
        made, recorded = place.done(work)
        if recorded:
            self._places.setdefault(key, []).append(place)
        return made

    def _records(self, key: Hashable) -> bool:
        kept = self._places.get(key, [])
        room = key in self._places or len(self._places) < SHAPES
        free = _graph.wanted and not self._short
        return free and room and len(kept) < EACH and self._tries.get(key, 0) - len(kept) < TRIES


def lent(x: Any, owner: Owner) -> Any:
    """`x`, whose arrays on the device are `owner`'s."""
    if isinstance(x, DeviceArray):
        return DeviceArray(x.flat, x.shape, owner)
    if isinstance(x, FlatParams):
        return FlatParams(lent(x.flat, owner), x.slots)
    if isinstance(x, dict):
        return {name: lent(y, owner) for name, y in x.items()}
    if isinstance(x, tuple):
        parts = (lent(y, owner) for y in x)
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return x
