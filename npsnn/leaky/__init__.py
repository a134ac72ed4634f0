"""The leaky integrate-and-fire neuron, the only loop over time: the law in reference.py, its Numba twin in cpu.py."""
