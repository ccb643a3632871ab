"""The interpreter's search for garbage, which programs that hold much and drop little should seldom make."""

import gc


def spare_the_collector() -> None:
    """Make a program of ours look for garbage less often.

    It keeps states and rows by the hundred thousand, hardly any of them in cycles: at the interpreter's own settings
    looking for those that are takes up to two fifths of an import, a replay or the write loop, and finds nothing.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
