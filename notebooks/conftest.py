"""Checks that nbval does not make, see tests/notebook_checks.py."""

import os

from notebook_checks import pytest_runtest_call  # noqa: F401

os.environ["TQDM_DISABLE"] = "1"  # progress is for people, not for outputs
