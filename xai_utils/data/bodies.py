"""How one person of `silhouettes` is drawn: tubes, as a fixed camera sees
them."""

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import PchipInterpolator

SIZE = 128
CAMERA = 150  # cm above the floor
HORIZON = 32  # the row of the picture at the height of the camera
FOCUS = 232  # pixels for 1 cm at a distance of 1 cm

# The trunk is an ellipse in cross-section, 0.75 times as deep as broad. By
# Ramanujan's approximation it is this many times as long around as broad.
AROUND = np.pi * (3 * 1.75 - np.sqrt(3.75 * 3.25)) / 2


def picture(person: dict[str, float]) -> np.ndarray:
    """The body, filled with its grey: uint8 `(128, 128)`.

    Drawn four times as large, so that shrinking smooths the outline: a width
    shows to a fraction of a pixel.
    """
    canvas = Image.new("L", (4 * SIZE, 4 * SIZE))
    pen = ImageDraw.Draw(canvas)
    for joints in _parts(person):
        x, y = _outline(joints).T
        corners = np.stack([_column(x, person), _row(y, person)], axis=1)
        pen.polygon((4 * corners - 0.5).ravel().tolist(), fill=255)
    cover = np.asarray(canvas.reduce(4), float) / 255
    return np.rint(cover * person["grey"]).astype(np.uint8)


def _parts(person):
    """The body as tubes, each a list of joints `(x, y, half width)` in cm: x
    to the right of the body's middle, y above the floor. Proportions are our
    choice, so that it looks like people.
    """
    height = person["height"]
    crotch = person["legs"] * height
    hip = person["hips"] / AROUND / 2
    yield [(0, y, half) for y, half in zip(*_trunk(person))]
    yield [
        (0, height - below, half)
        for below, half in (
            (19, 5.4),
            (14, 7.2),
            (9, 8.2),
            (4.5, 7.4),
            (1.2, 4.6),
            (0, 0),
        )
    ]
    for side, name in ((-1, "left"), (1, "right")):
        down = _direction(side, person["stance"])
        top = np.array([side * hip * 0.51, crotch])
        yield [
            (*(top + share * (crotch - 4) * down), half)
            for share, half in (
                (-0.05, hip * 0.49),
                (0.04, hip * 0.49),
                (0.3, hip * 0.41),
                (0.55, 5.6),
                (0.7, 5.8),
                (0.97, 3.7),
                (1.03, 3.9),
            )
        ]
        x, y = top + (crotch - 4) * down
        yield [
            (x + side * out, y - low, half)
            for out, low, half in (
                (-4.5, 0, 0),
                (-3, 0, 3.2),
                (0, 0, 4),
                (4, 1.2, 2.8),
                (6.5, 1.8, 2.2),
                (8, 2, 0),
            )
        ]
        arm, bend = person[f"{name}_arm"], person[f"{name}_elbow"]
        upper, lower = (_direction(side, angle) for angle in (arm, arm + bend))
        joint = np.array(
            [side * (person["shoulders"] / 2 - 5.5), 0.785 * height]
        )
        elbow = joint + 0.165 * height * upper
        yield [
            *(
                (*(joint + along * upper), half)
                for along, half in (
                    (-6, 0),
                    (-5, 3.4),
                    (-2, 5.2),
                    (2, 5.6),
                    (14, 4.8),
                )
            ),
            *(
                (*(elbow + share * height * lower), half)
                for share, half in (
                    (0, 4.1),
                    (0.05, 4.3),
                    (0.14, 2.7),
                    (0.18, 3.5),
                    (0.22, 2.6),
                    (0.235, 0),
                )
            ),
        ]


def _direction(side, angle):
    """Downwards, `angle` degrees to one side: a step of 1 cm."""
    angle = np.radians(angle)
    return np.array([side * np.sin(angle), -np.cos(angle)])


def _trunk(person):
    """Heights above the floor and half widths of the trunk, in cm: crotch,
    hips, waist, chest, shoulders, neck, chin."""
    height = person["height"]
    crotch = person["legs"] * height
    length = 0.805 * height - crotch
    hips, waist, chest = (
        person[name] / AROUND / 2 for name in ("hips", "waist", "chest")
    )
    y = crotch + length * np.array([0, 0.14, 0.48, 0.8, 1, 1.1])
    half = [0.97 * hips, hips, waist, chest, person["shoulders"] / 2 - 2, 6.5]
    return np.append(y, height - 17), np.append(half, 5.6)


def _row(y, person):
    """The row of a picture that shows what is y cm above the floor."""
    return HORIZON + FOCUS / person["distance"] * (CAMERA - y)


def _column(x, person):
    """The column that shows what is x cm to the right of the body's middle."""
    return SIZE / 2 + FOCUS / person["distance"] * (x + person["place"])


def _outline(joints):
    """The outline of a tube of changing width around a bent line: `(m, 2)`.

    Smooth between the joints, and exactly as wide as given at each.
    """
    joints = np.array(joints)
    steps = np.hypot(*np.diff(joints[:, :2], axis=0).T)
    along = np.append(0, np.cumsum(steps))
    fine = np.unique(np.append(along, np.linspace(0, along[-1], 40)))
    smooth = PchipInterpolator(along, joints)
    middle, half = np.split(smooth(fine), [2], axis=1)
    slope = smooth(fine, 1)[:, :2]
    across = (
        slope[:, ::-1] * [1, -1] / np.linalg.norm(slope, axis=1, keepdims=True)
    )
    return np.concatenate(
        [middle + half * across, (middle - half * across)[::-1]]
    )


def bands(person: dict[str, float]) -> dict[str, np.ndarray]:
    """The bands of waist and hips: name -> bool `(128, 128)`.

    They meet half-way, where the outline depends on both alike. That of the
    waist ends half-way to the chest, that of the hips above the knees.
    """
    heights, half = _trunk(person)
    crotch, hips, waist, chest = heights[:4]
    middle = (hips + waist) / 2
    scale = FOCUS / person["distance"]
    pixels = np.arange(SIZE) + 0.5
    y = CAMERA - (pixels - HORIZON) / scale
    x = (pixels - SIZE / 2) / scale - person["place"]
    thighs = half[1] + (crotch - y) * np.tan(np.radians(person["stance"]))
    trunk = PchipInterpolator(heights, half)(y)
    width = np.where(y < crotch, thighs, trunk) + 2 / scale
    beside = np.abs(x) < width[:, None]
    return {
        name: beside & ((y > low) & (y < high))[:, None]
        for name, low, high in (
            ("waist", middle, (waist + chest) / 2),
            ("hips", 0.6 * crotch, middle),
        )
    }
