"""Steps in text: in names of files and folders, in cells of tables, and in flags."""

_MAX_DIGITS = 18
"""Every number with as many digits fits into int64; Python refuses to read 4,300 digits."""


def parse_step(text: str) -> int | None:
    """Returns the step that a text holds, or None if it holds anything else.

    A step is written as `str` writes it: '22', but not '022', '+22', '²' or '-1'.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        return None
    return int(text) if str(int(text)) == text else None
