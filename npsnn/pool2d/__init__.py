"""Max and average pooling: the law in reference.py, its Numba twin in cpu.py."""
