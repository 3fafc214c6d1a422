"""Breaks each promise on purpose, in a copy of the tree, and shows which tests notice: `make mutants`.

A breakage that no test notices ends with status 1; so does one whose place in the code is not found any more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("failoverd", "tests", "docs", "scripts", "pyproject.toml", "README.md", "config.example.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One deliberate breakage: in `file`, the only `old` becomes `new`; `tests` must notice."""

    promise: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        promise="I1",
        what="the target is not made to send only before the app starts there",
        file="failoverd/core/moves.py",
        old="if target.type != Role.SEND_ONLY:",
        new="if False:",
        tests=("tests/core/test_moves.py", "tests/test_scenarios.py"),
    ),
    Mutant(
        promise="I1",
        what="the standby is made to receive only without proof",
        file="failoverd/core/roles.py",
        old='    if missing:\n        return _Tended(memory=memory, waiting=f"adopting: {missing}")',
        new="",
        tests=("tests/core/test_roles.py",),
    ),
    Mutant(
        promise="I2",
        what="a fenced guest that runs again in mid-move is left running",
        file="failoverd/core/moves.py",
        old="    return bool(fenced and running and",
        new="    return False and bool(fenced and running and",
        tests=("tests/core/test_fences.py", "tests/core/test_moves.py"),
    ),
    Mutant(
        promise="I3",
        what="a lease that cannot be read counts as silent",
        file="failoverd/core/hysteresis.py",
        old="held = seen.stamp_seen_at + elapsed if seen",
        new="held = seen.stamp_seen_at if seen",
        tests=("tests/core/test_hysteresis.py", "tests/test_scenarios.py"),
    ),
    Mutant(
        promise="I4",
        what="an outdated copy may be promoted",
        file="failoverd/core/policy.py",
        old="        if standing is not Standing.CLEAN:",
        new="        if False:",
        tests=("tests/core/test_policy.py",),
    ),
    Mutant(
        promise="I4",
        what="an unknown data age is no objection",
        file="failoverd/core/policy.py",
        old="        if measured is None:",
        new="        if measured is None:\n            continue\n        if False:",
        tests=("tests/core/test_policy.py",),
    ),
    Mutant(
        promise="I5",
        what="acts without being the leader and without seeing the API server",
        file="failoverd/core/policy.py",
        old="    return snapshot.instance.leader and isinstance(snapshot.api, Api)",
        new="    return True",
        tests=("tests/core", "tests/test_scenarios.py"),
    ),
    Mutant(
        promise="I6",
        what="finished moves do not count against the budget",
        file="failoverd/core/policy.py",
        old='if not move.outcome.startswith("aborted") and',
        new="if not move.outcome and",
        tests=("tests/core/test_motion.py", "tests/core/test_policy.py"),
    ),
    Mutant(
        promise="I6",
        what="a Syncthing whose connection stays dead is restarted again and again",
        file="failoverd/core/links.py",
        old="    return last is None or",
        new="    return True or",
        tests=("tests/core/test_links.py",),
    ),
    Mutant(
        promise="I7",
        what="acts before what it decided is saved",
        file="failoverd/loop.py",
        old="            await self.store.save(decision.memory)",
        new="            pass",
        tests=("tests/core/test_loop.py", "tests/simulator/test_resume.py"),
    ),
    Mutant(
        promise="I8",
        what="going home leaves the hold on the workload",
        file="failoverd/core/patch.py",
        old="    if workload.held and not undo.held:",
        new="    if False:",
        tests=("tests/core/test_patch.py", "tests/test_scenarios.py"),
    ),
    Mutant(
        promise="I9",
        what="a hold is not told",
        file="failoverd/core/say.py",
        old="            notes.append(note)\n            said[incident] = reasons",
        new="            said[incident] = reasons",
        tests=("tests/test_scenarios.py", "tests/core"),
    ),
    Mutant(
        promise="I10",
        what="a take-back does not keep what it displaces",
        file="failoverd/core/take_back.py",
        old='            keep=True,\n            reason=f"{site} lost; what it displaces is kept",',
        new='            keep=None,\n            reason=f"{site} lost; what it displaces is kept",',
        tests=("tests/core/test_take_back.py",),
    ),
)


def notice(mutant: Mutant, folder: Path) -> str:
    """The first test that fails with `mutant` in place; empty when none does. Raises LookupError: no such place."""
    path = folder / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise LookupError(f"{mutant.file}: found {text.count(mutant.old)} times: {mutant.old!r}")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    finally:
        path.write_text(text)
    failed = [line.split(" - ")[0] for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else ""


def main() -> int:
    """Run every mutant and print the table."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="failoverd-mutants-") as name:
        folder = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "e2e", "lab"))
            else:
                shutil.copy(source, folder / part)
        for mutant in MUTANTS:
            try:
                by = notice(mutant, folder)
            except LookupError as error:
                by, missed = f"NOT TRIED: {error}", missed + 1
            missed += by == ""
            print(f"{mutant.promise:4} {mutant.what}\n       {by or 'NOTICED BY NOTHING'}", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
