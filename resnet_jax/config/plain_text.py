"""Text that every file of a run can hold in one line."""

import unicodedata

REFUSED_CATEGORIES = {
    'Cc': 'control character',
    'Zl': 'line separator',
    'Zp': 'paragraph separator',
    'Cs': 'byte that is not UTF-8',
}
"""Unicode's categories of the characters that plain text lacks, and their names."""


def find_refused(text: str) -> str:
    """Returns the name of the first refused character's category, or '' if there is none."""
    names = (REFUSED_CATEGORIES.get(unicodedata.category(char), '') for char in text)
    return next(filter(None, names), '')
