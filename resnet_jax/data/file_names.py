"""File names in messages and tables."""

import os


def printable(path: str | os.PathLike[str]) -> str:
    r"""Returns a path with an escape such as `\n` for each character that cannot be printed.

    Bytes of a name that are not UTF-8 are among them: `\udcff` stands for the byte ff.
    """
    return ''.join(
        char if char.isprintable() else char.encode('unicode_escape').decode()
        for char in os.fspath(path)
    )
