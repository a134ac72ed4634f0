"""As reference.py, on the device; what differs follows.

- Arrays are npsnn._device's. The recording may be bool, a byte a spike. y is int64.
- Where steps do not depend on each other, GROUPS threads of a block own a sample. Elsewhere a thread does, and takes it
  through all of time; its row of `rows` (B, C) is scratch: its counts, or its largest membranes.
- Each function returns (values, gradient): values (B,), whose sum is the loss. Order of sums: a sample's, t ascending;
  where threads share it, t GROUPS apart, then the groups as a tree.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import GROUPS, LANES, Kernel
from npsnn._device import DeviceArray, add_groups, empty, send

cuda = _cuda.driver()

LOSSES = ("ce_rate_loss", "ce_count_loss", "ce_max_membrane_loss", "mse_count_loss", "mse_membrane_loss")


@lru_cache
def _cross_entropy(dtype: Any) -> Any:
    """(F1) to (F3) of one row z[at:at + C], its gradient times `share` into d[to:]; returns the row's value."""
    zero, kind = np.dtype(dtype).type(0), np.dtype(dtype).type

    @_cuda.device
    def cross_entropy(z, at, C, y, share, d, to):  # type: ignore[no-untyped-def]
        top, total = kind(z[at]), zero
        for c in range(C):
            top = max(top, kind(z[at + c]))
        for c in range(C):
            total += kind(math.exp(kind(z[at + c]) - top))
        log_total = kind(math.log(total))
        for c in range(C):
            p = kind(math.exp(kind(z[at + c]) - top - log_total))
            d[to + c] = (p - kind(c == y)) * share
        return log_total - (kind(z[at + y]) - top)

    return cross_entropy


@lru_cache
def _ce_rate(dtype: Any) -> Kernel:
    kind, cross_entropy = np.dtype(dtype).type, _cross_entropy(dtype)
    zero = kind(0)

    @_cuda.kernel
    def ce_rate(B, rec, y, share, values, rows, drec, T, C):  # type: ignore[no-untyped-def]
        shares = cuda.shared.array((GROUPS, LANES), kind)
        lane, group, block = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x
        while block * LANES < B:
            b, mine = block * LANES + lane, zero
            if b < B:
                for t in range(group, T, GROUPS):
                    mine += cross_entropy(rec, (t * B + b) * C, C, y[b], share, drec, (t * B + b) * C)
            shares[group, lane] = mine
            add_groups(shares, lane, group)
            if group == 0 and b < B:
                values[b] = shares[0, lane] * share  # (F4)
            cuda.syncthreads()
            block += cuda.gridDim.x

    return ce_rate


@lru_cache
def _ce_count(dtype: Any) -> Kernel:
    kind, cross_entropy = np.dtype(dtype).type, _cross_entropy(dtype)
    zero = kind(0)

    @_cuda.kernel
    def ce_count(B, rec, y, share, values, rows, drec, T, C):  # type: ignore[no-untyped-def]
        b = cuda.grid(1)
        while b < B:
            for c in range(C):
                count = zero
                for t in range(T):
                    count += kind(rec[(t * B + b) * C + c])
                rows[b * C + c] = count
            values[b] = share * cross_entropy(rows, b * C, C, y[b], share, drec, b * C)  # (F5)
            for t in range(1, T):
                for c in range(C):
                    drec[(t * B + b) * C + c] = drec[b * C + c]
            b += cuda.gridsize(1)

    return ce_count


@lru_cache
def _first_largest() -> Any:
    @_cuda.device
    def first_largest(rec, b, c, T, B, C):  # type: ignore[no-untyped-def]
        best, first = rec[b * C + c], 0
        for t in range(1, T):
            here = rec[(t * B + b) * C + c]
            if here > best or (math.isnan(here) and best == best):  # NaN wins, as in the law; a GPU's max drops it
                best, first = here, t
        return first

    return first_largest


