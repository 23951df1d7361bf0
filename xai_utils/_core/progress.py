"""A progress bar for people."""

import os

from tqdm.auto import tqdm


def bar(total):
    """A bar that shows up after two seconds and goes when all is done.

    The environment variable TQDM_DISABLE keeps it out of stored outputs.
    (tqdm itself reads the variable in terminals only, not in notebooks.)
    """
    return tqdm(
        total=total, delay=2, leave=False, disable="TQDM_DISABLE" in os.environ
    )


def batches(total, size):
    """Slices of at most `size` that go through `total` things, with a bar."""
    with bar(total) as progress:
        for start in range(0, total, size):
            part = slice(start, min(start + size, total))
            yield part
            progress.update(part.stop - part.start)
