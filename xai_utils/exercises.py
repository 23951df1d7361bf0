"""The self-checks of the exercises: what is still to do, or not yet right."""

import numpy as np


def check(answer, truth, hint: str, tolerance: float = 0.001) -> None:
    """Compare a reader's answer with the truth, and print one line.

    The line starts with "Still to do" (the answer is None), "Not yet" (with
    what is wrong: the type, the shape, or else the hint) or "Right". Lists,
    tensors and arrays of any precision are compared by their values.

    Args:
        answer: what the reader made; or a function without arguments that
            runs the reader's function, so that its errors become a hint, too.
        truth: what it should be: numbers, a text, or a dict of such.
        hint: what to say when everything but the values is as it should be.
        tolerance: the error that is allowed, as a share of the largest value
            of `truth`; of whole numbers never more than a half.
    """
    try:
        given = answer() if callable(answer) else answer
    except Exception as error:  # whatever the reader's function does
        print(f"Not yet: it stops with {type(error).__name__}: {error}")
        return
    wrong = _what_is_wrong(given, truth, hint, tolerance)
    print(wrong or "Right.")


def _what_is_wrong(answer, truth, hint, tolerance):
    """The line to print, or None where the answer is right."""
    got = f"got {_kind(answer)}"
    if answer is None:
        return "Still to do."
    if isinstance(truth, dict):
        keys = ", ".join(map(repr, truth))
        if isinstance(answer, dict):
            got = f"got the keys {', '.join(map(repr, answer))}"
        if not isinstance(answer, dict) or set(answer) != set(truth):
            return f"Not yet: a dict with the keys {keys} is wanted; {got}."
        for key, value in truth.items():
            wrong = _what_is_wrong(answer[key], value, hint, tolerance)
            if wrong:
                return wrong.replace(":", f": for {key!r},", 1)
        return None
    if isinstance(truth, str):
        if not isinstance(answer, str):
            return f"Not yet: a text is wanted; {got}."
        return None if answer == truth else f"Not yet: {hint}"
    truth = np.asarray(truth)
    try:
        values = np.asarray(answer)
    except Exception:  # lists of unequal length, tensors without values
        values = np.array(None)
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    if values.dtype.kind not in "biuf":
        return f"Not yet: {_numbers(truth)} wanted; {got}."
    if values.shape != truth.shape:
        shape = values.shape or "a single number"
        return f"Not yet: {_numbers(truth)} wanted; got {shape}."
    if not np.isfinite(values).all():
        return "Not yet: not all values are finite."
    error = np.abs(values.astype(float) - truth.astype(float))
    allowed = tolerance * np.abs(truth.astype(float)).max(initial=0)
    if truth.dtype.kind in "biu":  # a count or an index: one off is wrong
        allowed = min(allowed, 0.5)
    return None if (error <= allowed).all() else f"Not yet: {hint}"


def _kind(answer):
    kind = type(answer).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def _numbers(truth):
    if truth.ndim == 0:
        return "a single number is"
    return f"numbers of shape {truth.shape} are"
