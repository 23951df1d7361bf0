"""All methods of this collection against each other: the tables of 10 and 11.

``python -m xai_utils.comparison`` makes maps of 300 stickers, of 100
silhouettes and of six photographs with every method, measures them, and
writes ``results/*.csv``: half an hour on two cores. The notebooks compute the
first 20 stickers again, and compare.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from . import evaluation, networks
from ._core.progress import bar
from .data import photos, silhouettes, stickers
from .deconvnet import project
from .faithfulness import (
    deletion,
    insertion,
    randomised_maps,
    rank_correlation,
    structural_similarity,
)
from .grad_cam import grad_cam
from .gradients import gradient, ten_crops
from .integrated_gradients import integrated_gradients
from .occlusion import occlusion
from .smoothgrad import smoothgrad
from .targets import AnyTarget, class_probability, class_score, loss

RESULTS = Path(__file__).parent / "results"
#: Pictures where 300 would take long.
FEWER = 100


class Method(NamedTuple):
    """A way to a map, `explain(model, images, aim, answers)`: of each image
    the target is `aim(answer)`."""

    explain: Callable  # -> (n, h, w, c), signed where the method has signs
    contribution: bool  # else a sensitivity: only its size counts
    part: str = ""  # which field, where `explain` returns several

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """One number for each pixel, `(n, h, w)`: of a contribution the sum
        of the channels, signed; of a sensitivity the largest size."""
        if self.contribution:
            return values.sum(axis=-1)
        return np.abs(values).max(axis=-1)


def methods(
    patch: int = 16, stride: int = 8, fill: float = 127
) -> dict[str, Method]:
    """The methods, by the name that the tables give them.

    Args:
        patch, stride: of the occluder, in pixels.
        fill: its grey level, and the baseline of Integrated Gradients.
    """

    def plain(rule, model, images, aim, answers):
        return project(model, images, aim(answers), rule)

    def crops(model, images, aim, answers):
        side = images.shape[1] * 7 // 8
        return ten_crops(model, images, aim(answers), side)[..., None]

    def smooth(model, images, aim, answers):
        return smoothgrad(model, images, aim(answers), sigma=0.15 * 255)

    def times_input(model, images, aim, answers):
        return gradient(model, images, aim(answers)) * images

    def integrated(model, images, aim, answers):
        found = integrated_gradients(model, images, aim(answers), fill)
        return found.attributions

    def cam(model, images, aim, answers):
        return grad_cam(model, images, aim(answers)).heatmap[..., None]

    def occluded(model, images, aim, answers):
        options = {"patch": patch, "stride": stride, "fill": fill}
        heatmaps = [
            occlusion(model, image, aim(answer), **options).heatmap
            for image, answer in zip(images, answers)
        ]
        return np.array(heatmaps)[..., None]

    return {
        "gradient": Method(partial(plain, "gradient"), False),
        "ten crops": Method(crops, False),
        "SmoothGrad": Method(smooth, False, "mean"),
        "SmoothGrad, squared": Method(smooth, False, "mean_square"),
        "deconvnet": Method(partial(plain, "deconvnet"), False),
        "guided": Method(partial(plain, "guided"), False),
        "gradient × input": Method(times_input, True),
        "Integrated Gradients": Method(integrated, True),
        "Grad-CAM": Method(cam, True),
        "occlusion": Method(occluded, True),
    }


def trivial_maps(images: np.ndarray) -> dict[str, np.ndarray]:
    """Maps `(n, h, w)` that no network was asked for."""
    return {
        "centre": evaluation.centre_map(images),
        "edges": evaluation.edge_map(images),
        "random": evaluation.random_map(images),
    }


def raw_maps(
    ways: Mapping[str, Method],
    model: keras.Model,
    images: np.ndarray,
    aim: Callable,
    answers: np.ndarray,
) -> dict[str, np.ndarray]:
    """What all methods return, `(n, h, w, c)`."""
    found, raw = {}, {}
    with bar(len(ways)) as progress:
        for name, way in ways.items():
            if way.explain not in found:
                found[way.explain] = way.explain(model, images, aim, answers)
            raw[name] = found[way.explain]
            if way.part:
                raw[name] = getattr(raw[name], way.part)
            progress.update()
    return raw


def drawn_maps(
    ways: Mapping[str, Method],
    model: keras.Model,
    images: np.ndarray,
    aim: Callable,
    answers: np.ndarray,
) -> dict[str, np.ndarray]:
    """The same as `(n, h, w)`, as `Method.drawn` makes them."""
    raw = raw_maps(ways, model, images, aim, answers)
    return {name: way.drawn(raw[name]) for name, way in ways.items()}


def against_masks(
    maps: Mapping[str, np.ndarray], masks: np.ndarray, tolerance: float
) -> pd.DataFrame:
    """One row for each method and picture: what the masks say.

    Args:
        maps: `(n, h, w)` by method; what is negative speaks against the
            target, and does not count.
        masks: bool `(n, h, w)`.
        tolerance: of the column `within`, in pixels.
    """
    tables = []
    for name, signed in maps.items():
        positive = np.maximum(signed, 0)
        columns = {
            "mass": evaluation.mass_on_mask(positive, masks),
            "peak": evaluation.pointing_game(positive, masks),
            "within": evaluation.pointing_game(positive, masks, tolerance),
        }
        tables.append(_rows(name, columns))
    return pd.concat(tables, ignore_index=True)


def without_masks(
    maps: Mapping[str, np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    target: AnyTarget,
) -> pd.DataFrame:
    """One row for each method and picture: areas under deletion (small is
    good) and insertion (large is good), by what takes the pixels' place."""
    tables = []
    with bar(6 * len(maps)) as progress:
        for name, values in maps.items():
            columns = {}
            for curve in (deletion, insertion):
                for fill in (127, "mean", "blur"):
                    word = "grey" if fill == 127 else fill
                    found = curve(model, images, values, target, fill=fill)
                    columns[f"{curve.__name__}, {word}"] = found.area
                    progress.update()
            tables.append(_rows(name, columns))
    return pd.concat(tables, ignore_index=True)


