"""Paths that Linux can have."""

import os

LIMITS = 'a path of at most 4,095 bytes, with at most 255 in each name, and none of them 0'


def is_possible(path: str) -> bool:
    """Returns whether a file can have this path (`man 7 path_resolution`). It need not be UTF-8."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:  # surrogates that stand for no byte
        return False
    names = encoded.split(b'/')
    return len(encoded) < 4096 and b'\0' not in encoded and all(len(name) < 256 for name in names)


def is_utf8(path: str) -> bool:
    """Returns whether a path is UTF-8; Python replaces the other bytes by surrogates."""
    return not any('\ud800' <= char <= '\udfff' for char in path)
