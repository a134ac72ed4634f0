"""Plain PyTorch by hand, the quickest way that its eager mode has: only the neurons go through time step by step."""

from typing import Any

import torch

import npsnn
from benchmarks.engines import TorchEngine


class Spike(torch.autograd.Function):
    """S = H(x) with x = U - theta, and fast_sigmoid's derivative 1/(1 + a|x|)^2 for the way back."""

    @staticmethod
    def forward(ctx: Any, U: torch.Tensor, theta: float, a: float) -> torch.Tensor:
        x = U - theta
        ctx.save_for_backward(x)
        ctx.a = a
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dS: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return dS / x.abs().mul_(ctx.a).add_(1).square_(), None, None


class Lif(torch.nn.Module):
    """U[t] = (beta U[t-1] + I[t]) - S[t-1] theta, S[t] = H(U[t] - theta), the reset detached; two kernels for U."""

    def __init__(self, layer: npsnn.Leaky) -> None:
        super().__init__()
        self.beta, self.theta, self.a = float(layer.beta), float(layer.threshold), float(layer.spike_grad.a)

    def forward(self, currents: Any) -> torch.Tensor:
        """(T, B, *N) spikes of T currents of (B, *N)."""
        spk_rec: list[torch.Tensor] = []
        U = None
        for I_t in currents:
            if U is None:
                U = I_t
            else:
                U = torch.sub(torch.add(I_t, U, alpha=self.beta), spk_rec[-1].detach(), alpha=self.theta)
            spk_rec.append(Spike.apply(U, self.theta, self.a))
        return torch.stack(spk_rec)


class MultiStep(TorchEngine):
    """PyTorch by hand: convolutions, pools and linear layers on the (T B) folded batch, neurons in a loop over T.

    What stands before the first neurons sees a static input once, on B.
    """

    def neuron(self, layer: npsnn.Leaky) -> Any:
        return Lif(layer)

    def spikes(self) -> torch.Tensor:
        T, B = self.network.num_steps, self.network.batch
        y, folded = (self.x, False) if self.network.static else (self.x.flatten(0, 1), True)
        for layer in self.net:
            if isinstance(layer, Lif):
                y = layer(y.unflatten(0, (T, B)).unbind() if folded else [y] * T).flatten(0, 1)
                folded = True
            else:
                y = layer(y)
        return y.unflatten(0, (T, B))
