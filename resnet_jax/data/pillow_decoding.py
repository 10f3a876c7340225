"""Decoding of GIF, BMP and WebP images by Pillow.

TensorFlow's own decoders of these formats are not used: for an animated WebP, the decoder writes
outside of its memory; for the first frame of a GIF, it decodes all of them; and the palette of a
BMP is ignored (TensorFlow 2.21).
"""

import io

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, WebPImagePlugin
from PIL.Image import DecompressionBombError

READERS: dict[bytes, type[ImageFile.ImageFile]] = {
    b'GIF8': GifImagePlugin.GifImageFile,
    b'BM': BmpImagePlugin.BmpImageFile,
    b'RIFF': WebPImagePlugin.WebPImageFile,
}
"""Pillow's class for each format, by the first bytes of a file."""


class BadImage(Exception):
    """An image that cannot be decoded; the message says why, as in 'it is empty'."""


def decode_with_pillow(encoded: bytes, *, max_pixels: int) -> np.ndarray:
    """Decodes a GIF, BMP or WebP; of an animation, the first frame.

    Args:
      encoded: content of the file.
      max_pixels: limit for the pixels of the image, checked before they are decoded.

    Returns:
      uint8 `[H, W, 3]`. Transparency is ignored.

    Raises:
      BadImage: if the image cannot be decoded.
    """
    reader = next((READERS[start] for start in READERS if encoded.startswith(start)), None)
    if reader is None:
        raise BadImage('it is not a JPEG, PNG, GIF, BMP or WebP image')
    try:
        image = reader(io.BytesIO(encoded))
        width, height = image.size
        if width * height > max_pixels:
            raise BadImage(f'it is {width} x {height} px, more than {max_pixels:,} pixels')
        pixels = np.asarray(image.convert('RGB'))
    except BadImage:
        raise
    except DecompressionBombError:
        raise BadImage(f'it has more than {max_pixels:,} pixels') from None
    except Exception:  # Pillow has no class for the errors of all its decoders
        raise BadImage('it is truncated or damaged') from None
    if not pixels.size:
        raise BadImage('it has no pixels')
    return pixels
