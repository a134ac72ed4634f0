"""Neurons, and the convolution of their spikes, in one pass: the law, and its Numba twin."""
