"""How an image file becomes a square of 8 bits a pixel."""
from dataclasses import dataclass

from PIL import Image, ImageOps

from common.data.decoding import NotAnImage, eight_bits, is_wide, open_image
from common.names import FITS


@dataclass(frozen=True)
class Squaring:
    """An opened image to a square, for decoding.decode. fit: crop, stretch or pad; window: the range (low, high) that
    becomes 0 to 255 in images of more than 8 bits a pixel; plane: the number of the slice, of volumes."""
    fit: str
    window: tuple | None = None
    plane: int | None = None

    def open(self, file):
        return open_image(file, self.plane)

    def __call__(self, image, size, mode):
        if self.window is None and is_wide(image):
            high = image.getextrema()[1]
            if high > 255 or image.mode == "F" and 0 < high <= 1:
                raise NotAnImage("more than 8 bits a pixel, and no range of values that becomes black to white")
        return FITTERS[self.fit](_ready(image, size, mode, self.window), size)


def _ready(image, size, mode, window):
    """An opened image as it is meant: turned as its camera says, of 8 bits, over white where it is transparent. A large
    JPEG is decoded no larger than it is needed."""
    image.draft(mode, (size, size))
    ImageOps.exif_transpose(image, in_place=True)
    image = eight_bits(image, window)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)  # a copy of a large image is large


def crop(image, size):
    """The middle of an image, as large a square as there is, as a square of `size` pixels."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def stretch(image, size):
    """All of an image, stretched to a square."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def pad(image, size):
    """All of an image in its own proportions, black beside it."""
    if round(min(image.size) / max(image.size) * size) < 1:  # nothing would be left of a strip
        image = image.resize((size, 1) if image.width > image.height else (1, size), Image.Resampling.BILINEAR)
    return ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR)


FITTERS = dict(zip(FITS, (crop, stretch, pad), strict=True))
