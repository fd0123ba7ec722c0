"""Peer: Torch-Pruning on ResNet-8 in PyTorch; runs in an environment with torch and torch-pruning, without Regrow.

`benchmarks/recovery.py` starts it on the shards of its own dataset; the last line printed is a JSON result.

The recipe: MLPerf Tiny's ResNet-8 as in PyTorch's examples (no biases before batch normalisation), SGD with Nesterov
momentum 0.9, weight decay 5e-4, one-cycle (a fifth of it rising) to 0.2 for the parent and to 0.1 for fine-tuning,
batches of 128, crop (padding 4) and flip. Channels go by the group's L2 norm under one global threshold, in small steps
until the MACs are low enough. The model of the last epoch is measured. `recalibrated_accuracy` is that of the pruned
model after its batch statistics are estimated anew on 100 batches, before fine-tuning.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch_pruning
from torch import nn
from torch.nn import functional

BATCH, STEPS, FLOOR = 128, 200, 0.9
MEAN, DEVIATION = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
PARENT_RATE, TUNE_RATE = 0.2, 0.1


class Block(nn.Module):
    """Two 3×3 convolutions with batch normalisation; a 1×1 convolution where the shape changes."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Conv2d(inner, outer, 1, stride) if stride != 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Resnet8(nn.Module):
    """Three stages of one block: 16, 32 and 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(functional.relu(self.norm(self.conv(x)))).mean((2, 3)))


class Images:
    """Scaled images, float32 NHWC, and labels of one split."""

    def __init__(self, images: Path, labels: Path) -> None:
        self.pixels = (np.load(images).astype(np.float32) - np.float32(MEAN)) / np.float32(DEVIATION)
        self.labels = torch.from_numpy(np.load(labels)).long()

    def plain(self, rows: np.ndarray | slice) -> torch.Tensor:
        """A batch in channels-last order."""
        return torch.from_numpy(self.pixels[rows]).permute(0, 3, 1, 2)

    def varied(self, rows: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
        """A batch, each image cropped from itself padded by 4, and flipped or not."""
        count, side = len(rows), self.pixels.shape[1]
        padded = np.pad(self.pixels[rows], ((0, 0), (4, 4), (4, 4), (0, 0)))
        top, left = generator.integers(0, 9, (2, count, 1))
        columns = np.arange(side)[None].repeat(count, 0)
        flipped = generator.random(count) < 0.5
        columns[flipped] = columns[flipped, ::-1]
        cropped = padded[
            np.arange(count)[:, None, None], (top + np.arange(side))[:, :, None], (left + columns)[:, None]
        ]
        return torch.from_numpy(cropped).permute(0, 3, 1, 2)


def accuracy(model: nn.Module, data: Images) -> float:
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(data.labels), 500):
            rows = slice(start, start + 500)
            right += int((model(data.plain(rows)).argmax(1) == data.labels[rows]).sum())
    return right / len(data.labels)


def train(
    model: nn.Module, data: Images, *, epochs: int, rate: float, generator: np.random.Generator
) -> None:
    steps = len(data.labels) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), rate, 0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps, pct_start=0.2)
    for epoch in range(1, epochs + 1):
        model.train()
        order, clock = generator.permutation(len(data.labels)), time.monotonic()
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            loss = functional.cross_entropy(model(data.varied(rows, generator)), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        note = f"torch-pruning: {epoch}/{epochs} loss {loss.item():.3f} {time.monotonic() - clock:.1f} s"
        print(note, file=sys.stderr, flush=True)


def recalibrated(model: nn.Module, data: Images, generator: np.random.Generator) -> nn.Module:
    """A copy whose batch statistics are the plain mean over 100 batches of unvaried training images."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    model.train()
    order = generator.permutation(len(data.labels))[: 100 * BATCH]
    with torch.no_grad():
        for start in range(0, len(order), BATCH):
            model(data.plain(order[start : start + BATCH]))
    return model


def prune(model: nn.Module, kept: float) -> None:
    """Remove channels, in place, until at most ``kept`` of the MACs are left."""
    example = torch.randn(1, 3, 32, 32)
    macs, _ = torch_pruning.utils.count_ops_and_params(model, example)
    pruner = torch_pruning.pruner.GroupNormPruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        iterative_steps=STEPS,
        pruning_ratio=1.0,
        max_pruning_ratio=FLOOR,
        global_pruning=True,
        ignored_layers=[model.head],
    )
    for _ in range(STEPS):
        if torch_pruning.utils.count_ops_and_params(model, example)[0] <= kept * macs:
            return
        pruner.step()
    raise RuntimeError(f"{kept} of the MACs was not reached")


def costs(model: nn.Module) -> dict[str, float]:
    model.eval()
    macs, parameters = torch_pruning.utils.count_ops_and_params(model, torch.randn(1, 3, 32, 32))
    return {"macs": macs, "parameters": parameters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("parent", "prune"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--kept", type=float)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    for split in ("train", "test"):
        for name in ("images", "labels"):
            parser.add_argument(f"--{split}-{name}", type=Path, required=True)
    options = parser.parse_args()
    # A second thread waits in a loop: on shared cores an epoch then cost five times the CPU seconds.
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    generator = np.random.default_rng(options.seed)
    images = Images(options.train_images, options.train_labels)
    test = Images(options.test_images, options.test_labels)
    found: dict[str, float] = {}
    if options.what == "parent":
        model = Resnet8().to(memory_format=torch.channels_last)
        train(model, images, epochs=options.epochs, rate=PARENT_RATE, generator=generator)
        scratch = options.out.with_suffix(".writing")
        torch.save(model, scratch)
        scratch.replace(options.out)
    else:
        model = torch.load(options.model, weights_only=False)
        prune(model, options.kept)
        found["pruned_accuracy"] = accuracy(model, test)
        found["recalibrated_accuracy"] = accuracy(recalibrated(model, images, generator), test)
        train(model, images, epochs=options.epochs, rate=TUNE_RATE, generator=generator)
    print(json.dumps({**found, "test_accuracy": accuracy(model, test), **costs(model)}))


if __name__ == "__main__":
    main()
