"""Convolution and max-pooling in one pass: the law, and its Numba twin."""
