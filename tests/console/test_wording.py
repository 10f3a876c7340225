"""Numbers with their nouns and units."""

import pytest

from resnet_jax.console.wording import format_bytes, format_count


@pytest.mark.parametrize(
    ('number', 'words'), [(0, '0 epochs'), (1, '1 epoch'), (2, '2 epochs'), (1000, '1000 epochs')]
)
def test_a_noun_follows_its_number(number, words):
    assert format_count(number, 'epoch') == words


def test_an_irregular_plural_is_given():
    assert format_count(1, 'class', 'classes') == '1 class'
    assert format_count(2, 'class', 'classes') == '2 classes'


@pytest.mark.parametrize(
    ('number', 'words'),
    [
        (0, '0 B'),
        (1023, '1023 B'),
        (1024, '1.00 KiB'),
        (4_200_000, '4.01 MiB'),
        (10_234 * 2**20, '9.99 GiB'),
        (10_240 * 2**20 - 1, '10.0 GiB'),
        (999 * 2**30 + 2**29, '1000 GiB'),
        (2**70, '1048576 PiB'),
    ],
)
def test_bytes_have_the_largest_unit_that_fits_and_three_digits(number, words):
    assert format_bytes(number) == words
