"""How the shipped weights were made: ``python -m xai_utils.training``."""

import keras
import numpy as np

from . import networks, stickers


def train_stickers_net(pictures=40_000, epochs=12, seed=0, verbose="auto"):
    """Train `networks.stickers_net` from nothing.

    Args:
        pictures: how many training pictures to draw.
        epochs: how often the network sees each of them.
        seed: seed of the pictures, the first weights and the order.
        verbose: as in `keras.Model.fit`.

    Returns:
        keras.Model: the trained network.
    """
    keras.utils.set_random_seed(seed)
    images, labels, _ = stickers.make(pictures, seed=seed, split="train")
    model = networks.stickers_net(weights=None)
    steps = epochs * (pictures // 64)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(
            1e-3, steps), weight_decay=0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"])
    model.fit(Recoloured(images, labels, seed), epochs=epochs,
              verbose=verbose)
    return model


class Recoloured(keras.utils.PyDataset):
    """Batches of 64 whose colours change from epoch to epoch.

    The few photographs behind the training pictures have few colours. To
    mirror a batch, swap its colour channels, invert it or change the contrast
    leaves the labels as they are, and makes the network look at the shape.
    """

    def __init__(self, images, labels, seed):
        super().__init__()
        self.images, self.labels = images, labels
        self.rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self):
        self.order = self.rng.permutation(len(self.images))

    def __len__(self):
        return len(self.images) // 64

    def __getitem__(self, index):
        batch = self.order[64 * index:64 * (index + 1)]
        images = self.images[batch][..., self.rng.permutation(3)]
        if self.rng.random() < 0.5:
            images = images[:, :, ::-1]
        if self.rng.random() < 0.5:
            images = 255 - images
        contrast = self.rng.uniform(0.5, 1.2, (len(images), 1, 1, 1))
        images = 127.5 + contrast * (images - 127.5)
        return images.astype(np.float32), self.labels[batch]


def accuracy(model, n=5_000, seed=1):
    """Share of `n` unseen pictures (split ``"test"``) that `model` names."""
    images, labels, _ = stickers.make(n, seed=seed, split="test")
    logits = model.predict(images.astype(np.float32), verbose=0)
    return np.mean(logits.argmax(axis=1) == labels)


if __name__ == "__main__":
    trained = train_stickers_net()
    print(f"accuracy on 5,000 unseen pictures: {accuracy(trained):.4f}")
    shipped = networks.stickers_net(weights=None)  # without the optimiser
    shipped.set_weights(trained.get_weights())
    shipped.save_weights(networks.WEIGHTS / "stickers.weights.h5")
