"""The report's page in a real Chromium: from the disk, on two screens, light and dark."""

import io
import os

import PIL.Image
import pytest
from support.chromium import Chromium, find
from support.simulated_imagenet import write_run

from resnet_jax.reports.report import write_report

pytestmark = pytest.mark.slow

if find() is None and not os.environ.get('CI'):
    pytest.skip(
        'there is no Chromium here: tools/install_system_packages.sh', allow_module_level=True
    )

DESKTOP = {'width': 1280, 'height': 800}
PHONE = {'width': 390, 'height': 844}
SMALL_PHONE = {'width': 360, 'height': 740}

HOSTILE = '<img src=x onerror="window.hacked=1"></td><script>window.hacked=2</script>$\\x{$'


@pytest.fixture(scope='module')
def browser():
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp('run') / 'imagenet', 2, examples_per_class=5)


@pytest.fixture(scope='module')
def page(run):
    return write_report(run).as_uri()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('screen', [DESKTOP, PHONE], ids=['desktop', 'phone'])
def test_the_page_opens_from_the_disk_without_problems(screen, scheme, browser, page):
    browser.open(page, scheme=scheme, **screen)
    assert browser.problems == []
    assert browser.requests == [page]
    assert browser.evaluate('document.title') == 'ResNet-18 on imagenet2012'
    sizes = browser.evaluate('[...document.images].map(image => image.naturalWidth)')
    chart = 1200 if screen is DESKTOP else 720
    assert sizes == [chart, 1000, 640, chart]
    assert browser.evaluate('document.documentElement.scrollWidth') == screen['width']
    shown = PIL.Image.open(io.BytesIO(browser.screenshot())).convert('RGB')
    assert shown.size == (screen['width'], screen['height'])
    corner = shown.getpixel((2, 2))
    assert max(corner) < 40 if scheme == 'dark' else min(corner) > 230
    assert len(shown.getcolors(2**24)) > 200


def test_charts_follow_the_colours_of_the_page(browser, page):
    shown = {}
    for scheme in 'light', 'dark':
        browser.open(page, scheme=scheme)
        shown[scheme] = browser.evaluate('[...document.images].map(image => image.currentSrc)')
    equal = [light == dark for light, dark in zip(shown['light'], shown['dark'], strict=True)]
    assert equal == [False, True, True, False]


def test_reduced_motion_replaces_the_animation(browser, page):
    browser.open(page, motion='reduce')
    kinds = browser.evaluate('[...document.images].map(image => image.currentSrc.slice(5, 14))')
    assert kinds == ['image/png'] * 4


@pytest.mark.parametrize('screen', [DESKTOP, PHONE], ids=['desktop', 'phone'])
def test_words_are_large_enough_and_tables_scroll_by_themselves(screen, browser, page):
    browser.open(page, **screen)
    smallest = browser.evaluate(
        'Math.min(...[...document.querySelectorAll("p, a, td, th, dt, dd, figcaption, label")]'
        '.map(element => parseFloat(getComputedStyle(element).fontSize)))'
    )
    assert smallest >= 14
    outside = browser.evaluate(
        '[...document.querySelectorAll(".scroll, .picture, .tiles, h1, nav")].filter(element =>'
        ' element.getBoundingClientRect().right > innerWidth).length'
    )
    assert outside == 0


SCROLLING = """
[...document.querySelectorAll("body, body *")]
  .filter(element => element.scrollWidth > element.clientWidth + 1)
  .filter(element => getComputedStyle(element).display !== "inline")
  .map(element => element.className)
"""


@pytest.mark.parametrize('screen', [PHONE, SMALL_PHONE], ids=['390', '360'])
def test_on_a_phone_nothing_but_tables_scrolls_sideways(screen, browser, page):
    browser.open(page, **screen)
    assert browser.evaluate('document.documentElement.scrollWidth') == screen['width']
    assert set(browser.evaluate(SCROLLING)) == {'scroll', 'scroll whole'}
    # The charts of a picture are stacked: it is at least twice as high as wide.
    shapes = browser.evaluate(
        '[...document.images].map(image => image.clientHeight / image.clientWidth)'
    )
    assert [shape > 2 for shape in shapes] == [True, False, False, True]
    widths = browser.evaluate('[...document.images].map(image => image.clientWidth)')
    assert min(widths) > 0.8 * screen['width']


