"""The HTML page: escaped, self-contained, and readable by machines that read it aloud."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import PIL.Image
import pytest

from resnet_jax.reports.page import Number, Picture, Section, Table, Tile, render_page

HOSTILE = '"\'></td><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'


def make_image(kind='PNG', size=(40, 30)):
    file = io.BytesIO()
    PIL.Image.new('L', size).save(file, kind)
    return file.getvalue()


def render(word='zebra', **section):
    picture = Picture(word, word, make_image(), dark=make_image(size=(41, 30)))
    moving = Picture(word, word, make_image('GIF', (20, 20)), still=make_image(size=(20, 20)))
    table = Table(word, (word, 'size'), [(word, Number(1.5, word)), ('b', Number(0.5, '½'))])
    sortable = Table(word, (word, 'size'), [(word, Number(1, '1'))], key='classes')
    section = {'pictures': [picture, moving], 'tables': [table, sortable]} | section
    return render_page(word, word, [Tile(word, word, word)], [Section(word, word, **section)])


class Reader(HTMLParser):
    """Gathers the elements of a page; fails where they are not closed in order."""

    VOID = {'meta', 'link', 'img', 'source', 'input', 'br'}

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self._open = [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_hostile_words_are_words():
    plain, hostile = Reader(render()), Reader(render(HOSTILE))
    shape = [(tag, sorted(attributes)) for tag, attributes in plain.elements]
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements] == shape
    assert len(hostile.all('script')) == 1
    assert ''.join(hostile.words).count(HOSTILE) == ''.join(plain.words).count('zebra') > 8
    assert [image['alt'] for image in hostile.all('img')] == [HOSTILE] * 2


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else():
    html = render()
    [policy] = [
        meta['content']
        for meta in Reader(html).all('meta')
        if meta.get('http-equiv') == 'Content-Security-Policy'
    ]
    rules = dict(rule.strip().split(' ', 1) for rule in policy.split(';'))
    assert rules['default-src'] == "'none'"
    assert rules['img-src'] == 'data:'
    for tag in 'script', 'style':
        [text] = re.findall(f'<{tag}>(.*?)</{tag}>', html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f'{tag}-src'] == f"'sha256-{digest}'"


def test_nothing_is_outside_the_page():
    reader = Reader(render())
    addresses = [
        attributes[name]
        for _, attributes in reader.elements
        for name in ('src', 'srcset', 'href')
        if name in attributes
    ]
    assert len(addresses) >= 6
    assert all(address.startswith(('data:', '#')) for address in addresses)
    assert 'url(' not in render()
    assert 'import' not in ''.join(re.findall('<style>(.*?)</style>', render(), re.DOTALL))


def test_pictures_have_words_a_size_and_other_versions():
    reader = Reader(render())
    assert [(image['width'], image['height']) for image in reader.all('img')] == [
        ('40', '30'),
        ('20', '20'),
    ]
    assert [source['media'] for source in reader.all('source')] == [
        '(prefers-color-scheme: dark)',
        '(prefers-reduced-motion: reduce)',
    ]
    assert reader.all('img')[1]['src'].startswith('data:image/gif;base64,')


def test_tables_say_what_their_rows_and_columns_are():
    reader = Reader(render())
    assert [head['scope'] for head in reader.all('th')] == ['col', 'col', 'row', 'row'] + [
        *('col', 'col', 'row')
    ]
    assert len(reader.all('caption')) == 2
    assert [cell.get('data-value') for cell in reader.all('td')] == ['1.5', '0.5', '1']
    assert len(reader.all('button')) == 2
    [field] = reader.all('input')
    assert [table.get('id') for table in reader.all('table')] == [None, field['aria-controls']]


def test_the_page_has_a_language_a_title_and_one_first_heading():
    reader = Reader(render())
    assert reader.all('html') == [{'lang': 'en'}]
    assert len(reader.all('title')) == len(reader.all('h1')) == len(reader.all('main')) == 1
    [viewport] = [meta for meta in reader.all('meta') if meta.get('name') == 'viewport']
    assert viewport['content'] == 'width=device-width, initial-scale=1'
    keys = [attributes['id'] for _, attributes in reader.elements if 'id' in attributes]
    assert len(set(keys)) == len(keys)
    for link in reader.all('a'):
        assert link['href'].removeprefix('#') in keys


@pytest.mark.parametrize('rows', [[], [('only', Number(1, '1'))]])
def test_a_table_may_be_short(rows):
    reader = Reader(render(tables=[Table('few', ('name', 'size'), rows, key='few')]))
    assert len(reader.all('tr')) == 1 + len(rows)
