"""Where things lie in the project."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

FIXTURES = ROOT / 'tests' / 'fixtures'
