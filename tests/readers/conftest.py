"""Lets the tests import `hostile_files`, which lies one directory up."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