def darkest_edge(browser, side):
    """Returns the darkest level of grey at the left or right edge inside the first table."""
    box = browser.evaluate(
        '(() => { const row = document.querySelector(".scroll tbody tr");'
        ' row.scrollIntoView({block: "center"});'
        ' const scroll = row.closest(".scroll").getBoundingClientRect();'
        ' return [scroll.left, scroll.right, row.getBoundingClientRect().top] })()'
    )
    shown = PIL.Image.open(io.BytesIO(browser.screenshot())).convert('L')
    left, right, top = (round(number) for number in box)
    x = left + 3 if side == 'left' else right - 4
    return min(shown.getpixel((x, y)) for y in range(top + 3, top + 6))


def test_a_table_that_goes_on_has_a_shadow_at_that_edge(browser, page):
    browser.open(page, **PHONE)
    assert darkest_edge(browser, 'right') < 200 < 250 < darkest_edge(browser, 'left')
    browser.evaluate('document.querySelector(".scroll").scrollLeft = 10_000')
    assert darkest_edge(browser, 'left') < 200 < 250 < darkest_edge(browser, 'right')


def test_on_a_wide_screen_no_table_has_a_shadow(browser, page):
    browser.open(page, **DESKTOP)
    assert browser.evaluate(SCROLLING) == []
    assert min(darkest_edge(browser, side) for side in ('left', 'right')) > 250


def read_column(browser, column):
    return browser.evaluate(
        f'[...document.getElementById("classes").tBodies[0].rows].map(row => '
        f'row.cells[{column}].textContent)'
    )


def click_heading(browser, column):
    browser.evaluate(f'document.querySelectorAll("#classes button")[{column}].click()')
    return browser.evaluate(
        f'document.querySelectorAll("#classes thead th")[{column}].getAttribute("aria-sort")'
    )


def test_the_class_table_sorts_by_number_and_by_word_both_ways(browser, page):
    browser.open(page)
    before = read_column(browser, 0)
    assert len(before) == 1000
    assert before == sorted(before)
    assert click_heading(browser, 2) == 'ascending'
    values = [float(text.rstrip('%')) for text in read_column(browser, 2)]
    assert values == sorted(values)
    assert values[0] < values[-1] == 100
    assert click_heading(browser, 2) == 'descending'
    values = [float(text.rstrip('%')) for text in read_column(browser, 2)]
    assert values == sorted(values, reverse=True)
    assert click_heading(browser, 0) == 'ascending'
    assert read_column(browser, 0) == before
    assert browser.evaluate('document.querySelectorAll("[aria-sort]").length') == 1
    assert browser.problems == []


def test_the_class_table_can_be_searched(browser, page):
    browser.open(page)
    browser.evaluate(
        '{const field = document.querySelector("input[type=search]"); field.value = "TABBY";'
        ' field.dispatchEvent(new Event("input"))}'
    )
    shown = browser.evaluate(
        '[...document.getElementById("classes").tBodies[0].rows].filter(row => !row.hidden)'
        '.map(row => row.cells[0].textContent)'
    )
    assert 'n02123045' in shown
    assert len(shown) < 20


def test_names_cannot_run_anything(browser, run, tmp_path):
    names = run.read_class_names()
    try:
        run.write_class_names([f'n{i:08} {HOSTILE}' for i in range(1000)])
        browser.open(write_report(run).as_uri())
    finally:
        run.write_class_names(names)
    assert browser.evaluate('typeof window.hacked') == 'undefined'
    assert browser.evaluate('document.scripts.length') == 1
    assert browser.evaluate('document.images.length') == 4
    assert browser.problems == []
    assert browser.evaluate('document.querySelector("#classes td").textContent') == HOSTILE


@pytest.mark.parametrize(
    ('body', 'problem'),
    [
        ('<script>console.error("no")</script>', 'consoleAPICalled'),
        ('<script>undefined.x</script>', 'TypeError'),
        ('<img src="missing.png">', 'missing.png'),
        (
            '<meta http-equiv="Content-Security-Policy" content="script-src \'none\'">'
            '<script>1</script>',
            'Content Security Policy',
        ),
    ],
)
def test_the_browser_reports_problems(body, problem, browser, tmp_path):
    (tmp_path / 'page.html').write_text(f'<!DOCTYPE html><title>x</title>{body}')
    browser.open((tmp_path / 'page.html').as_uri())
    assert browser.problems
    if 'missing' in problem:
        assert any(address.endswith(problem) for address in browser.requests)
    elif problem != 'consoleAPICalled':
        assert problem in str(browser.problems)
