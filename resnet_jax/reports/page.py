"""One HTML page that holds all of a report: no other file, no network, nothing that could run.

Every word that is shown is escaped here. Should one slip through all the same, the page's content
security policy lets a browser run no script but ours, known by its hash, and fetch nothing.
"""

import base64
import dataclasses
import hashlib
import struct
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

_STYLE = Path(__file__).with_name('page.css').read_text(encoding='utf-8')
_SCRIPT = Path(__file__).with_name('page.js').read_text(encoding='utf-8')


class Number(NamedTuple):
    """A number in a table.

    Attributes:
      value: what the column is sorted by.
      text: how it is shown.
    """

    value: float
    text: str


Cell = str | Number


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; its first column names the row.

    Attributes:
      caption: above it.
      header: a word or two a column.
      rows: as many cells each.
      key: an id; makes the columns sortable and the rows searchable.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    key: str = ''


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with its text.

    Attributes:
      caption: below it.
      alternative: says the same in words.
      image: PNG or GIF.
      dark: the same for dark pages, if it is another.
      still: the same for those who want no motion, if it moves.
    """

    caption: str
    alternative: str
    image: bytes
    dark: bytes = b''
    still: bytes = b''


class Tile(NamedTuple):
    """A number that stands at the top."""

    label: str
    value: str
    note: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
      heading: of the part; also in the list of contents.
      text: a paragraph.
      pictures: in their order.
      tables: behind the pictures.
      side_by_side: whether tables stand beside each other where there is room.
    """

    heading: str
    text: str = ''
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    side_by_side: bool = False


def render_page(
    title: str, subtitle: str, tiles: Sequence[Tile], sections: Sequence[Section]
) -> str:
    """Returns the page."""
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f'style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}'
    )
    contents = ''.join(
        f'<li><a href="#part{i}">{escape(section.heading)}</a></li>\n'
        for i, section in enumerate(sections)
    )
    parts = ''.join(_render_section(f'part{i}', section) for i, section in enumerate(sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="muted">{escape(subtitle)}</p>
<nav aria-label="Contents"><ul>
{contents}</ul></nav>
</header>
<main>
<dl class="tiles">
{''.join(_render_tile(tile) for tile in tiles)}</dl>
{parts}</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def list_fields(caption: str, fields: Mapping[str, object]) -> Table:
    """Returns a table of names and values."""
    rows = [[str(name), str(value)] for name, value in fields.items()]
    return Table(caption, ('field', 'value'), rows)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _render_tile(tile: Tile) -> str:
    return (
        f'<div><dt>{escape(tile.label)}</dt><dd class="value">{escape(tile.value)}</dd>'
        f'<dd class="note">{escape(tile.note)}</dd></div>\n'
    )


def _render_section(key: str, section: Section) -> str:
    text = f'<p>{escape(section.text)}</p>\n' if section.text else ''
    tables = ''.join(_render_table(table) for table in section.tables)
    if section.side_by_side:
        tables = f'<div class="pair">\n{tables}</div>\n'
    return (
        f'<section id="{key}" aria-labelledby="{key}-heading">\n'
        f'<h2 id="{key}-heading">{escape(section.heading)}</h2>\n{text}'
        f'{"".join(_render_picture(picture) for picture in section.pictures)}{tables}</section>\n'
    )


def _render_picture(picture: Picture) -> str:
    width, height = _read_size(picture.image)
    alternative = escape(picture.alternative)
    sources = ''.join(
        f'<source media="{media}" srcset="{_to_uri(image)}">'
        for media, image in (
            ('(prefers-color-scheme: dark)', picture.dark),
            ('(prefers-reduced-motion: reduce)', picture.still),
        )
        if image
    )
    figure, frame = '<figure class="square">', '<div>'
    if width != height:  # a chart, which scrolls sideways where the screen is narrow
        figure = '<figure>'
        frame = f'<div class="picture" tabindex="0" role="group" aria-label="{alternative}">'
    return (
        f'{figure}{frame}<picture>{sources}'
        f'<img src="{_to_uri(picture.image)}" width="{width}" height="{height}" '
        f'alt="{alternative}"></picture></div>\n'
        f'<figcaption>{escape(picture.caption)}</figcaption></figure>\n'
    )


def _read_size(image: bytes) -> tuple[int, int]:
    if image.startswith(b'GIF8'):
        return struct.unpack('<HH', image[6:10])
    return struct.unpack('>II', image[16:24])


def _to_uri(image: bytes) -> str:
    kind = 'gif' if image.startswith(b'GIF8') else 'png'
    return f'data:image/{kind};base64,{base64.b64encode(image).decode()}'


def _render_table(table: Table) -> str:
    numeric = [
        all(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.header))
    ]
    caption = escape(table.caption)
    head = ''.join(
        ('<th scope="col" class="number">' if is_number else '<th scope="col">')
        + (f'<button type="button">{escape(word)}</button>' if table.key else escape(word))
        + '</th>'
        for word, is_number in zip(table.header, numeric, strict=True)
    )
    body = ''.join(
        f'<tr>{"".join(_render_cell(cell, first=i == 0) for i, cell in enumerate(row))}</tr>\n'
        for row in table.rows
    )
    key = escape(table.key)
    search = (
        f'<label>Find <input type="search" aria-controls="{key}" autocomplete="off"></label>\n'
        if key
        else ''
    )
    sortable = f' id="{key}" data-sortable' if key else ''
    return (
        f'<div>{search}<div class="scroll{"" if key else " whole"}" tabindex="0" role="region" '
        f'aria-label="{caption}"><table{sortable}>\n<caption>{caption}</caption>\n'
        f'<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div></div>\n'
    )


def _render_cell(cell: Cell, *, first: bool) -> str:
    tag, scope = ('th', ' scope="row"') if first else ('td', '')
    if isinstance(cell, Number):
        return f'<{tag}{scope} class="number" data-value="{cell.value}">{escape(cell.text)}</{tag}>'
    return f'<{tag}{scope}>{escape(cell)}</{tag}>'
