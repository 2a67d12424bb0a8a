"""Write the demo's dataset: small grey pictures of discs, squares and crosses, and a table of labels.

    make_dataset.py DIR

makes DIR/labels.csv and DIR/train/*.pgm, DIR/test/*.pgm (binary PGM, 20 x 20). The same bytes every time.
"""

import csv
import random
import sys
from pathlib import Path

SIDE = 20
KINDS = ("disc", "square", "cross")
PER_KIND = {"train": 80, "test": 20}


def picture(kind: str, draw: random.Random) -> bytes:
    """Return the pixels of one noisy shape, somewhere near the middle."""
    across, down = draw.uniform(8, 11), draw.uniform(8, 11)
    radius = draw.uniform(4, 6.5)
    ink, paper = draw.randint(140, 220), draw.randint(20, 90)
    pixels = bytearray()
    for y in range(SIDE):
        for x in range(SIDE):
            dx, dy = abs(x - across), abs(y - down)
            inside = {
                "disc": dx * dx + dy * dy < radius * radius,
                "square": max(dx, dy) < radius * 0.9,
                "cross": min(dx, dy) < 1.6 and max(dx, dy) < radius * 1.3,
            }[kind]
            value = (ink if inside else paper) + draw.gauss(0, 25)
            pixels.append(max(0, min(255, round(value))))
    return bytes(pixels)


def main(directory: Path) -> None:
    draw = random.Random(20190801)
    rows = []
    for part, count in PER_KIND.items():
        (directory / part).mkdir(parents=True)
        for number in range(count * len(KINDS)):
            kind = KINDS[number % len(KINDS)]
            name = f"{part}/{number:04d}.pgm"
            (directory / name).write_bytes(b"P5 %d %d 255\n" % (SIDE, SIDE) + picture(kind, draw))
            rows.append((name, kind))
    with (directory / "labels.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("file", "label"), *rows])
    print(f"{len(rows)} pictures of {len(KINDS)} kinds, and labels.csv")


main(Path(sys.argv[1]))
