"""Breakages of the promise that everything is restored exactly: rows of `breakages.py`."""

from __future__ import annotations

from scripts.breakage import row as _row

HOME = (
    _row(
        "I8",
        "going home leaves the hold on the workload",
        "failoverd/core/patch.py",
        ("    if workload.held and not undo.held:", "    if False:"),
        "tests/core/test_patch.py",
        "tests/test_scenarios.py",
    ),
    _row(
        "I8",
        "what an app is applied from stays suspended at home",
        "failoverd/core/gitops.py",
        ("        return list(resume(case)), []", "        return [], []"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "what an app is applied from is resumed to something else than it was",
        "failoverd/core/gitops.py",
        ("before=ours.before if ours else applier.switch", "before=None"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "a workload is touched before what it is applied from is suspended",
        "failoverd/core/gitops.py",
        ("    if not is_suspended(workload):\n        why", "    if False:\n        why"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "a suspension that vanishes while an app is away is not put back",
        "failoverd/core/gitops.py",
        ("    return list(suspend(case, said)), [alarm]", "    return [], [alarm]"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "an Application that does not list the workload is suspended in its owner's place",
        "failoverd/core/gitops.py",
        ("    if not applier.applies:", "    if False:"),
        "tests/core/test_gitops_refusals.py",
    ),
    _row(
        "I8",
        "an Application is suspended though its Argo CD may be too old to know that",
        "failoverd/core/gitops.py",
        ("    if not applier.heeds:", "    if False:"),
        "tests/core/test_gitops_refusals.py",
    ),
    _row(
        "I8",
        "an Application that is reconciled though it is suspended is not said",
        "failoverd/core/gitops.py",
        ("applier.reconciled - since <= GOES_ON:", "True:"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I8",
        "an Application of an ApplicationSet counts as nobody's",
        "failoverd/adapters/kubernetes/applier.py",
        ('    for reference in dig(meta, "ownerReferences", kind=list) or []:', "    for reference in []:"),
        "tests/adapters/test_kubernetes_owner.py",
    ),
    _row(
        "I8",
        "going home does not restore the replicas",
        "failoverd/core/patch.py",
        ("value=was.undo.replicas", "value=1"),
        "tests/core/test_patch.py",
    ),
    _row(
        "I8",
        "going home does not restore the nodeSelector",
        "failoverd/core/patch.py",
        ("        ops += _unselect(workload, was.undo)\n", ""),
        "tests/core/test_patch.py",
    ),
    _row(
        "I8",
        "an app whose memory was lost takes the place where it was found for its home",
        "failoverd/core/intent.py",
        ("    if workload.epoch is None:\n        return now\n", "    return now\n"),
        "tests/core/test_lost_memory.py",
    ),
    _row(
        "I8",
        "what an app is applied from is resumed while another app of it is away",
        "failoverd/core/gitops.py",
        (" or applier.ours is None or _needed(case):", " or applier.ours is None:"),
        "tests/core/test_gitops.py",
    ),
    _row(
        "I10",
        "an app starts again while what was fetched could still be fetched over",
        "failoverd/core/restoring.py",
        ("    if folder.versioning:\n        if _late(case, move):", "    if False:\n        if _late(case, move):"),
        "tests/core/test_restoring.py",
    ),
    _row(
        "I1",
        "a file is fetched back while a pod of the app is there",
        "failoverd/core/asking.py",
        ("    left = [*case.pods(), *case.strangers()]", "    left = case.pods()[:0]"),
        "tests/core/test_restoring.py",
    ),
    _row(
        "I10",
        "a file that is there already is asked for again",
        "failoverd/adapters/syncthing/fetching.py",
        (
            "    return [one for one in files if listed(one, kept) or not like(now[one.path], one)]",
            "    return list(files)",
        ),
        "tests/adapters/test_syncthing_restore.py",
    ),
    _row(
        "I4",
        "a database is fetched beside the -wal of another one",
        "failoverd/adapters/syncthing/choose.py",
        ("        if not near and name in live:", "        if False:"),
        "tests/adapters/test_syncthing_restore.py",
    ),
)
