"""Pictures: how large one is, and a copy that is small enough for a model.

They come from strangers. Only four formats are read, nothing larger than `MOST_PIXELS` is decoded, and what else a file
carries (where it was taken, thumbnails, further frames) is left behind. Needs the extra `media`; Pillow is loaded on
first need.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recado.errors import RecadoError
from recado.ids import new_id

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
#: What `reduce` decodes at most: 100 MB while it works, and a picture of any telephone.
MOST_PIXELS = 25_000_000
#: The longer side of a reduced picture. Providers scale down to about this themselves, and charge for more.
SIDE = 1024
QUALITY = 82

_ONE_AT_A_TIME = threading.Lock()


class UnreadableImage(RecadoError):
    """It is no picture of a format that is read, it is broken, or it is too large to be decoded."""


def measure(path: Path) -> tuple[int, int]:
    """Width and height in pixels as the picture is shown, without decoding it. Raises UnreadableImage."""
    with _opened(path) as image:
        width, height = image.size
        # Orientations 5 to 8 lie on their side.
        return (height, width) if image.getexif().get(0x0112) in (5, 6, 7, 8) else (width, height)


def reduce(path: Path, into: Path) -> Path:
    """A JPEG of at most `SIDE` pixels a side in the folder `into`: upright, of the first frame, without metadata.

    One picture is decoded at a time in a process, so that an album needs no more memory than its largest picture.
    Raises UnreadableImage.
    """
    made = into / f"{new_id()}.jpg"
    with _ONE_AT_A_TIME, _opened(path) as image:
        from PIL import Image, ImageOps

        if image.width * image.height > MOST_PIXELS:
            raise UnreadableImage("the picture is too large to be decoded")
        # A JPEG is decoded at a fraction of its size already.
        image.draft("RGB", (SIDE, SIDE))
        image.thumbnail((SIDE, SIDE), reducing_gap=2.0)
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            behind = Image.new("RGBA", upright.size, "white")
            behind.alpha_composite(upright.convert("RGBA"))
            upright = behind
        # A new image: nothing of the old one's metadata is in it.
        plain = Image.new("RGB", upright.size)
        plain.paste(upright.convert("RGB"))
        plain.save(made, "JPEG", quality=QUALITY)
    return made


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        from PIL import Image
    except ImportError:
        raise UnreadableImage("pictures need the extra `media` (pip install 'recado[media]')") from None
    broken: tuple[type[Exception], ...] = (
        OSError, ValueError, TypeError, SyntaxError, KeyError, IndexError, EOFError, ArithmeticError, AssertionError,
        NotImplementedError, RecursionError, MemoryError, Image.DecompressionBombError,
    )  # fmt: skip
    context: Any = warnings.catch_warnings()
    try:
        # Pillow's own alarm is above our limit; broken metadata is no one's concern here.
        with context:
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except broken as error:
        raise UnreadableImage(f"the picture can't be read ({type(error).__name__})") from None
