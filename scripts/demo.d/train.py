"""The demo's training script: softmax regression on small pictures, in nothing but the standard library.

    train.py [--data DIR]

It knows mountd not at all. DIR, or else $AZUREML_DATAREFERENCE_workspaceblobstore, is where its data is.
"""

import argparse
import csv
import math
import os
import time
from pathlib import Path

VARIABLE = "AZUREML_DATAREFERENCE_workspaceblobstore"
EPOCHS = 4
RATE = 0.5


def read_picture(path: Path) -> list[float]:
    """Return the pixels of a binary PGM file, between 0 and 1."""
    header, _, pixels = path.read_bytes().partition(b"\n")
    magic, width, height, white = header.split()
    if magic != b"P5" or len(pixels) != int(width) * int(height):
        raise SystemExit(f"{path}: not a whole PGM picture")
    return [value / int(white) for value in pixels]


def features(pixels: list[float]) -> list[float]:
    """Return the pixels with mean 0 and variance 1, and a constant."""
    mean = sum(pixels) / len(pixels)
    spread = math.sqrt(sum((value - mean) ** 2 for value in pixels) / len(pixels)) or 1.0
    return [(value - mean) / spread for value in pixels] + [1.0]


def chances(weights: list[list[float]], picture: list[float]) -> list[float]:
    scores = [sum(w * x for w, x in zip(row, picture, strict=True)) for row in weights]
    top = max(scores)
    powers = [math.exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get(VARIABLE))
    data = Path(parser.parse_args().data)

    with (data / "labels.csv").open(newline="") as table:
        labels = {row["file"]: row["label"] for row in csv.DictReader(table)}
    kinds = sorted(set(labels.values()))
    files = [path for path in sorted(data.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"data path   {data}")
    print(
        f"saw         {len(files)} files, {size:,} bytes: {', '.join(sorted(entry.name for entry in data.iterdir()))}"
    )

    train = [name for name in labels if name.startswith("train/")]
    weights: list[list[float]] = []
    for epoch in range(1, EPOCHS + 1):
        started = time.perf_counter()
        pictures = {name: read_picture(data / name) for name in train}
        reading = time.perf_counter() - started
        loss = 0.0
        for name in train:
            picture = features(pictures[name])
            weights = weights or [[0.0] * len(picture) for _ in kinds]
            for row, kind, chance in zip(weights, kinds, chances(weights, picture), strict=True):
                wanted = 1.0 if labels[name] == kind else 0.0
                loss -= wanted * math.log(max(chance, 1e-12))
                step = RATE * (wanted - chance) / len(picture)
                for index, value in enumerate(picture):
                    row[index] += step * value
        print(f"epoch {epoch}     loss {loss / len(train):.3f}, {len(train)} pictures read in {reading * 1000:.0f} ms")

    test = [name for name in labels if name.startswith("test/")]
    guesses = {name: chances(weights, features(read_picture(data / name))) for name in test}
    right = sum(kinds[guess.index(max(guess))] == labels[name] for name, guess in guesses.items())
    print(f"accuracy    {right} of {len(test)} unseen pictures ({100 * right / len(test):.0f} %)")


main()
