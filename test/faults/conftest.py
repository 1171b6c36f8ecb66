"""Robots for the short campaign; pytest imports by path and leaves the tests' folders out."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
