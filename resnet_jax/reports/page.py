"""The report's HTML page: one file with no links to others, no network, and no foreign script.

Jinja2 escapes every word that is shown (`page.html`). If an unescaped word slipped through, the
page's content security policy would still stop a browser from running any script but ours, which it
knows by its hash, and from fetching anything.
"""

import base64
import dataclasses
import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import markupsafe

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / 'page.css').read_text(encoding='utf-8')
_SCRIPT = (_FOLDER / 'page.js').read_text(encoding='utf-8')


class Number(NamedTuple):
    """A number in a table.

    Attributes:
      value: sort key of the cell.
      text: the number as it is shown.
    """

    value: float
    text: str


Cell = str | Number


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its first column names the row.

    Attributes:
      caption: title above the table.
      header: one or two words for each column.
      rows: cells, as many in each row as in the header.
      key: element id; if there is one, columns can be sorted and rows searched.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    key: str = ''

    def is_numeric(self, column: int) -> bool:
        """Says whether every cell of a column is a number."""
        return all(isinstance(row[column], Number) for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with its text.

    Attributes:
      caption: text below the picture.
      alternative: description for readers who cannot see the picture.
      image: PNG or GIF.
      dark: PNG or GIF for dark pages, if it differs.
      narrow: PNG for narrow screens, if it differs.
      narrow_dark: PNG for dark pages on narrow screens, if it differs.
      still: PNG for readers who want no motion, if the image moves.
    """

    caption: str
    alternative: str
    image: bytes
    dark: bytes = b''
    narrow: bytes = b''
    narrow_dark: bytes = b''
    still: bytes = b''

    @property
    def sources(self) -> list[tuple[str, bytes]]:
        """Other versions, each with the media query that selects it; the first match counts."""
        narrow, dark = '(max-width: 640px)', '(prefers-color-scheme: dark)'
        versions = [
            (f'{narrow} and {dark}', self.narrow_dark),
            (narrow, self.narrow),
            (dark, self.dark),
            ('(prefers-reduced-motion: reduce)', self.still),
        ]
        return [(media, image) for media, image in versions if image]

    @property
    def is_square(self) -> bool:
        """Whether the picture is a matrix, which has at most its width in px; others are charts."""
        width, height = read_size(self.image)
        return width == height


class Tile(NamedTuple):
    """A headline number at the top of the page."""

    label: str
    value: str
    note: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
      heading: heading, also in the list of contents.
      text: one paragraph.
      pictures: pictures in their order.
      tables: tables, which follow the pictures.
      side_by_side: whether the tables stand next to each other where there is room.
      command: line for the shell, which follows the text.
    """

    heading: str
    text: str = ''
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    side_by_side: bool = False
    command: str = ''


def render_page(
    title: str, subtitle: str, tiles: Sequence[Tile], sections: Sequence[Section]
) -> str:
    """Returns the page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters['data_uri'] = _to_data_uri
    environment.filters['size'] = read_size
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f'style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}'
    )
    return environment.get_template('page.html').render(
        title=title,
        subtitle=subtitle,
        tiles=tiles,
        sections=sections,
        policy=policy,
        style=markupsafe.Markup(_STYLE),
        script=markupsafe.Markup(_SCRIPT),
    )


def list_fields(caption: str, fields: Mapping[str, object]) -> Table:
    """Returns a table of names and values."""
    rows = [[str(name), str(value)] for name, value in fields.items()]
    return Table(caption, ('field', 'value'), rows)


def read_size(image: bytes) -> tuple[int, int]:
    """Returns the width and height in pixels of a PNG or GIF."""
    if image.startswith(b'GIF8'):
        width, height = struct.unpack('<HH', image[6:10])
    else:
        width, height = struct.unpack('>II', image[16:24])
    return width, height


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _to_data_uri(image: bytes) -> str:
    kind = 'gif' if image.startswith(b'GIF8') else 'png'
    return f'data:image/{kind};base64,{base64.b64encode(image).decode()}'
