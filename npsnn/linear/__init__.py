"""The dense layer: the law in reference.py, its Numba twin in cpu.py."""
