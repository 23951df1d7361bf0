"""Captum, for `compare.py`: the same network in PyTorch."""

import numpy as np
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from serve import (
    BASELINE,
    FILL,
    FIRES,
    MEAN,
    POOLED,
    SAMPLES,
    SIGMA,
    STEPS,
    TARGET,
    WEIGHTS,
    pictures,
    serve,
)
from torch import nn


class Fire(nn.Module):
    """Few channels in between, then many, of two kinds."""

    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        sides = [torch.relu(self.expand1(x)), torch.relu(self.expand3(x))]
        return torch.cat(sides, dim=1)


class SqueezeNet(nn.Module):
    """Version 1.1: pixels `(n, 3, 224, 224)` in 0–255 -> logits."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        channels = 64
        for number, squeeze, expand in FIRES:
            setattr(self, f"fire{number}", Fire(channels, squeeze, expand))
            channels = 2 * expand
        self.conv10 = nn.Conv2d(channels, 1000, 1)
        self.pool = nn.MaxPool2d(3, 2)

    def forward(self, pixels):
        x = self.pool(torch.relu(self.conv1(pixels + self.mean)))
        for number, _, _ in FIRES:
            x = getattr(self, f"fire{number}")(x)
            if number in POOLED:
                x = self.pool(x)
        return self.conv10(x).mean(dim=(2, 3))


def squeezenet():
    """With this package's weights: kernels `(h, w, in, out)` there are
    `(out, in, h, w)` here."""
    model = SqueezeNet().eval().requires_grad_(False)
    with np.load(WEIGHTS) as stored:
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d):
                name = name.replace(".", "_")
                kernel = stored[f"{name}/kernel"].transpose(3, 2, 0, 1)
                module.weight.copy_(torch.tensor(kernel))
                module.bias.copy_(torch.tensor(stored[f"{name}/bias"]))
    return model


images = torch.tensor(pictures().transpose(0, 3, 1, 2).copy())
image = images[:1]
model = squeezenet()
saliency = Saliency(model)


def gradient(of):
    return saliency.attribute(of.clone(), TARGET, abs=False)


def smoothgrad(batch):
    return NoiseTunnel(saliency).attribute(
        image.clone(),
        nt_samples=SAMPLES,
        nt_samples_batch_size=batch,
        stdevs=SIGMA,
        target=TARGET,
        abs=False,
    )


def integrated_gradients(batch):
    return IntegratedGradients(model).attribute(
        image,
        baselines=BASELINE,
        target=TARGET,
        n_steps=STEPS,
        method="riemann_middle",
        internal_batch_size=batch,
    )


def occlusion(patch, stride, batch):
    return Occlusion(model).attribute(
        image,
        sliding_window_shapes=(3, patch, patch),
        strides=(3, stride, stride),
        baselines=FILL,
        target=TARGET,
        perturbations_per_eval=batch,
    )


TASKS = {
    "logits": lambda batch: model(image),
    "gradient, 1 image": lambda batch: gradient(image),
    "gradient, 32 images": lambda batch: gradient(images),
    "SmoothGrad 50": smoothgrad,
    "Integrated Gradients 50": integrated_gradients,
    "occlusion 32/8": lambda batch: occlusion(32, 8, batch),
    "occlusion 16/4": lambda batch: occlusion(16, 4, batch),
    "occlusion 32/16": lambda batch: occlusion(32, 16, batch),
}


def comparable(task, found):
    found = found.detach().numpy()
    if task == "logits":
        return {"logits": found}
    maps = found.transpose(0, 2, 3, 1)
    if task.startswith("gradient"):
        return {"gradient": maps}
    if task.startswith("SmoothGrad"):
        return {"mean": maps}
    if task.startswith("Integrated"):
        return {"attributions": maps}
    return {"heat map": maps[0, :, :, 0]}


POSITIONS = {
    "occlusion 32/8": 625,
    "occlusion 16/4": 2809,
    "occlusion 32/16": 169,
}
REMARKS = {
    "gradient, 1 image": "Saliency(abs=False)",
    "gradient, 32 images": "Saliency(abs=False), all at once",
    "SmoothGrad 50": "NoiseTunnel on Saliency(abs=False)",
    "Integrated Gradients 50": "method riemann_middle",
}
serve(
    ["captum", "torch"],
    TASKS,
    comparable,
    POSITIONS,
    batched=[
        "SmoothGrad 50",
        "Integrated Gradients 50",
        "occlusion 32/8",
        "occlusion 16/4",
    ],
    remarks=REMARKS,
)
