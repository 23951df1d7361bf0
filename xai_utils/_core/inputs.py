"""What a model and a picture must be like before they can be explained."""

import keras
import numpy as np


def check_images(model, images, argument="images"):
    """Check a batch of images against a model.

    Args:
        model: keras.Model with one input `(n, h, w, c)`, built.
        images: array `(n, h, w, c)` of integers or floats, finite, n ≥ 1.
        argument: the name that error messages give to `images`.

    Returns:
        NumPy array `(n, h, w, c)`, the same values in the dtype of the
        model's input.

    Raises:
        TypeError: `model` is no Keras model, `images` holds no numbers.
        ValueError: what came and what is wanted, in words.
    """
    shape, dtype = check_model(model)
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise ValueError(
            f"{argument} must be one array; got pictures of "
            f"different shapes ({error})"
        ) from error
    if images.dtype.kind not in "uif":
        raise TypeError(
            f"{argument} must hold integers or floats; got dtype "
            f"{images.dtype}"
        )
    if images.ndim == 3:
        raise ValueError(
            f"{argument} must have shape (n, h, w, c); got "
            f"{images.shape}: add a batch axis, image[None]"
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"{argument} must have shape (n, h, w, c) with at "
            f"least one image; got {images.shape}"
        )
    if any(
        want not in (None, got) for want, got in zip(shape, images.shape[1:])
    ):
        raise ValueError(
            f"{argument} must have the shape that the model "
            f"takes, (n, {_words(shape)}); got {images.shape}"
        )
    if not np.isfinite(images).all():
        raise ValueError(f"{argument} must be finite; got NaN or infinity")
    return images.astype(dtype)


def check_image(model, image):
    """Like `check_images` for one image `(h, w, c)`; returns `(h, w, c)`."""
    if np.ndim(image) != 3:
        raise ValueError(
            "image must be one picture of shape (h, w, c); got "
            f"shape {np.shape(image)}"
        )
    return check_images(model, np.asarray(image)[None], "image")[0]


def check_batch_size(batch_size):
    """Raise a ValueError unless `batch_size` is a whole number from 1."""
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(
            "batch_size must be a whole number, at least 1; got "
            f"{batch_size!r}"
        )


def check_model(model):
    """Shape `(h, w, c)` (None where free) and dtype of the model's input.

    Raises a TypeError or ValueError unless it is a built keras.Model with one
    input of float images.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model; got {type(model).__name__}"
        )
    if not model.built:
        raise ValueError(
            "model has no weights yet: call it once on a batch "
            "of images, or load its weights, and try again"
        )
    if not getattr(model, "inputs", None):  # a subclassed model tells none
        return (None, None, None), model.variable_dtype
    if len(model.inputs) > 1:
        raise ValueError(
            f"model must have one input; it has {len(model.inputs)}. Wrap it: "
            "keras.Model(x, model([x, other])), with the others constant"
        )
    shape, dtype = model.inputs[0].shape[1:], model.inputs[0].dtype
    if len(shape) != 3:
        raise ValueError(
            "model must take images (n, h, w, c); its input has "
            f"shape {tuple(model.inputs[0].shape)}"
        )
    if shape[0] in (1, 3) and shape[2] not in (1, 3, 4):
        raise ValueError(
            f"model takes channels first, {tuple(shape)}; images here are "
            "(h, w, c). Wrap it: x = keras.Input((h, w, c)); "
            "model = keras.Model(x, model(keras.layers.Permute((3, 1, 2))"
            "(x)))"
        )
    if not str(dtype).startswith(("float", "bfloat")):
        raise ValueError(
            f"model takes {dtype}; only a float input has a "
            "gradient. Build it with keras.Input(..., "
            "dtype='float32')"
        )
    return tuple(shape), dtype


def _words(shape):
    return ", ".join("any" if side is None else str(side) for side in shape)
