"""What a model and a picture must be like before they can be explained."""

import keras
import numpy as np
import tensorflow as tf

#: Images that are checked together, so that little memory is needed.
CHUNK = 32


def check_images(model, images, argument="images"):
    """Check a batch of images against a model.

    Args:
        model: keras.Model with one input `(n, h, w, c)`, built.
        images: array `(n, h, w, c)` of integers or floats, n ≥ 1, finite in
            the dtype of the model's input.
        argument: the name that error messages give to `images`.

    Returns:
        The images as an array, in their own dtype.

    Raises:
        TypeError: `model` is no Keras model, `images` holds no numbers.
        ValueError: what came and what is wanted, in words.
    """
    wanted = check_model(model)
    images = _as_array(images, argument)
    if images.ndim == 3:
        grey = wanted[2] == 1 and _fits(wanted[:2], images.shape[1:])
        advice = (
            "a channel axis, images[..., None]"
            if grey
            else "a batch axis, image[None]"
        )
        raise ValueError(
            f"{argument} must have shape (n, h, w, c); got {images.shape}: "
            f"add {advice}"
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"{argument} must have shape (n, h, w, c) with at least one "
            f"image; got {images.shape}"
        )
    if not _fits(wanted, images.shape[1:]):
        sides = ", ".join("any" if s is None else str(s) for s in wanted)
        raise ValueError(
            f"{argument} must have the shape that the model takes, "
            f"(n, {sides}); got {images.shape}"
        )
    dtype = input_dtype(model)
    for start in range(0, len(images), CHUNK):
        _check_finite(images[start : start + CHUNK], dtype, argument)
    return images


def check_image(model, image):
    """Like `check_images` for one image `(h, w, c)`."""
    image = _as_array(image, "image")
    if image.ndim != 3:
        raise ValueError(
            f"image must be one picture of shape (h, w, c); got {image.shape}"
        )
    return check_images(model, image[None], "image")[0]


def check_batch_size(batch_size):
    """Raise a ValueError unless `batch_size` is a whole number from 1."""
    check_whole_number("batch_size", batch_size, 1)


def check_whole_number(name, value, least):
    """Raise a ValueError unless `value` is a whole number from `least`."""
    if (
        not isinstance(value, (int, np.integer))
        or isinstance(value, bool)
        or value < least
    ):
        raise ValueError(
            f"{name} must be a whole number, at least {least}; got {value!r}"
        )


def check_model(model):
    """Shape `(h, w, c)` of the model's input, None where it is free.

    Raises a TypeError or ValueError unless it is a built keras.Model with one
    input of float images.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(_no_model(model))
    if not model.built:
        raise ValueError(
            "model has no weights yet: call it once on a batch of images, or "
            "load its weights, and try again"
        )
    if not getattr(model, "inputs", None):  # a subclassed model tells none
        return None, None, None
    if len(model.inputs) > 1:
        raise ValueError(_several_inputs(model))
    shape, dtype = tuple(model.inputs[0].shape[1:]), model.inputs[0].dtype
    if len(shape) != 3:
        raise ValueError(
            "model must take images (n, h, w, c); its input has shape "
            f"{tuple(model.inputs[0].shape)}"
        )
    if shape[0] in (1, 3) and shape[2] not in (1, 3, 4):
        raise ValueError(
            f"model takes channels first, {shape}; images here are (h, w, c). "
            "Wrap it: x = keras.Input((h, w, c)); model = keras.Model(x, "
            "model(keras.layers.Permute((3, 1, 2))(x)))"
        )
    if not tf.as_dtype(dtype).is_floating:
        raise ValueError(
            f"model takes {dtype}; only a float input has a gradient. Build "
            "it with keras.Input(..., dtype='float32')"
        )
    return shape


def input_dtype(model):
    """The NumPy dtype of the images that a checked model takes."""
    dtype = model.variable_dtype
    if getattr(model, "inputs", None):
        dtype = model.inputs[0].dtype
    return np.dtype(tf.as_dtype(dtype).as_numpy_dtype)


def _as_array(images, argument):
    if isinstance(images, tf.data.Dataset):
        taken = "images"
        if isinstance(images.element_spec, tuple):
            taken = "images, *_"
        raise TypeError(
            f"{argument} must be an array, not a tf.data.Dataset: take a "
            f"batch of it, {taken} = next(iter(dataset))"
        )
    try:
        images = np.asarray(images)
    except ValueError as error:
        raise ValueError(
            f"{argument} must be one array; got pictures of different shapes "
            f"({error})"
        ) from error
    if images.dtype.kind not in "uif" and images.dtype.name != "bfloat16":
        raise TypeError(
            f"{argument} must hold integers or floats; got dtype "
            f"{images.dtype}. A list of pictures of one shape becomes an "
            f"array by np.stack(list({argument}))"
        )
    return images


def _check_finite(images, dtype, argument):
    with np.errstate(over="ignore"):
        cast = images.astype(dtype, copy=False)
    if np.isfinite(cast).all():
        return
    if np.isfinite(images.astype(np.float64)).all():
        raise ValueError(
            f"{argument} must be finite in the model's {dtype.name}; got "
            f"values up to {abs(images).max():g}"
        )
    raise ValueError(f"{argument} must be finite; got NaN or infinity")


def _fits(wanted, shape):
    return all(want in (None, got) for want, got in zip(wanted, shape))


def _several_inputs(model):
    """What to do with a model that takes more than pictures."""
    names = ["x" if len(i.shape) == 4 else "other" for i in model.inputs]
    call = f"[{', '.join(names)}]"
    if isinstance(model.input, dict):
        pairs = zip(model.input, names)
        call = "{" + ", ".join(f"{key!r}: {n}" for key, n in pairs) + "}"
    return (
        f"model must have one input; it has {len(names)}. Wrap it, with the "
        "others constant: x = keras.Input((h, w, c)); other = "
        "keras.layers.Lambda(lambda x: keras.ops.repeat(value[None], "
        "keras.ops.shape(x)[0], axis=0), output_shape=value.shape)(x); "
        f"model = keras.Model(x, model({call}))"
    )


def _no_model(thing):
    got = f"model must be a keras.Model; got {type(thing).__name__}"
    if type(thing).__module__.startswith(("tf_keras", "keras.src.engine")):
        return (
            f"{got} of Keras 2. Save it, model.save('model.h5'), and load "
            "that with Keras 3, keras.models.load_model('model.h5')"
        )
    if isinstance(thing, keras.Layer):
        return (
            f"{got}, a layer. Wrap it: x = keras.Input((h, w, c)); "
            "model = keras.Model(x, layer(x))"
        )
    return got
