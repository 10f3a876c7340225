"""EXIF orientation: how a camera was held, and the turn that makes its image upright.

A camera stores the pixels as its sensor sees them, and says in the file how to turn them. Here, the
stored image is flipped along its rows, its columns or both, and then transposed or not: together
the eight orientations of EXIF. Windows are chosen in the upright image and moved to the stored one,
so that only the pixels of a window are decoded and turned.
"""

import struct

import numpy as np
import tensorflow as tf

ORIENTATION_TAG = 0x0112
INTEGER_FORMATS = {1: 'B', 3: 'H', 4: 'I'}  # by EXIF's number of the type

FLIPPED_ROWS = (3, 4, 6, 7)
FLIPPED_COLUMNS = (2, 3, 7, 8)
FIRST_TRANSPOSED = 5
FLIPS = np.array([[n in FLIPPED_ROWS, n in FLIPPED_COLUMNS] for n in range(9)])

JPEG_MARKERS_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


def find_orientation(encoded: bytes) -> int:
    """Returns the EXIF orientation of a JPEG, PNG or WebP, 1-8.

    The result is 1, upright, if the file has none or a damaged one.
    """
    try:
        if encoded.startswith(b'\xff\xd8'):
            exif = _exif_of_jpeg(encoded)
        elif encoded.startswith(b'\x89PNG'):
            exif = _find_chunk(encoded, 8, b'eXIf', '>I4s', checksum_bytes=4)
        elif encoded.startswith(b'RIFF'):
            exif = _find_chunk(encoded, 12, b'EXIF', '<4sI', padded=True)
        else:
            return 1
        return _orientation_of_exif(exif.removeprefix(b'Exif\0\0'))
    except (struct.error, IndexError, KeyError):  # the file ends too early, or holds no EXIF
        return 1


def _exif_of_jpeg(encoded: bytes) -> bytes:
    """Returns the content of the first EXIF segment of a JPEG."""
    position = 2
    while encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF or marker in JPEG_MARKERS_WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):  # the end, or the pixels
            break
        (length,) = struct.unpack_from('>H', encoded, position + 2)
        content = encoded[position + 4 : position + 2 + length]
        if marker == 0xE1 and content.startswith(b'Exif\0\0'):
            return content
        position += 2 + length
    raise KeyError('no EXIF segment')


def _find_chunk(
    encoded: bytes,
    position: int,
    wanted: bytes,
    header: str,
    *,
    checksum_bytes: int = 0,
    padded: bool = False,
) -> bytes:
    """Returns the content of the first chunk of a kind in a PNG or WebP.

    Args:
      encoded: the file.
      position: position of the first chunk.
      wanted: kind of the chunk.
      header: format of a chunk's kind and length.
      checksum_bytes: number of bytes after the content.
      padded: whether content of an odd length is followed by one more byte.
    """
    while True:
        fields = struct.unpack_from(header, encoded, position)
        kind, length = fields if isinstance(fields[0], bytes) else fields[::-1]
        if kind == wanted:
            return encoded[position + 8 : position + 8 + length]
        position += 8 + length + checksum_bytes + (length % 2 if padded else 0)


def _orientation_of_exif(exif: bytes) -> int:
    """Returns the orientation in the first directory of EXIF data, 1-8; 1 if there is none."""
    order = {b'II': '<', b'MM': '>'}[exif[:2]]
    (directory,) = struct.unpack_from(f'{order}I', exif, 4)
    (num_entries,) = struct.unpack_from(f'{order}H', exif, directory)
    for entry in range(directory + 2, directory + 2 + 12 * num_entries, 12):
        tag, kind = struct.unpack_from(f'{order}HH', exif, entry)
        if tag == ORIENTATION_TAG:
            (value,) = struct.unpack_from(order + INTEGER_FORMATS[kind], exif, entry + 8)
            return value if 1 <= value <= 8 else 1
    return 1


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def read_orientation(image: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation of an encoded image, 1-8, int32 scalar."""
    orientation = tf.numpy_function(
        lambda encoded: np.int32(find_orientation(encoded)), [image], tf.int32, stateful=False
    )
    return tf.ensure_shape(orientation, [])


def upright_shape(shape: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Returns height and width of the upright image, given those of the stored one."""
    return tf.where(orientation >= FIRST_TRANSPOSED, tf.reverse(shape, [0]), shape)


def stored_window(
    window: tuple[tf.Tensor, ...], shape: tf.Tensor, orientation: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Returns where the pixels of a window of the upright image are stored.

    Args:
      window: top, left, height and width in the upright image, int32 scalars.
      shape: height and width of the stored image, int32 `[2]`.
      orientation: EXIF orientation, int32 scalar.
    """
    corner_and_size = tf.reshape(tf.stack(window), [2, 2])
    transposed = orientation >= FIRST_TRANSPOSED
    swapped = tf.reverse(corner_and_size, [1])
    corner, size = tf.unstack(tf.where(transposed, swapped, corner_and_size))
    corner = tf.where(tf.gather(FLIPS, orientation), shape - corner - size, corner)
    return (*tf.unstack(corner), *tf.unstack(size))


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors stored pixels, `[H, W, 3]`, as the EXIF orientation says."""

    def turn() -> tf.Tensor:
        flips = tf.concat([tf.gather(FLIPS, orientation), [False]], axis=0)
        axes = tf.where(orientation >= FIRST_TRANSPOSED, [1, 0, 2], [0, 1, 2])
        return tf.transpose(tf.raw_ops.Reverse(tensor=pixels, dims=flips), axes)

    return tf.cond(orientation > 1, turn, lambda: pixels)
