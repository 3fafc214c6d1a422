"""docs/states.md says what the table says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_states_is_made_from_the_present_table():
    made = subprocess.run([sys.executable, "scripts/states.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "states.md").read_text(), "run: python scripts/states.py > docs/states.md"
