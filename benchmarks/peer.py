"""The tutorial's network in snnTorch, for the benchmarks that stand npsnn beside it. Needs torch and snntorch."""

import warnings

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import snntorch as snn
    import torch
    from snntorch import functional, surrogate, utils
    from torch import nn

T = 50


class SnnTorch:
    """Network, optimiser and loss of the tutorial's own loop, from npsnn's weights."""

    def __init__(self, params):
        torch.set_num_threads(2)

        def neuron(**more):
            return snn.Leaky(beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=25), init_hidden=True, **more)

        self.net = nn.Sequential(
            nn.Conv2d(1, 12, 5), nn.MaxPool2d(2), neuron(), nn.Conv2d(12, 64, 5), nn.MaxPool2d(2), neuron(),
            nn.Flatten(), nn.Linear(1024, 10), neuron(output=True),
        )  # fmt: skip
        self.load(params)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.loss_fn = functional.ce_rate_loss()

    def load(self, params):
        """npsnn's weights."""
        state = {k: torch.from_numpy(np.array(v)) for k, v in params.items()}
        missing = self.net.load_state_dict(state, strict=False).missing_keys
        assert not [k for k in missing if k.endswith(("weight", "bias"))], missing

    def spikes(self, x):
        utils.reset(self.net)
        x = torch.from_numpy(np.array(x))
        return torch.stack([self.net(x)[0] for _ in range(T)])

    def step(self, x, targets):
        """One training step; its loss."""
        loss = self.loss_fn(self.spikes(x), torch.from_numpy(np.array(targets)))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def accuracy(self, loader):
        """Share of the loader's samples named rightly."""
        right = samples = 0
        with torch.no_grad():
            for x, targets in loader:
                accuracy = functional.accuracy_rate(self.spikes(x), torch.from_numpy(np.array(targets)))
                right, samples = right + accuracy * len(x), samples + len(x)
        return right / samples