def after_randomising(
    ways: Mapping[str, Method],
    model: keras.Model,
    images: np.ndarray,
    aim: Callable,
    answers: np.ndarray,
    layers: Sequence | None = None,
    *,
    cascading: bool = True,
) -> pd.DataFrame:
    """How like the maps stay when layers get random weights.

    Arguments as for `drawn_maps`; `layers`, `cascading` as for
    `faithfulness.randomised_maps`.

    Returns:
        One row for each method, layer and picture: rank correlation and SSIM
        with the map of the intact network, of the sizes ("absolute") and of
        the signed sums over the channels.
    """
    before = raw_maps(ways, model, images, aim, answers)

    def alike(model):
        after = raw_maps(ways, model, images, aim, answers)
        return {
            name: _alike(way, before[name], after[name])
            for name, way in ways.items()
        }

    found = randomised_maps(model, alike, layers, cascading=cascading)
    tables = []
    for layer, of_methods in found.items():
        for name, columns in of_methods.items():
            rows = _rows(name, columns)
            rows.insert(1, "layer", layer)
            tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def _alike(way, before, after):
    sizes = [np.abs(way.drawn(raw)) for raw in (before, after)]
    sums = [raw.sum(axis=-1) for raw in (before, after)]
    columns = {}
    for kind, pair in (("absolute", sizes), ("signed", sums)):
        columns[f"rank, {kind}"] = rank_correlation(*pair)
        columns[f"SSIM, {kind}"] = structural_similarity(*pair)
    return columns


def _rows(name, columns):
    count = len(next(iter(columns.values())))
    return pd.DataFrame(
        {"method": name, "picture": np.arange(count), **columns}
    )


def compare_stickers(count: int = 300) -> dict[str, pd.DataFrame]:
    """The first stickers of notebooks 01 and 02: tables by the name of their
    file. Maps in 64 bits, what is run many times in 32.

    Args:
        count: how many of the 300, from 2.
    """
    images, labels, masks = stickers.make(300, seed=11)
    images, labels, masks = images[:count], labels[:count], masks[:count]
    network = networks.stickers_net()
    exact = networks.stickers_net(dtype="float64")
    maps = drawn_maps(methods(), exact, images, class_score, labels)
    maps |= trivial_maps(images) | {"the mask": masks.astype(float)}
    tables = against_masks(maps, masks, tolerance=6).merge(
        without_masks(maps, network, images, class_probability(labels))
    )
    given = methods(), network, images, class_score, labels
    few = methods(), network, images[:FEWER], class_score, labels[:FEWER]
    orders = {
        "cascading": after_randomising(*given),
        "independent": after_randomising(*few, cascading=False),
    }
    return {
        "stickers": _with_checks(tables, orders["cascading"]),
        "stickers_randomised": _summary(orders),
    }


