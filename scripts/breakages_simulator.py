"""The simulator broken on purpose: leaps that are not what tick by tick leads to, excuses that excuse too much."""

from scripts.breakage import row as _row

SIMULATOR = (
    _row(
        "leap",
        "an act that falls due without a word is leapt over",
        "failoverd/simulator/leap.py",
        ("if decision.actions or decision.notes or", "if"),
        "tests/simulator/test_leap.py",
    ),
    _row(
        "leap",
        "nobody asks whether what looks new is decided otherwise",
        "failoverd/simulator/idle.py",
        ("            if not self._agrees(index, tick):", "            if False:"),
        "tests/simulator/test_leap.py",
    ),
    _row(
        "leap",
        "an idle tick writes over a Memory that it has not read",
        "failoverd/simulator/idle.py",
        ("if stored.version != version or not", "if not"),
        "tests/simulator/test_leap.py",
    ),
    _row(
        "leap",
        "what has happened since the last look is idled over",
        "failoverd/simulator/sleeper.py",
        (" and self.observer.stirs == self.observer.world.time.stirs", ""),
        "tests/simulator/test_leap.py",
    ),
    _row(
        "leap",
        "the index of a copy is not taken back",
        "failoverd/simulator/idle_tick.py",
        (
            "side.errors, side.index, side.disk.files = dict(errors), dict(index), dict(files)",
            "side.errors = dict(errors)",
        ),
        "tests/simulator/test_idle.py",
    ),
    _row(
        "leap",
        "what a guard did is not taken back",
        "failoverd/simulator/idle_tick.py",
        ("            guard.state = state", "            pass"),
        "tests/simulator/test_idle.py",
    ),
    _row(
        "leap",
        "the first point at a site is announced in an idle tick, and told by nobody",
        "failoverd/simulator/idle.py",
        ("            return None  # which is told", "            pass"),
        "tests/simulator/test_leap.py",
    ),
    _row(
        "leap",
        "a daemon that is to die of an act announces points in idle ticks, and lives",
        "failoverd/simulator/idle.py",
        ("if points and one.trapped():", "if False:"),
        "tests/simulator/test_leap.py",
    ),
    _row(
        "chaos",
        "whatever a hand did once excuses everything after it",
        "failoverd/simulator/chaos_excuses.py",
        ("            and (since_ms is None or now_ms - since_ms <= LOOK_MS)\n", ""),
        "tests/simulator/test_excuses.py",
    ),
    _row(
        "chaos",
        "what a hand does before the eyes of an instance that could act is excused",
        "failoverd/simulator/chaos_excuses.py",
        ("behind = not self._able()", "behind = True"),
        "tests/simulator/test_excuses.py",
    ),
)
