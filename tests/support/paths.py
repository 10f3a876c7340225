"""Paths of the project's folders."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

FIXTURES = ROOT / 'tests' / 'fixtures'