def compare_silhouettes(count: int = FEWER) -> dict[str, pd.DataFrame]:
    """The same of network A of notebook 09; what counts is the error that
    deleting adds, in cm."""
    people = silhouettes.measures(count, seed=31)
    bodies, parts = silhouettes.draw(people)
    network = networks.silhouettes_net()
    ways = methods(fill=0)
    maps = drawn_maps(ways, network, bodies, _measurement, people["waist"])
    maps |= trivial_maps(bodies)
    maps |= {
        "the body": bodies.mean(axis=-1),
        "the mask": parts["waist"].astype(float),
    }
    maps = {name: np.abs(values) for name, values in maps.items()}
    tables = [against_masks(maps, parts["waist"], tolerance=6)]
    added = []
    error = loss("mae", people["waist"][:, None])
    for name, values in maps.items():
        curve = deletion(network, bodies, values, error, fill=0)
        before = curve.scores[:, 0]
        added.append(_rows(name, {"error added": curve.area - before}))
    tables = tables[0].merge(pd.concat(added, ignore_index=True))
    waists = people["waist"]
    top, *below = reversed([la.name for la in network.layers if la.weights])
    randomised = after_randomising(
        ways, network, bodies, _measurement, waists, [top, below]
    )
    return {"silhouettes": _with_checks(tables, randomised)}


#: Photographs on which SqueezeNet finds what one sees.
PHOTOGRAPHS = ("camera", "chelsea", "coffee", "coins", "motorcycle", "rocket")
#: Stages of SqueezeNet that get random weights together, from the top down.
STAGES = (("conv10",), ("fire9", "fire8"), ("fire7", "fire6", "fire5"))


def compare_photographs() -> dict[str, pd.DataFrame]:
    """Six photographs, explained is SqueezeNet's first answer; there is no
    mask."""
    images = np.stack([photos.sample(name, 224) for name in PHOTOGRAPHS])
    network = networks.photos_net()
    answers = network.predict(images, verbose=0).argmax(axis=1)
    ways = methods(patch=32, stride=16)
    maps = drawn_maps(ways, network, images, class_score, answers)
    maps |= trivial_maps(images)
    table = without_masks(maps, network, images, class_probability(answers))
    stages = [
        [
            la.name
            for la in network.layers
            if la.weights and la.name.startswith(s)
        ]
        for s in STAGES
    ]
    randomised = after_randomising(
        ways, network, images, class_score, answers, stages
    )
    return {
        "photographs": table,
        "photographs_randomised": _summary({"cascading": randomised}),
    }


def _measurement(waist):
    """The target for any waist: the answer itself, in cm."""
    return _first_output


def _first_output(outputs):
    return outputs[:, 0]


def _with_checks(table, randomised):
    """Two more columns: the rank correlation that is left when the top layer
    is random, and when all are. A map without a network keeps 1."""
    stages = randomised["layer"].unique()
    for column, stage in (("random top", stages[0]), ("all", stages[-1])):
        found = randomised[randomised["layer"] == stage]
        found = found[["method", "picture", "rank, absolute"]]
        found = found.rename(columns={"rank, absolute": column})
        table = table.merge(found, how="left")
        table[column] = table[column].fillna(1)
    return table.rename(columns={"all": "random all"})


def _summary(orders):
    """One row for each order, layer, method and measure: the mean over all
    pictures, half its 95 % interval, and the mean over the first twenty."""
    rows = []
    for order, table in orders.items():
        for (layer, method), group in table.groupby(
            ["layer", "method"], sort=False
        ):
            for measure in group.columns[3:]:
                values = group[measure].to_numpy()
                mean, half = evaluation.interval(values)
                first = values[:20].mean()
                rows.append((order, layer, method, measure, mean, half, first))
    names = ["order", "layer", "method", "measure", "mean", "half", "first_20"]
    return pd.DataFrame(rows, columns=names)


def main() -> None:
    """Write all tables."""
    RESULTS.mkdir(exist_ok=True)
    for compare in (
        compare_stickers,
        compare_silhouettes,
        compare_photographs,
    ):
        for name, table in compare().items():
            write(table, RESULTS / f"{name}.csv")
            print(f"{name}.csv: {len(table)} rows", flush=True)


def write(table: pd.DataFrame, path: Path) -> None:
    """As CSV with three decimals: more are not the same everywhere."""
    table.to_csv(path, index=False, float_format="%.3f", lineterminator="\n")


if __name__ == "__main__":
    main()
