"""One Adam update on flat arrays: the law in reference.py, its Numba twin in cpu.py."""
