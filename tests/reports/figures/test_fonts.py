"""The first figure on a machine, for which matplotlib gathers the fonts."""

import os
import subprocess
import sys

import pytest
from support.paths import ROOT


@pytest.mark.slow
def test_the_cache_of_fonts_is_built_without_a_message(tmp_path):
    code = (
        'import logging, threading; logging.basicConfig(level=logging.INFO);'
        # Its warning comes after five seconds of work; here it comes at once.
        'threading.Timer = lambda _, warn: warn() or threading.Thread();'
        'threading.Thread.cancel = lambda _: None;'
        'import resnet_jax.reports.figures.style'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {'MPLCONFIGDIR': str(tmp_path)},
        check=True,
    )
    assert list(tmp_path.glob('fontlist-*.json'))
    assert done.stderr == ''
