"""What stands in a picture's place: under an occluder, at the start of a path,
where pixels were deleted."""

import numpy as np
from skimage.filters import gaussian


def filler(image, fill, sigma, argument="fill"):
    """The picture that `fill` means for an image.

    Args:
        image: `(h, w, c)`, in the model's precision.
        fill: a grey level, a colour `(c,)`, ``"mean"`` (the image's mean
            colour) or ``"blur"`` (the image, blurred by a Gaussian).
        sigma: of that Gaussian, in pixels.
        argument: the name that error messages give to `fill`.

    Returns:
        `(h, w, c)`, not yet in the image's precision.

    Raises:
        ValueError: another fill, or one that is not finite.
    """
    exact = image.astype(np.float64)
    if isinstance(fill, str):
        if fill == "mean":
            fill = exact.mean(axis=(0, 1))
        elif fill == "blur":
            return gaussian(exact, sigma, channel_axis=-1, preserve_range=True)
        else:
            raise ValueError(
                f"{argument} must be a grey level, a colour, 'mean' or "
                f"'blur'; got {fill!r}"
            )
    colour = np.asarray(fill)
    wanted = colour.shape in ((), image.shape[2:])
    if (
        not wanted
        or colour.dtype.kind not in "uif"
        or not _fits(colour, image)
    ):
        raise ValueError(
            f"{argument} must be one finite number or one for each of the "
            f"{image.shape[2]} channels; got {fill!r}"
        )
    return np.broadcast_to(colour, image.shape)


def _fits(colour, image):
    """Is it finite in the image's precision?"""
    with np.errstate(over="ignore"):
        return np.isfinite(colour.astype(image.dtype)).all()
