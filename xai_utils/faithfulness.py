"""Can a map be trusted? Checks that need no mask: deletion and insertion, and
what is left of a map when the network gets random weights.

Petsiuk, Das, Saenko (2018), arXiv 1806.07421; Adebayo et al. (2018), arXiv
1810.03292.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid
from scipy.stats import rankdata
from skimage import metrics

from ._core.fills import filler
from ._core.forward import forward, scores
from ._core.inputs import (
    check_batch_size,
    check_images,
    check_model,
    check_whole_number,
    input_dtype,
)
from ._core.layers import find_layer, is_open, layer_names
from ._core.progress import bar
from ._core.runner import runner
from .targets import AnyTarget, as_target


class Curve(NamedTuple):
    """What `deletion` and `insertion` found."""

    shares: np.ndarray  # (steps + 1,): of the pixels that were changed, 0 to 1
    scores: np.ndarray  # (n, steps + 1): the target
    area: np.ndarray  # (n,): the mean height of the curve


def deletion(
    model: keras.Model,
    images,
    maps: ArrayLike,
    target: AnyTarget,
    *,
    fill="mean",
    steps: int = 32,
    batch_size: int = 64,
) -> Curve:
    """Take pixels away, those with the highest values of the map first.

    A map that ranks the pixels as the network uses them makes the target fall
    early: a small area is good.

    Args:
        model: any keras.Model on images, built.
        images: `(n, h, w, c)`, in the range that the model takes.
        maps: numbers `(n, h, w)`, finite; only their order counts. Equal
            pixels go in a random order, always the same.
        target: what to watch, see `targets`; `class_probability` in the paper.
        fill: what a pixel that was taken away shows: a grey level, a colour
            `(c,)`, ``"mean"`` (the image's mean colour) or ``"blur"`` (the
            image, blurred by a Gaussian of a tenth of its shorter side).
        steps: changes on the way, of equally many pixels, as far as their
            number can be divided; at most one for each pixel.
        batch_size: pictures a pass; memory grows with it only.

    Returns:
        Curve, from the whole image to the fill alone.

    Raises:
        TypeError, ValueError: an argument is not as described here, or the
        target is not finite.
    """
    return _curve(model, images, maps, target, fill, steps, batch_size, False)


def insertion(
    model: keras.Model,
    images,
    maps: ArrayLike,
    target: AnyTarget,
    *,
    fill="blur",
    steps: int = 32,
    batch_size: int = 64,
) -> Curve:
    """Put pixels in, those with the highest values of the map first.

    Arguments and errors as for `deletion`. A large area is good.

    Returns:
        Curve, from the fill alone to the whole image.
    """
    return _curve(model, images, maps, target, fill, steps, batch_size, True)


def _curve(model, images, maps, target, fill, steps, batch_size, inserted):
    images, target = check_images(model, images), as_target(target)
    check_batch_size(batch_size)
    maps = _check_maps(maps, images)
    pixels = maps[0].size
    check_whole_number("steps", steps, 1)
    if steps > pixels:
        raise ValueError(
            f"steps must be at most one a pixel, {pixels}; got {steps}"
        )
    images = images.astype(input_dtype(model))
    sigma = min(images.shape[1:3]) / 10
    counts = np.rint(np.linspace(0, pixels, steps + 1)).astype(int)
    run = runner(model, forward, [target], images)
    found = np.empty((len(images), steps + 1))
    with bar(found.size) as progress:
        for number, (image, values) in enumerate(zip(images, maps)):
            own = slice(number, number + 1)
            background = filler(image, fill, sigma).astype(image.dtype)
            first, last = image, background
            if inserted:
                first, last = background, image
            ranks = _ranks(values)
            for start in range(0, steps + 1, batch_size):
                part = slice(start, start + batch_size)
                changed = ranks < counts[part, None, None]
                pictures = np.where(changed[..., None], last, first)
                found[number, part] = scores(run, pictures, own, "pictures")
                progress.update(len(pictures))
    shares = counts / pixels
    return Curve(shares, found, trapezoid(found, shares, axis=1))


def _ranks(values):
    """The place of each pixel, 0 for the highest; equal ones at random."""
    dice = np.random.default_rng(0).random(values.size)
    order = np.lexsort((dice, -values.ravel()))
    ranks = np.empty(values.size, int)
    ranks[order] = np.arange(values.size)
    return ranks.reshape(values.shape)


def randomised_maps(
    model: keras.Model,
    method: Callable[[keras.Model], Any],
    layers: Sequence[str | Sequence[str]] | None = None,
    *,
    cascading: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """The maps of a method while layers of the model have random weights.

    Kernels are drawn anew, from a normal distribution around zero with the
    kernel's own standard deviation; vectors, such as biases and stored
    statistics, are shuffled, which does nothing where all are equal. So what
    the layer learnt is gone, and its weights vary as much as before.
    Afterwards the model has its own weights again, also if the method fails;
    while this runs, it must not be used elsewhere.

    Args:
        model: a functional or Sequential keras.Model, built.
        method: makes maps with the model, for example
            `lambda model: saliency(model, images, target)`.
        layers: which to randomise one after the other, the top one first:
            names, or lists of names that go together. None: each layer with
            weights.
        cascading: keep a layer random while the next ones get random, too;
            else only one at a time ("independent").
        seed: of the random weights, a whole number from 0. A layer always gets
            the same ones, whatever the others are.

    Returns:
        What the method returned, under the name of the layer that was the
        last to be randomised; of several that go together the first name.

    Raises:
        TypeError, ValueError: an argument is not as described here.
    """
    check_model(model)
    if not callable(method):
        raise TypeError(
            "method must be a function of the model, such as lambda model: "
            f"saliency(model, images, target); got {method!r}"
        )
    groups = _groups(model, layers)
    check_whole_number("seed", seed, 0)
    before = {
        name: find_layer(model, name).get_weights()
        for group in groups
        for name in group
    }
    found = {}
    try:
        for group in groups:
            for name in group:
                random = _random(before[name], [seed, *name.encode()])
                find_layer(model, name).set_weights(random)
            found[group[0]] = method(model)
            if not cascading:
                _restore(model, group, before)
    finally:
        _restore(model, before, before)
    return found


def _groups(model, layers):
    """Lists of names of layers with weights, the top one first."""
    if layers is None:
        layers = [
            name
            for name in reversed(layer_names(model))
            if _has_own_weights(find_layer(model, name))
        ]
        if len(set(layers)) < len(layers):
            raise ValueError(
                "layers must be named: some of this model share a name, "
                f"{layers}"
            )
    if (
        isinstance(layers, str)
        or not len(layers)
        or any(isinstance(each, keras.Layer) for each in layers)
    ):
        raise ValueError(
            "layers must be a list of names of layers with weights, the top "
            f"one first; got {layers!r}"
        )
    groups = [
        [each] if isinstance(each, str) else list(each) for each in layers
    ]
    names = [name for group in groups for name in group]
    for name in names:
        if not find_layer(model, name).weights:
            raise ValueError(f"layers must have weights; {name!r} has none")
    if len(set(names)) < len(names) or not all(groups):
        raise ValueError(f"layers must name each layer once; got {layers!r}")
    return groups


def _has_own_weights(layer):
    """Those of a model inside belong to its layers, if these can be seen."""
    seen_through = isinstance(layer, keras.Model) and is_open(layer)
    return bool(layer.weights) and not seen_through


def _random(weights, seed):
    """Other weights of the same shapes and sizes.

    Drawn around zero, because trained kernels are negative on average:
    shuffled ones would close most ReLUs, and no map would be left to compare.
    Vectors hold variances, too, which must stay positive.
    """
    rng = np.random.default_rng(seed)
    others = []
    for w in weights:
        if w.ndim > 1:
            size = w.std() or np.abs(w).mean()  # of a constant: its own
            others.append(rng.normal(0, size, w.shape).astype(w.dtype))
        else:
            others.append(rng.permutation(w) if w.ndim else w)
    return others


def _restore(model, names, weights):
    for name in names:
        find_layer(model, name).set_weights(weights[name])


def rank_correlation(maps: ArrayLike, others: ArrayLike) -> np.ndarray:
    """Spearman's rank correlation of maps, pair by pair.

    Args:
        maps, others: numbers `(n, h, w)` or `(n, h, w, c)`, finite. Of signed
            maps take `np.abs`, too: the signs may go while the places stay.

    Returns:
        float `(n,)`, in −1 to 1; 0 where a map is constant, and so has no
        ranks.

    Raises:
        TypeError, ValueError: maps or others are not as described here.
    """
    maps, others = _check_pair(maps, others)
    flat = [each.reshape(len(each), -1) for each in (maps, others)]
    ranks = [rankdata(each, axis=1) for each in flat]
    centred = [each - each.mean(axis=1, keepdims=True) for each in ranks]
    sizes = [np.sqrt(np.square(each).sum(axis=1)) for each in centred]
    product = sizes[0] * sizes[1]
    common = (centred[0] * centred[1]).sum(axis=1)
    return common / np.where(product == 0, 1, product)


def structural_similarity(maps: ArrayLike, others: ArrayLike) -> np.ndarray:
    """SSIM of maps, pair by pair, each divided by its largest absolute value.

    Meant for maps without signs: a map of one sign is very like its negative.

    Args:
        maps, others: numbers `(n, h, w)`, each side at least 7, finite.

    Returns:
        float `(n,)`, at most 1.

    Raises:
        TypeError, ValueError: maps or others are not as described here.
    """
    maps, others = _check_pair(maps, others)
    if maps.ndim != 3 or min(maps.shape[1:]) < 7:
        raise ValueError(
            "maps must have shape (n, h, w), each side at least 7; got "
            f"{maps.shape}"
        )
    return np.array(
        [
            metrics.structural_similarity(
                _scaled(one), _scaled(other), data_range=2 if signed else 1
            )
            for one, other, signed in zip(
                maps, others, np.minimum(maps, others).min(axis=(1, 2)) < 0
            )
        ]
    )


def _scaled(values):
    largest = np.abs(values).max()
    return values / largest if largest else values


def _check_pair(maps, others):
    maps, others = _numbers("maps", maps), _numbers("others", others)
    if maps.shape != others.shape or maps.ndim < 3 or not maps.size:
        raise ValueError(
            "maps and others must have the same shape (n, h, w) or "
            f"(n, h, w, c); got {maps.shape} and {others.shape}"
        )
    return maps, others


def _check_maps(maps, images):
    maps = _numbers("maps", maps)
    if maps.shape != images.shape[:3]:
        raise ValueError(
            "maps must have shape (n, h, w), one for each image, "
            f"{images.shape[:3]}; got {maps.shape}"
        )
    return maps


def _numbers(name, values):
    """As float64, if they are finite real numbers."""
    values = np.asarray(values)
    if not np.can_cast(values.dtype, np.float64, "same_kind"):
        raise TypeError(
            f"{name} must hold real numbers; got dtype {values.dtype}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite; got NaN or infinity")
    return values.astype(np.float64)
