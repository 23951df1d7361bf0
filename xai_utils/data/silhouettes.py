"""Generated pictures with a known truth: a body whose waist is known.

People stand before a camera that is fixed at 1.5 m above the floor, about 4 m
away. The label is the waist in centimetres. Only the width of the body at the
waist tells it, together with the distance, which the picture tells, too: who
stands nearer has the feet lower in the picture.
"""

import numpy as np
from scipy.special import ndtr

from .bodies import SIZE, bands, picture

#: What is measured on a body: name -> (smallest, largest). Chest, waist and
#: hips are circumferences and shoulders a breadth, in cm; legs is the length
#: of the inside leg as a share of the height.
RANGES = {
    "height": (150, 195),
    "legs": (0.44, 0.48),
    "shoulders": (36, 46),
    "chest": (82, 114),
    "waist": (62, 112),
    "hips": (84, 116),
}

#: How a body stands: angles in degrees, the place left or right of the middle
#: and the distance from the camera in cm, and the grey level of the body.
POSES = {
    "left_arm": (25, 45),
    "right_arm": (25, 45),
    "left_elbow": (-15, 15),
    "right_elbow": (-15, 15),
    "stance": (2, 8),
    "place": (-18, 18),
    "distance": (380, 420),
    "grey": (120, 230),
}

#: How strongly each measure goes with a person's girth and length, in the
#: population "correlated". Our choice: waist and hips then correlate by 0.9.
GIRTH = {"shoulders": 0.6, "chest": 0.94, "waist": 0.95, "hips": 0.95}
LENGTH = {"height": 0.95, "legs": 0.3, "shoulders": 0.6}


def measures(
    n: int, *, seed: int, population: str = "independent"
) -> dict[str, np.ndarray]:
    """Draw the measures and the poses of `n` people.

    Each measure has the same uniform distribution in both populations; they
    differ only in what goes together.

    Args:
        n: how many people, at least 1.
        seed: an integer, the seed of the random generator.
        population: ``"independent"``, or ``"correlated"``: girths go
            together, and lengths.

    Returns:
        dict name -> float64 `(n,)`, the names of `RANGES` and `POSES`, in
        the units given there.

    Raises:
        ValueError: `n` below 1, or a `population` that does not exist.
    """
    if n < 1:
        raise ValueError(f"n is the number of people, at least 1; got {n}")
    if population not in ("independent", "correlated"):
        raise ValueError(
            "population must be 'independent' or 'correlated'; "
            f"got {population!r}"
        )
    rng = np.random.default_rng(seed)
    girth, length = rng.standard_normal((2, n))
    drawn = {}
    for name, (low, high) in RANGES.items():
        own = rng.standard_normal(n)
        if population == "correlated":
            a, b = GIRTH.get(name, 0), LENGTH.get(name, 0)
            own = a * girth + b * length + np.sqrt(1 - a**2 - b**2) * own
        # The normal distribution function makes any normal number uniform.
        drawn[name] = low + (high - low) * ndtr(own)
    for name, (low, high) in POSES.items():
        drawn[name] = rng.uniform(low, high, n)
    return drawn


def draw(
    people: dict[str, np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw people with given measures and poses.

    Args:
        people: what `measures` returned, perhaps changed: to give the same
            people other hips, replace ``people["hips"]``.

    Returns:
        images: uint8 `(n, 128, 128, 3)`, RGB, grey on black.
        masks: dict ``"waist"``, ``"hips"`` -> bool `(n, 128, 128)`: the band
            of the body whose outline depends most on that measure, with two
            pixels of background on either side. Wider hips have wider
            thighs, so that band reaches down to above the knees.

    Raises:
        ValueError: a measure is missing, not finite, or not `(n,)`.
    """
    people = _check(people)
    n = len(people["waist"])
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    masks = {
        name: np.empty((n, SIZE, SIZE), bool) for name in ("waist", "hips")
    }
    for i in range(n):
        person = {name: float(values[i]) for name, values in people.items()}
        images[i] = picture(person)[..., None]
        for name, band in bands(person).items():
            masks[name][i] = band
    return images, masks


def make(
    n: int, *, seed: int, population: str = "independent"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `n` people; the same seed draws the same people.

    Arguments and errors as for `measures`.

    Returns:
        images: uint8 `(n, 128, 128, 3)`, RGB, grey on black.
        waists: float64 `(n,)`, in cm.
        masks: bool `(n, 128, 128)`, the waist band, see `draw`.
    """
    people = measures(n, seed=seed, population=population)
    images, masks = draw(people)
    return images, people["waist"], masks["waist"]


def _check(people):
    missing = [name for name in (*RANGES, *POSES) if name not in people]
    if missing:
        raise ValueError(
            "people must have every measure of RANGES and "
            f"POSES; missing: {', '.join(missing)}"
        )
    people = {
        name: np.asarray(people[name], np.float64)
        for name in (*RANGES, *POSES)
    }
    shapes = {name: values.shape for name, values in people.items()}
    if len(set(shapes.values())) > 1 or len(shapes["waist"]) != 1:
        raise ValueError(
            "people must hold one array (n,) for each measure, "
            f"all of the same length; got {shapes}"
        )
    for name, values in people.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"people[{name!r}] must be finite; got NaN or infinity"
            )
    return people
