"""Terminal output: log lines, the progress line, durations; and periods."""

import io
import logging
import math

import pytest
from absl import logging as absl_logging
from support.running import CLEAR, FakeTerminal

from resnet_jax.console import terminal
from resnet_jax.console.terminal import Terminal, format_duration
from resnet_jax.training.period import Period


def test_on_a_pipe_there_is_no_progress_line():
    stream = io.StringIO()
    screen = Terminal(stream)
    screen.show_progress('epoch 1')
    screen.write('a log line\n')
    screen.show_progress('')
    assert stream.getvalue() == 'a log line\n'


def test_log_lines_come_above_the_progress_line(monkeypatch):
    monkeypatch.setenv('COLUMNS', '20')
    stream = FakeTerminal()
    screen = Terminal(stream)
    screen.write('first\n')
    screen.show_progress('epoch 1')
    screen.write('second\n')
    screen.show_progress('')
    screen.write('third\n')
    assert stream.getvalue() == (
        'first\n' + CLEAR + 'epoch 1' + CLEAR + 'second\nepoch 1' + CLEAR + 'third\n'
    )


def test_a_progress_line_is_never_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '20')
    stream = FakeTerminal()
    Terminal(stream).show_progress('0123456789' * 3)
    assert stream.getvalue() == CLEAR + '0123456789012345678'


def test_a_period_is_due_at_its_multiples_and_at_the_end():
    period = Period(every=3, last=10)
    assert [step for step in range(1, 11) if period.is_due(step)] == [3, 6, 9, 10]


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0, '0 s'),
        (9.4, '9 s'),
        (59.6, '1 min 0 s'),
        (130, '2 min 10 s'),
        (3599.7, '1 h 0 min'),
        (3900, '1 h 5 min'),
        (183600, '2 d 3 h'),
        (math.nan, '?'),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert format_duration(seconds) == text


@pytest.fixture
def handler(monkeypatch):
    """The handler that `set_up_logging` sets up, with a stream of text."""
    stream = io.StringIO()
    monkeypatch.setattr('sys.stderr', stream)
    handler = absl_logging.get_absl_handler().python_handler
    filters, old_stream = handler.filters[:], handler.stream
    verbosity = absl_logging.get_verbosity()
    terminal.set_up_logging()
    yield handler
    handler.filters[:] = filters
    handler.setStream(old_stream)
    absl_logging.set_verbosity(verbosity)


def record(message, path='/site-packages/library/file.py', name='absl', level=logging.WARNING):
    return logging.LogRecord(name, level, path, 1, message, (), None)


@pytest.mark.parametrize(
    'noise',
    [
        record(
            'Matplotlib is building the font cache; this may take a moment.',
            name='matplotlib.font_manager',
        ),
        record('DEPRECATED: please do not use _builder as this may change'),
        record('`jax.something` is deprecated', name='jax'),
        record('Load dataset info', level=logging.INFO),
    ],
    ids=lambda record: record.name,
)
def test_noise_of_libraries_is_not_logged(handler, noise):
    assert not handler.filter(noise)


@pytest.mark.parametrize(
    'line',
    [
        record('the disk is slow'),
        record('the font is broken', name='matplotlib.font_manager', level=logging.ERROR),
        record('step 3, deprecated', path=terminal.__file__, level=logging.INFO),
    ],
    ids=lambda record: record.getMessage(),
)
def test_what_a_user_can_act_on_is_logged(handler, line):
    assert handler.filter(line)
