"""Neurons, and the convolution and max-pooling of their spikes, in one pass: the law, and its Numba twin."""
