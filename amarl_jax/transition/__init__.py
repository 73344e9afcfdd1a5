"""The mathematics of curves over lambda, in NumPy: fits, lambda*, bistability, verdict."""
