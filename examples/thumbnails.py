"""Thumbnails of many images, one of them broken: `outcomes` of a function that works on files.

The images are generated. An image is a file here, so what crosses to a worker is a path.

    python examples/thumbnails.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, UnidentifiedImageError

from procession import parallel

SIZE = (128, 128)


def draw(folder: Path, number: int) -> Path:
    """An image with a circle in it, as a photograph would lie there."""
    path = folder / f"{number:02}.png"
    image = Image.new("RGB", (640, 480), (number * 10 % 256, 120, 200))
    ImageDraw.Draw(image).ellipse((100, 60, 500, 420), fill=(250, number * 7 % 256, 60))
    image.save(path, compress_level=1)
    return path


@parallel
def thumbnail(path: Path, folder: Path) -> tuple[int, int]:
    """Write a small copy of an image into a folder; give its size."""
    with Image.open(path) as image:
        image.thumbnail(SIZE, Image.Resampling.LANCZOS)
        image.save(folder / path.name)
        return image.size


with tempfile.TemporaryDirectory() as scratch:
    source = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
    target = Path(scratch) / "thumbnails"
    target.mkdir()
    if len(sys.argv) == 1:
        images = [draw(source, number) for number in range(24)]
        images[7].write_bytes(b"not an image")
    else:
        images = sorted(source.glob("*.png"))

    done = 0
    for outcome in thumbnail.outcomes(images, target):
        if outcome.ok:
            done += 1
        elif isinstance(outcome.error, UnidentifiedImageError):
            print(f"{outcome.item.name} is no image")
        else:
            raise outcome.error or AssertionError
    assert len(list(target.iterdir())) == done
    print(f"{done} thumbnails")
