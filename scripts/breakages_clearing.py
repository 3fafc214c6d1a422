"""What a lost side had, not put out of the way as it should be: rows of `scripts/breakages_guard.py`."""

from __future__ import annotations

from scripts.breakage import row

CLEARING = (
    row(
        "I10",
        "daemon: a take-back does not wait for what was put aside",
        "failoverd/core/take_back.py",
        (" & set(copy.aside or ()))", ")"),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: a lost side receives before its databases are moved aside",
        "failoverd/core/take_back.py",
        ("    if waits := clearing.cleared(case, volume):", '    if waits := "":'),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: a guard that could not be read once is leave to receive",
        "failoverd/core/clearing.py",
        (
            '        return f"the order for {volume.name} at {site} can be read: {read.why}"\n    if used',
            '        return ""\n    if used',
        ),
        "tests/core/test_cleared.py",
    ),
    row(
        "I10",
        "a cleared database leaves its -wal behind when the guard dies between the two",
        "failoverd/guard/place.py",
        (
            "not any(os.path.lexists(source) for source, _ in self._to_move(journal, entry, target))",
            "not os.path.lexists(target)",
        ),
        "tests/guard/test_clear.py",
    ),
    row(
        "I10",
        "daemon: what an earlier take-back put aside counts for the next",
        "failoverd/core/clearing.py",
        ("    if done is None or not _by_order(case, volume, site):", "    if done is None:"),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: it is overridden before what was put aside was noticed",
        "failoverd/core/take_back.py",
        ("        if aside is not None and scanned(case, volume, site) is None:", "        if False:"),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: a database without a point that opens at the returned side is left where it lies",
        "failoverd/core/clearing.py",
        ("    return proven >= (databases.beside(case, volume) or frozenset())", "    return True"),
        "tests/core/test_restless.py",
    ),
    row(
        "I1",
        "daemon: a take-back overrides while the guard of the returned side may still place",
        "failoverd/core/take_back.py",
        ("        waits = guarding.busy_at(case, volume, site)  #", '        waits = ""  #'),
        "tests/core/test_restless.py",
    ),
)
