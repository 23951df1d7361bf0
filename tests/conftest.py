import os

import pytest
from notebook_checks import skip_without_imagenet

os.environ["TQDM_DISABLE"] = "1"


@pytest.fixture
def imagenet():
    """Skips the test, and says why, where the weights can't be had."""
    skip_without_imagenet()
