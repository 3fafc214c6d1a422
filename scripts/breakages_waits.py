"""What is waited for, given up and tried again, broken on purpose: more rows like those of `scripts/breakages.py`."""

from __future__ import annotations

from scripts.breakage import row

WAITS = (
    row(
        "I7",
        "a restart that was refused counts as one that mended nothing",
        "failoverd/core/links.py",
        ("if _refused(app, volume, snapshot) else", "if False else"),
        "tests/core/test_links.py",
    ),
    row(
        "I7",
        "the app is stopped for a planned move that waits for a scan",
        "failoverd/core/moves.py",
        ("if move.kind.planned and (waits := _not_yet(case, move, workload)):", 'if False and (waits := ""):'),
        "tests/core/test_moves.py",
    ),
    row(
        "I5",
        "connections are closed under a watch when the credentials change",
        "failoverd/adapters/kubernetes/client.py",
        ("unused = [ways for ways in self._retired if not ways.users]", "unused = self._retired"),
        "tests/adapters/test_kubernetes_client.py",
    ),
    row(
        "I5",
        "an app that only waits to be stopped no longer keeps its node from the fence",
        "failoverd/core/intent.py",
        ("    return not isinstance(seen, Unknown) and seen.epoch == move.epoch\n", "    return True\n"),
        "tests/core/test_stop_waits.py",
    ),
    row(
        "I6",
        "a restart that took place is made again because its answer was bad",
        "failoverd/core/links.py",
        ("        and there.started == act.started\n", ""),
        "tests/core/test_links.py",
    ),
    row(
        "I9",
        "moves by plan that came to nothing hold up a failover",
        "failoverd/core/policy.py",
        ("    if not wish.kind.planned:  # moves", "    if False:  # moves"),
        "tests/core/test_stop_waits.py",
    ),
)
