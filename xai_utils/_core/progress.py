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
