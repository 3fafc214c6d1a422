"""The rows of `breakages.py` about fences, tokens and doubts about oneself."""

from __future__ import annotations

from scripts.breakage import row as _row

FENCES = (
    _row(
        "I2",
        "a node is told out of service by its silence",
        "failoverd/core/out_of_service.py",
        ("or not verdict.proven or", "or"),
        "tests/core/test_out_of_service.py",
    ),
    _row(
        "I2",
        "a node that lives again stays out of service",
        "failoverd/core/out_of_service.py",
        ("else _sign_of_life(reading, verdict)", 'else ""'),
        "tests/core/test_out_of_service.py",
    ),
    _row(
        "I2",
        "a node that came back since its guest was seen stopped is tainted",
        "failoverd/adapters/kubernetes/taint.py",
        ('for part in ("uid", "resourceVersion")', 'for part in ("uid",)'),
        "tests/adapters/test_kubernetes_taint.py",
    ),
    _row(
        "I2",
        "a node is tainted without a look at its guest",
        "failoverd/execute.py",
        ("if not isinstance(guest, Guest) or guest.state is not GuestState.STOPPED or guest.busy:", "if False:"),
        "tests/test_execute.py",
    ),
    _row(
        "I8",
        "a taint of somebody else is taken off",
        "failoverd/adapters/kubernetes/taint.py",
        ("if names.TAINTED not in (dig", "if False and names.TAINTED not in (dig"),
        "tests/adapters/test_kubernetes_taint.py",
    ),
    _row(
        "I5",
        "a patch does not test the leader's generation",
        "failoverd/core/patch.py",
        (
            "marks = {names.EPOCH: workload.epoch, names.LEADER: workload.leader}",
            "marks = {names.EPOCH: workload.epoch}",
        ),
        "tests/core/test_tokens.py",
    ),
    _row(
        "I5",
        "a patch is not signed by its leader",
        "failoverd/core/patch.py",
        ("if left else tuple(ops)", "if False else tuple(ops)"),
        "tests/core/test_tokens.py",
    ),
    _row(
        "I8",
        "the leader's mark stays on the workload at home",
        "failoverd/core/patch.py",
        ("    if workload.leader is not None:\n        ops.append", "    if False:\n        ops.append"),
        "tests/core/test_tokens.py",
    ),
    _row(
        "I5",
        "after everybody was silent the last to come back is lost at once",
        "failoverd/core/hysteresis.py",
        ("    elif watch.doubted_at is not None:\n        spent", "    elif False:\n        spent"),
        "tests/core/test_doubt.py",
    ),
    _row(
        "I5",
        "a guest found off after a long outage of everything is dead at once",
        "failoverd/core/hysteresis.py",
        ("blind=reachable and gap > WELL_KNOWN", "blind=False"),
        "tests/core/test_doubt.py",
    ),
    _row(
        "I5",
        "a machine whose clock stood still goes on leading",
        "failoverd/adapters/kubernetes/lease.py",
        ("        if self._slept(", "        if False and self._slept("),
        "tests/adapters/test_kubernetes_lease.py",
    ),
    _row(
        "I5",
        "an act outside the cluster rests on an old look at the Lease",
        "failoverd/adapters/kubernetes/lease.py",
        ("max_age: timedelta = timedelta(seconds=1)", "max_age: timedelta = timedelta(seconds=10)"),
        "tests/adapters/test_kubernetes_tokens.py",
    ),
)
