"""Random numbers by name: each is a function of a seed, a purpose, a step and an index, whatever was drawn before.

NumPy guarantees the bits of SeedSequence and Philox for ever. SeedSequence mixes all the numbers of a key, so neither
neighbouring steps nor neighbouring seeds have anything in common, as they would with seed + step.
"""

import numpy as np

# Last word of a key: one for each kind of number, so that no two kinds share a stream.
ORDER, CHOICE, NOISE, DROPOUT, HELD_OUT = range(0x7A11, 0x7A16)


def key(purpose: int, *numbers: int) -> np.ndarray:
    """128-bit Philox key of the numbers (each >= 0) for one purpose."""
    return np.random.SeedSequence([*numbers, purpose]).generate_state(2, np.uint64)


def words(philox_key: np.ndarray, index: int, count: int) -> np.ndarray:
    """`count` random uint64 that belong to (key, index) alone."""
    return np.random.Philox(key=philox_key, counter=[0, 0, 0, index]).random_raw(count)


def below(word: int, n: int) -> int:
    """A number in 0..n-1 from a 64-bit word."""
    return int(word) * n >> 64


def permutation(n: int, *numbers: int) -> np.ndarray:
    """A random order of 0..n-1 that belongs to the numbers."""
    return np.argsort(words(key(ORDER, *numbers), 0, n), kind="stable")
