"""Neurons, and the dense layer over their spikes, in one pass: the law, and its Numba twin."""
