"""Numbers with their nouns and units, as text."""


def format_count(number: int, noun: str, plural: str = '') -> str:
    """Returns '1 epoch' or '20 epochs'.

    Args:
      number: the number.
      noun: the noun in the singular.
      plural: its plural, if that is not the noun with an s.
    """
    return f'{number} {noun if number == 1 else plural or noun + "s"}'


def format_bytes(number: int) -> str:
    """Returns a number of bytes in the largest fitting unit: '512 B', '1.50 KiB' or '23.4 GiB'."""
    size, unit = float(number), 'B'
    for larger in ('KiB', 'MiB', 'GiB', 'TiB', 'PiB'):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f'{number} B' if unit == 'B' else f'{format_digits(size)} {unit}'


def format_digits(number: float) -> str:
    """Returns a number with at least three digits: '1.50', '23.4', '1024'."""
    return f'{number:.{max(0, 2 - (number >= 9.995) - (number >= 99.95))}f}'
