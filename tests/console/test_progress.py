"""Progress of a job in a log: few lines, each with what is done and what is left."""

import io
import logging
import time

from resnet_jax.console.progress import Progress
from resnet_jax.console.terminal import Terminal


def test_without_a_terminal_the_log_gets_a_line_every_30_seconds(monkeypatch, caplog):
    now = [1000.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])
    progress = Progress(Terminal(io.StringIO()), 400, num_bytes=0)
    with caplog.at_level(logging.INFO, logger='absl'):
        for _ in range(100):  # for 100 s
            now[0] += 1
            progress.add(1024)
    assert [line.split('[')[0].strip() for line in caplog.messages] == ['8%', '15%', '22%']
    assert '30 of 400 images   1 images/s   30.0 KiB   6 min 10 s left' in caplog.messages[0]
