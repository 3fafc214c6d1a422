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
    row(
        "I4",
        "daemon: an app starts before its databases are placed",
        "failoverd/core/guarding.py",
        ("    if waits and not (move.forced and hopeless):", "    if False:"),
        "tests/core/test_placing.py",
    ),
    row(
        "I4",
        "daemon: an order that places stands while the app starts",
        "failoverd/core/guarding.py",
        ("        return move, _withdrawn(case, move), ()", '        return move, "", ()'),
        "tests/core/test_placing.py",
    ),
    row(
        "I4",
        "daemon: force leaves behind a guard that may be at work",
        "failoverd/core/guarding.py",
        (
            "    return heard is None or case.now.mono - heard > (case.date - flipped) + databases.SILENT_AFTER",
            "    return True",
        ),
        "tests/core/test_placing.py",
    ),
    row(
        "I4",
        "daemon: a silent guard holds nothing",
        "failoverd/core/guarding.py",
        (
            "        if why:\n            yield Objection(why=Why.GUARD",
            "        if False:\n            yield Objection(why=Why.GUARD",
        ),
        "tests/core/test_guarding.py",
    ),
    row(
        "I4",
        "daemon: what does not open holds nothing",
        "failoverd/core/guarding.py",
        ("            yield from _broken(case, volume, wish.target)", "            yield from ()"),
        "tests/core/test_guarding.py",
    ),
    row(
        "I4",
        "daemon: a database without a proven point has no say in the age",
        "failoverd/core/proof.py",
        (" or (database is not None and database.since is None)", ""),
        "tests/core/test_databases.py",
    ),
    row(
        "I4",
        "daemon: what a guard says of another point is taken for a word on this one",
        "failoverd/core/databases.py",
        (" and kept.serial == proven.serial", ""),
        "tests/core/test_databases.py",
    ),
    row(
        "I4",
        "daemon: a proof leaves out any file that is named",
        "failoverd/core/proof.py",
        (" and hot.issuperset(named))", ")"),
        "tests/core/test_databases.py",
    ),
    row(
        "I4",
        "daemon: what a dead guard said last counts as heard now",
        "failoverd/core/databases.py",
        ("        heard -= ago if", "        heard -= timedelta(0) if"),
        "tests/core/test_guarding.py",
    ),
    row(
        "I1",
        "daemon: databases are placed before the target sends",
        "failoverd/core/guarding.py",
        (
            '    return any(name == "flipped" for name, _ in move.marks) and not _over(case)',
            "    return not _over(case)",
        ),
        "tests/core/test_placing.py",
    ),
    row(
        "I7",
        "daemon: moves called off make the points of before worthless",
        "failoverd/core/databases.py",
        ("        epoch = past.epoch - 1\n", ""),
        "tests/core/test_guarding.py",
    ),
    row(
        "I7",
        "daemon: copies are compared while guards still write",
        "failoverd/core/barrier.py",
        ("    return guarding.busy(case)", '    return ""'),
        "tests/core/test_placing.py",
    ),
    row(
        "I5",
        "daemon: an old leader's order goes through",
        "failoverd/adapters/kubernetes/guards.py",
        ('{**metadata, "resourceVersion": version}', "metadata"),
        "tests/adapters/test_kubernetes_guards.py",
    ),
    row(
        "I9",
        "daemon: nobody is told of a standby that does not open",
        "failoverd/core/rest.py",
        (", *guarding.alarms(case)]", "]"),
        "tests/core/test_guarding.py",
    ),
    row(
        "I4",
        "what the active side keeps to itself looks equal",
        "failoverd/core/barrier.py",
        (" or _kept(active, source)", ""),
        "tests/core/test_nasty_guards.py",
    ),
    row(
        "I4",
        "what the active side keeps to itself is proven",
        "failoverd/core/proof.py",
        ("        scanned = None  # what it keeps", "        pass  # what it keeps"),
        "tests/core/test_nasty_guards.py",
    ),
    row(
        "I4",
        "daemon: a frozen app's order that places stands",
        "failoverd/core/guarding.py",
        ('return replace(read.wanted, duty=Duty.REST, move="")', "return None"),
        "tests/core/test_nasty_guards.py",
    ),
    row(
        "I4",
        "daemon: files of a database that is gone are left out of proofs",
        "failoverd/core/databases.py",
        (" - _gone(here, said)", ""),
        "tests/core/test_nasty_guards.py",
    ),
    row(
        "I4",
        "daemon: a copy is adopted without databases that have no points",
        "failoverd/core/databases.py",
        ("for one in said.kept} - {one.database for one in said.sick}", "for one in (*said.kept, *said.sick)}"),
        "tests/core/test_restless.py",
    ),
    row(
        "I4",
        "daemon: a copy is adopted whatever it lacks besides databases",
        "failoverd/core/roles.py",
        ("    if not proof.lacks_only(standby, hot):", "    if not hot and not standby.needs_nothing:"),
        "tests/core/test_restless.py",
    ),
    row(
        "I4",
        "daemon: raw databases are left out where points have no say",
        "failoverd/core/databases.py",
        (
            "    if not in_force(case.rules, case.app) or silent(case, volume, site):",
            "    if silent(case, volume, site):",
        ),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: a take-back does not wait for what was put aside",
        "failoverd/core/take_back.py",
        (" & set(copy.aside or ()))", ")"),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: what an earlier take-back put aside counts for the next",
        "failoverd/core/guarding.py",
        ("    if done is None or not _by_order(case, volume, site):", "    if done is None:"),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: versions go off before what was put aside was noticed",
        "failoverd/core/take_back.py",
        ("    if copy.aside and scanned(case, volume, site) is None:", "    if False:"),
        "tests/core/test_restless.py",
    ),
    row(
        "I10",
        "daemon: a database without a point that opens at the returned side is left where it lies",
        "failoverd/core/guarding.py",
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
