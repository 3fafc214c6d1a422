"""Every write to a workload, or to what it is applied from, carries a token that another leader's write makes old."""

from collections.abc import Iterator

import pytest

from failoverd.core import names, patch
from failoverd.core.model import CommandKind, Instance, PatchApplier, PatchOp, PatchWorkload
from failoverd.core.patch import annotation
from failoverd.core.rules import ApplierKind, Require
from tests.core.build import KEY, TWO, B, P, an_app, some_rules
from tests.core.life import Life, at_rest, command, healthy
from tests.core.objects import TRACKING, Failed, application, helm_release, json_patch, parse
from tests.core.test_moves import arrived, powered_off, switch

PAIR = some_rules().pairs[0]
UID, VERSION = "/metadata/uid", "/metadata/resourceVersion"
BOTH = {annotation(names.EPOCH), annotation(names.LEADER)}


def is_guarded(ops: tuple[PatchOp, ...]) -> bool:
    """Whether a patch fails for another object, and once anybody of us has written since it was decided upon."""
    first = next((at for at, op in enumerate(ops) if op.op != "test"), len(ops))
    tested = {op.path for op in ops[:first]}
    return UID in tested and (VERSION in tested or tested >= BOTH)


def there_and_back(life: Life) -> None:
    powered_off(life)
    life.until(arrived(B))
    life.world.off.clear()
    life.until(arrived(P), 3000)


def away_undone_and_released(life: Life) -> None:
    switch(life)
    life.until(arrived(B))
    raw = life.world.raw[KEY]
    for hold in (names.HOLD, names.HELM_HOLD):
        raw["metadata"]["annotations"].pop(hold, None)
    if TRACKING in raw["metadata"]["annotations"]:  # nothing holds that one: what it would put back is put back
        (volume, *_) = raw["spec"]["template"]["spec"]["volumes"]
        volume["persistentVolumeClaim"]["claimName"] = life.world.rules.app(KEY).volumes[0].primary.claim
    life.run(10)
    life.commands = (command(CommandKind.RELEASE, id="c2"),)
    life.run(20)


def aborted(life: Life) -> None:
    key = (KEY, "data", B)
    life.world.pinned[key] = {"need_items": 3}
    switch(life)
    life.until(lambda one: bool(one.app().moves), 600)
    life.until(at_rest)


STORIES = {"there and back": there_and_back, "undone, released": away_undone_and_released, "aborted": aborted}


def written(app) -> Iterator[tuple[str, tuple[PatchOp, ...]]]:
    for name, story in STORIES.items():
        life = healthy(app)
        story(life)
        for act in life.world.did:
            if isinstance(act, PatchWorkload | PatchApplier):
                yield f"{name}: {type(act).__name__}: {act.reason}", act.ops


@pytest.mark.parametrize("applier", [None, helm_release("media/sonarr"), application("argocd/media")])
def test_every_patch_of_every_story_is_guarded_before_it_changes_anything(applier):
    found = dict(written(an_app(require=Require.PROOF, applier=applier)))
    assert {what for what, ops in found.items() if not is_guarded(ops)} == set()
    said = " ".join(found)
    argo = applier is not None and applier.kind is ApplierKind.APPLICATION
    for part in (
        "hold and replicas 0",
        "start at backup",
        "start at primary",
        "aborted: start",
        "no longer names" if argo else "vanished",
        "released",
    ):
        assert part in said
    assert ("PatchApplier" in said) == bool(applier)


def test_a_former_leaders_patch_fails_once_the_new_one_has_written_in_the_same_move():
    app = an_app()
    life = healthy(app)
    life.snapshot["instance"] = Instance(leader=True, holder="old", generation=3)
    life.world.updated = False  # its controller has not seen the stop yet: the move waits there
    switch(life)
    life.until(lambda one: names.EPOCH in one.world.raw[KEY]["metadata"]["annotations"])
    stopped = life.world.raw[KEY]
    assert stopped["metadata"]["annotations"][names.LEADER] == "3"
    late = patch.start(app, parse(stopped), life.app(), B, PAIR.backup)  # on its way, its sender asleep
    raw = json_patch(stopped, [PatchOp(op="replace", path="/spec/replicas", value=1)])  # somebody's hand
    life.world.raw[KEY] = raw
    life.snapshot["instance"] = Instance(leader=True, holder="new", generation=4)
    life.run(5)
    assert life.world.raw[KEY]["metadata"]["annotations"][names.LEADER] == "4"
    assert life.world.raw[KEY]["spec"]["replicas"] == 0  # all else is as the old one saw it
    with pytest.raises(Failed, match="io~1leader"):
        json_patch(life.world.raw[KEY], late)


def test_a_workload_without_the_leaders_mark_is_guarded_by_its_version():
    """As an earlier version left it."""
    life = healthy()
    switch(life)
    life.until(arrived(B))
    raw = life.world.raw[KEY]
    del raw["metadata"]["annotations"][names.LEADER]
    ops = patch.start(an_app(), parse(raw), life.app(), P, PAIR.primary)
    assert PatchOp(op="test", path=VERSION, value=raw["metadata"]["resourceVersion"]) in ops


def test_at_home_nothing_of_it_is_left():
    life = healthy(an_app(), an_app(TWO))
    switch(life)
    life.until(arrived(B))
    assert names.LEADER in life.world.raw[KEY]["metadata"]["annotations"]
    life.commands = (command(CommandKind.FAILBACK, target=P, id="c2"),)
    life.until(arrived(P))
    assert set(life.world.raw[KEY]["metadata"]["annotations"]) == {"deployment.kubernetes.io/revision"}


def test_a_mark_that_an_older_version_left_at_home_comes_off():
    """It knows its own two marks only, and may have brought the app home."""
    life = healthy()
    life.world.raw[KEY]["metadata"]["annotations"][names.LEADER] = "3"
    life.run(5)
    assert set(life.world.raw[KEY]["metadata"]["annotations"]) == {"deployment.kubernetes.io/revision"}
