"""Import path for the shared oracle: pytest imports by path, without the folders of the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
