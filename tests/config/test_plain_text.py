"""Characters that plain text lacks."""

import pytest

from resnet_jax.config.plain_text import find_refused


@pytest.mark.parametrize(
    ('text', 'refused'),
    [
        ('n02123045 tabby, tabby cat', ''),
        ('Käse 猫', ''),
        ('a\tb', 'control character'),
        ('a\u2028b\n', 'line separator'),
        ('a\u2029b', 'paragraph separator'),
        ('caf\udce9', 'byte that is not UTF-8'),
    ],
)
def test_the_first_refused_character_is_named(text, refused):
    assert find_refused(text) == refused
