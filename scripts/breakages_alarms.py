"""Breakages of alarms that stand until acknowledged: rows of `breakages.py`."""

from __future__ import annotations

from scripts.breakage import row as _row

_TESTS = "tests/core/test_alarms.py"
_FILE = "failoverd/core/alarms.py"

ALARMS = (
    _row(
        "I4",
        "an alarm ends with its cause, unacknowledged",
        _FILE,
        (
            "    if seen is None:\n        return kept\n",
            "    if seen is None:\n        return []\n",
        ),
        _TESTS,
    ),
    _row(
        "I4",
        "an alarm nobody acknowledged speaks against no move",
        "failoverd/core/policy.py",
        ("    unacknowledged,\n    workload,", "    workload,"),
        _TESTS,
        "tests/test_scenarios.py",
    ),
    _row(
        "I9",
        "an acknowledgement takes in what was never shown",
        _FILE,
        (
            "if one.acknowledged_at is not None or one.mark not in command.seen:",
            "if one.acknowledged_at is not None:",
        ),
        _TESTS,
    ),
    _row(
        "I9",
        "more of what was acknowledged is no news",
        _FILE,
        ("    if seen.amount <= same.amount:", "    if True:"),
        _TESTS,
    ),
    _row(
        "I9",
        "an alarm nobody acknowledged is called over when its app moves or freezes",
        "failoverd/core/say.py",
        ("            **_standing(scene, said),\n", ""),
        _TESTS,
    ),
    _row(
        "I9",
        "nobody is told who acknowledged an alarm, and why",
        "failoverd/core/say.py",
        (
            "    notes = [_acknowledged(key, one, topics, said) for key, one in scene.acknowledged]\n",
            "    notes = []\n",
        ),
        _TESTS,
    ),
    _row(
        "I3",
        "a side that cannot be read ends an alarm",
        _FILE,
        (
            "    if isinstance(seen, Unknown):\n        return known",
            "    if isinstance(seen, Unknown):\n        return []",
        ),
        _TESTS,
    ),
    _row(
        "I3",
        "files are counted while Syncthing still scans",
        _FILE,
        ("not folder.idle or folder.type", "folder.type"),
        _TESTS,
    ),
    _row(
        "I4",
        "files that are gone are measured by those there now",
        _FILE,
        ("if count is not None and count > remembered.files * (RISEN if remembered.files else 0):", "if count:"),
        _TESTS,
    ),
    _row(
        "I10",
        "displaced files over their budget are no alarm",
        _FILE,
        ("        elif size > budget:", "        elif size > 2 * budget:"),
        "tests/core/test_displaced.py",
    ),
    _row(
        "I4",
        "an app whose displaced files are over their budget does not move",
        "failoverd/core/policy.py",
        (" if one.why in alarms.STANDING)", ")"),
        "tests/core/test_displaced.py",
    ),
    _row(
        "I10",
        "a side that was never listed counts as one that keeps nothing",
        _FILE,
        ("    return remembered.displaced.get(site)\n", "    return remembered.displaced.get(site, 0)\n"),
        "tests/core/test_displaced.py",
    ),
    _row(
        "I10",
        "a take-back that is under way is listed from what was there before it",
        "failoverd/cli/shelves.py",
        ("    if standing is Standing.TAKING_BACK or (", "    if ("),
        "tests/test_cli_displaced.py",
    ),
    _row(
        "I10",
        "a side that lost and left no list is shown as one that keeps nothing",
        "failoverd/cli/shelves.py",
        ("    if last is not None or past.losses or past.gap:", "    if past.gap:"),
        "tests/test_cli_displaced.py",
    ),
    _row(
        "I10",
        "a list from before the last take-back is taken for whole",
        "failoverd/cli/shelves.py",
        ("if last is not None and found.at < last.at:", "if False:"),
        "tests/test_cli_displaced.py",
    ),
    _row(
        "I10",
        "a version that is counted and not named is denied",
        "failoverd/cli/restore.py",
        ('are not named" if unnamed else ""', 'are not named" if False else ""'),
        "tests/test_cli_restore.py",
    ),
    _row(
        "I10",
        "a folder of versions that cannot be read is an empty one",
        "failoverd/guard/stock.py",
        (
            "    except OSError as error:\n        troubles.append(shown(str(error)))\n        return []",
            "    except OSError:\n        return []",
        ),
        "tests/guard/test_stock.py",
    ),
    _row(
        "I10",
        "what a take-back displaced is listed after versioning went off",
        "failoverd/execute.py",
        ("    if act.keep is False:  # a take-back or a restore ends;", "    if act.keep:  # a take-back ends;"),
        "tests/test_execute_versions.py",
    ),
)
