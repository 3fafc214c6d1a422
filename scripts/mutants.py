"""Breaks each promise on purpose, in a copy of the tree, and shows which tests notice: `make mutants`, or only those
whose promise or description contains a word: `make mutants ARGS='I4 guest'`.

A breakage that no test notices ends with status 1; so does one whose place in the code is not found any more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.breakage import Mutant
from scripts.breakages import MUTANTS
from scripts.breakages_fences import FENCES
from scripts.breakages_guard import GUARD_MUTANTS

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("failoverd", "tests", "docs", "scripts", "pyproject.toml", "README.md", "config.example.toml")


def notice(mutant: Mutant, folder: Path) -> str:
    """The first test that fails with `mutant` in place; empty when none does.

    Raises LookupError: there is no such place, or that test fails without it too and has noticed nothing.
    """
    path = folder / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.file}: found {text.count(mutant.old)} times: {mutant.old!r}")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        failed = _failed(folder, mutant.tests)
    finally:
        path.write_text(text)
    if failed and _failed(folder, (failed,)):
        raise LookupError(f"{failed} fails without it too")
    return failed


def _failed(folder: Path, tests: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = [line.split(" - ")[0] for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return found[0].partition(" ")[2] if found else ""


def main() -> int:
    """Run every mutant and print the table."""
    words = sys.argv[1:]
    chosen = [
        one
        for one in MUTANTS + FENCES + GUARD_MUTANTS
        if not words or any(word in f"{one.promise} {one.what}".split() for word in words)
    ]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="failoverd-mutants-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "e2e", "lab"))
            else:
                shutil.copy(source, folder / part)
        for mutant in chosen:
            try:
                by = notice(mutant, folder)
            except LookupError as error:
                by, missed = f"NOT TRIED: {error}", missed + 1
            missed += by == ""
            print(f"{mutant.promise:4} {mutant.what}\n       {by or 'NOTICED BY NOTHING'}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