@lru_cache
def _ce_max_membrane(dtype: Any) -> Kernel:
    kind, cross_entropy, first_largest = np.dtype(dtype).type, _cross_entropy(dtype), _first_largest()
    zero = kind(0)

    @_cuda.kernel
    def ce_max_membrane(B, rec, y, share, values, rows, drec, T, C):  # type: ignore[no-untyped-def]
        b = cuda.grid(1)
        while b < B:
            for c in range(C):
                rows[b * C + c] = rec[(first_largest(rec, b, c, T, B, C) * B + b) * C + c]
            values[b] = share * cross_entropy(rows, b * C, C, y[b], share, drec, b * C)  # (F6)
            for c in range(C):
                d = drec[b * C + c]
                for t in range(T):
                    drec[(t * B + b) * C + c] = zero
                drec[(first_largest(rec, b, c, T, B, C) * B + b) * C + c] = d
            b += cuda.gridsize(1)

    return ce_max_membrane


@lru_cache
def _mse_count(dtype: Any) -> Kernel:
    kind = np.dtype(dtype).type
    zero, two = kind(0), kind(2)

    @_cuda.kernel
    def mse_count(B, rec, y, share, values, rows, drec, T, C, right, wrong):  # type: ignore[no-untyped-def]
        b = cuda.grid(1)
        while b < B:
            total = zero
            for c in range(C):
                count = zero
                for t in range(T):
                    count += kind(rec[(t * B + b) * C + c])
                miss = count - (right if c == y[b] else wrong)
                total += miss * miss
                for t in range(T):
                    drec[(t * B + b) * C + c] = two * miss * share  # (F7)
            values[b] = total * share
            b += cuda.gridsize(1)

    return mse_count


@lru_cache
def _mse_membrane(dtype: Any) -> Kernel:
    kind = np.dtype(dtype).type
    zero, two = kind(0), kind(2)

    @_cuda.kernel
    def mse_membrane(B, rec, y, share, values, rows, drec, T, C, right, wrong):  # type: ignore[no-untyped-def]
        shares = cuda.shared.array((GROUPS, LANES), kind)
        lane, group, block = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x
        while block * LANES < B:
            b, mine = block * LANES + lane, zero
            if b < B:
                for t in range(group, T, GROUPS):
                    for c in range(C):
                        at = (t * B + b) * C + c
                        miss = rec[at] - (right if c == y[b] else wrong)
                        mine += miss * miss
                        drec[at] = two * miss * share  # (F8)
            shares[group, lane] = mine
            add_groups(shares, lane, group)
            if group == 0 and b < B:
                values[b] = shares[0, lane] * share
            cuda.syncthreads()
            block += cuda.gridDim.x

    return mse_membrane


def value_and_grad(
    name: str, numbers: tuple[float, ...], rec: DeviceArray, y: Any, dtype: Any, values: DeviceArray
) -> DeviceArray:
    """The gradient of loss `name`, of rec's shape and of `dtype`; what the samples add to it goes into values (B,)."""
    (T, B, C), number = rec.shape, np.dtype(dtype).type
    shares = {"ce_rate_loss": T * B, "ce_count_loss": B, "ce_max_membrane_loss": B}
    share = number(1 / shares.get(name, T * B * C))
    rows, drec = empty((B, C), dtype), empty(rec.shape, dtype)
    if name == "mse_count_loss":
        numbers = tuple(int(T * rate) for rate in numbers)
    kernel = {
        "ce_rate_loss": _ce_rate, "ce_count_loss": _ce_count, "ce_max_membrane_loss": _ce_max_membrane,
        "mse_count_loss": _mse_count, "mse_membrane_loss": _mse_membrane,
    }[name](np.dtype(dtype))  # fmt: skip
    launch = _cuda.launch_sums if name in ("ce_rate_loss", "mse_membrane_loss") else _cuda.launch
    launch(kernel, B, rec, send(y), share, values, rows, drec, T, C, *(number(n) for n in numbers))
    return drec
