"""Where nothing may be suspended, or not what is named, no app moves; and what the note of a suspension says."""

from dataclasses import replace

import pytest

from failoverd.core import names
from failoverd.core.model import Owner, Suspension
from failoverd.core.rules import ApplierKind
from tests.core.build import EPOCH_OF_TESTS, KEY, W1, World, an_app
from tests.core.life import healthy, kinds
from tests.core.objects import TRACKING
from tests.core.test_gitops import ARGO, HELM, away, begun, refused, which

__all__ = ["which"]  # a fixture
HELM_LABELS = {names.HELM_NAME: "sonarr", names.HELM_NAMESPACE: "media"}


@pytest.mark.parametrize(
    ("labels", "tracked", "configured", "said"),
    [
        (HELM_LABELS, "", None,
         'belongs to HelmRelease media/sonarr, which would undo the patch: set helm_release = "media/sonarr"'),
        (HELM_LABELS, "", HELM, "belongs to HelmRelease media/sonarr, the configuration names media/apps"),
        (HELM_LABELS, "", ARGO, "belongs to HelmRelease media/sonarr, the configuration names Application"),
        ({}, "", HELM, f"carries no trace of {HELM}, which the configuration names"),
        ({}, "", ARGO, f"carries no trace of {ARGO}, which the configuration names"),
        ({}, "media", None,
         'belongs to Application media, which would undo the patch: set argo_application = "media" for it'),
        ({}, "media", ARGO, "belongs to Application media, the configuration names argocd/apps"),
        ({}, "team/apps", ARGO, "belongs to Application team/apps, the configuration names argocd/apps"),
        ({}, "apps", HELM, "belongs to Application apps, the configuration names HelmRelease media/apps"),
    ],
)  # fmt: skip
def test_the_configuration_and_the_workload_must_name_the_same_applier(labels, tracked, configured, said):
    life = healthy(an_app(applier=configured))
    life.world.raw[KEY]["metadata"]["labels"] = labels
    life.world.raw[KEY]["metadata"]["annotations"] = {TRACKING: tracked} if tracked else {}
    assert said in refused(life)


@pytest.mark.parametrize("tracked", ["apps", "argocd/apps"])
def test_an_application_is_known_with_and_without_its_namespace(tracked):
    life = begun(ARGO)
    life.world.raw[KEY]["metadata"]["annotations"][TRACKING] = tracked
    away(life)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": Owner.UNSUPPORTED, "owner_name": "ApplicationSet apps"},
         "belongs to ApplicationSet apps, which would resume it"),
        ({"owner": Owner.ARGO, "owner_name": "root"}, "belongs to Application root, which would resume it"),
        ({"deleting": True}, "is being deleted"),
        ({"heeds": False}, "has no status.controllerNamespace: its Argo CD may be too old to heed"),
        ({"applies": False}, f"does not list Deployment {KEY} among its resources"),
    ],
)  # fmt: skip
def test_where_a_suspension_would_not_last_or_is_not_of_the_workload_nothing_moves(which, changes, said, monkeypatch):
    life = begun(which)
    monkeypatch.setattr(life.world, "applier", lambda one: replace(World.applier(life.world, one), **changes))
    life.world.off.add(W1)
    life.run(60)
    assert f"{which} {said}" in life.told()
    assert "PatchApplier" not in kinds(life.world.did)


def test_the_note_says_back_what_it_was_told_and_nothing_else_passes_for_one():
    told = {
        ApplierKind.HELM_RELEASE: (None, "true", "false"),
        ApplierKind.APPLICATION: (None, "", 'a", hold absent', "; before: skip-reconcile"),
    }
    for kind, words in told.items():
        for before in words:
            for held in (True, False):
                note = Suspension(kind=kind, app="a/b", epoch=7, why="failover; before: x", before=before, held=held)
                assert Suspension.of(str(note)) == note
                timed = replace(note, since=EPOCH_OF_TESTS)
                assert Suspension.of(str(timed)) == timed
    note = Suspension(kind=ApplierKind.HELM_RELEASE, app="a/b", epoch=7, why="failover", before=None, held=False)
    strange = (
        str(note).replace("suspend absent", "suspend x"),
        str(note).replace("suspend absent", "skip-reconcile x"),
    )
    for text in ("", "true", str(note).replace("7", "x"), f"{note} ", f"{note}; since noon", *strange):
        with pytest.raises(ValueError, match="not what failoverd writes"):
            Suspension.of(text)
