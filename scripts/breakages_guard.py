"""The promises as the guard keeps them, broken on purpose: more rows like those of `scripts/breakages.py`."""

from __future__ import annotations

from scripts.breakage import Mutant


def row(promise: str, what: str, file: str, change: tuple[str, str], *tests: str) -> Mutant:
    """A breakage; `change` is (old, new)."""
    old, new = change
    return Mutant(promise=promise, what=what, file=file, old=old, new=new, tests=tests)


GUARD_MUTANTS = (
    row(
        "I4",
        "a copy becomes a point without having been opened",
        "failoverd/guard/points.py",
        ("        sqlite.check(new)\n", ""),
        "tests/guard/test_points.py",
    ),
    row(
        "I4",
        "a copy of a live database is not one moment",
        "failoverd/guard/sqlite.py",
        ('                live.execute("BEGIN")\n', ""),
        "tests/guard/test_points.py",
    ),
    row(
        "I4",
        "points of an old epoch or of the wrong site count",
        "failoverd/guard/proof.py",
        ("(one.point.epoch, one.point.site) == (wanted.epoch, wanted.active)", "True"),
        "tests/guard/test_proof.py",
    ),
    row(
        "I4",
        "a point counts whatever its manifest says of its content",
        "failoverd/guard/proof.py",
        ("if copied(one.file, private, pace) != one.point.sha256:", "if not copied(one.file, private, pace):"),
        "tests/guard/test_proof.py",
    ),
    row(
        "I5",
        "a guard goes on by an order it could not read again",
        "failoverd/guard/keeper.py",
        ("self._stopped or self._mono() - self._order[1] > BELIEVED", "self._stopped"),
        "tests/guard/test_run.py",
    ),
    row(
        "I7",
        "a database is moved aside after what belongs to it",
        "failoverd/guard/place.py",
        ('PARTS = ("", *sqlite.SIDECARS)', 'PARTS = (*sqlite.SIDECARS, "")'),
        "tests/guard/test_place.py",
    ),
    row(
        "I7",
        "placing renames before it has written down what it will rename",
        "failoverd/guard/place.py",
        ("                pace()\n                self._write(own)\n", ""),
        "tests/guard/test_place.py",
    ),
    row(
        "I10",
        "the -wal of a displaced database is not kept with it",
        "failoverd/guard/place.py",
        (
            "        for part in entry.had:\n            source, aside",
            "        for part in entry.had[:1]:\n            source, aside",
        ),
        "tests/guard/test_place.py",
    ),
    row(
        "I10",
        "placing goes over what an app wrote meanwhile",
        "failoverd/guard/place.py",
        (
            '            if os.path.lexists(f"{target}{part}"):\n                raise',
            "            if False:\n                raise",
        ),
        "tests/guard/test_place.py",
    ),
)
