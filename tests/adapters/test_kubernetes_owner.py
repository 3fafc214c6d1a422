"""Whole objects as each GitOps tool leaves them: who owns them, and what is read of a HelmRelease."""

import copy
import json
from pathlib import Path

import pytest

from failoverd.adapters.kubernetes import resources
from failoverd.adapters.kubernetes.cache import slim
from failoverd.adapters.kubernetes.owner import owner
from failoverd.adapters.kubernetes.release import release
from failoverd.core import names
from failoverd.core.model import Owner, Release, Suspension, Unknown

DATA = Path(__file__).parents[1] / "data"
NOTE = Suspension(app="media/sonarr", epoch=3, why="failover to backup", suspend=None, held=False)


def kept(name: str, kind: str = "deployments"):
    """An object of the test data as the cache keeps it."""
    return slim(json.loads((DATA / "gitops" / f"{name}.json").read_text()), resources.KEEP[kind])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("helmrelease_deployment", (Owner.HELM_RELEASE, "media/sonarr")),
        ("helm_by_hand_deployment", (Owner.UNSUPPORTED, "Helm release sonarr")),
        ("kustomization_deployment", (Owner.FLUX, "flux-system/apps")),
        ("argocd_annotation_deployment", (Owner.UNSUPPORTED, "Argo CD application media-apps")),
        ("argocd_label_deployment", (Owner.UNSUPPORTED, "Argo CD application media-apps")),
        ("argocd_unlabelled_deployment",
         (Owner.UNSUPPORTED, "an Argo CD application (field manager argocd-controller, no label names it)")),
        ("resourceset_deployment", (Owner.UNSUPPORTED, "ResourceSet apps of the Flux operator")),
        ("kubectl_deployment", (Owner.NONE, "")),
    ],
)  # fmt: skip
def test_who_owns_a_deployment(name, found):
    assert owner(kept(name)["metadata"]) == found


def test_every_object_of_the_test_data_is_asked_about():
    there = {path.stem for path in (DATA / "gitops").glob("*.json")}
    assert there - {"helmrelease"} == {
        case.values[0] if hasattr(case, "values") else case[0]
        for mark in test_who_owns_a_deployment.pytestmark
        for case in mark.args[1]
    }


def read(change=lambda raw: None) -> Release | Unknown:
    raw = copy.deepcopy(kept("helmrelease", "helmreleases"))
    change(raw)
    return release(raw, "media/sonarr")


def test_a_helm_release_at_rest():
    assert read() == Release(
        uid="0d9f2c1b-7c59-4b9e-8d3e-0f6b8c2f4a55", version="48211990", suspend=None, annotations=False,
        owner=Owner.FLUX, owner_name="media/sonarr",
    )  # fmt: skip


def annotated(**notes):
    return lambda raw: raw["metadata"].update(annotations={getattr(names, key): text for key, text in notes.items()})


def test_a_helm_release_that_we_suspended():
    def change(raw):
        annotated(SUSPENDED=str(NOTE), HOLD="Disabled")(raw)
        raw["spec"]["suspend"] = True

    found = read(change)
    assert isinstance(found, Release)
    assert (found.suspend, found.ours, found.held, found.annotations) == (True, NOTE, True, True)


@pytest.mark.parametrize(
    ("reason", "message", "busy"),
    [
        ("Progressing", "Running 'upgrade' action with timeout of 5m0s", True),
        ("Progressing", "Fulfilling prerequisites", False),
        ("ProgressingWithRetry", "Running 'upgrade' action with timeout of 5m0s", False),
    ],
)
def test_only_an_action_that_runs_makes_it_busy(reason, message, busy):
    condition = {"type": "Reconciling", "status": "True", "reason": reason, "message": message}
    found = read(lambda raw: raw["status"]["conditions"].append(condition))
    assert isinstance(found, Release)
    assert found.busy == (message if busy else "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (annotated(SUSPENDED="yes"), "annotation failoverd.io/suspended: 'yes' is not what failoverd writes"),
        (lambda raw: raw["spec"].update(suspend="true"), "spec.suspend is malformed"),
        (lambda raw: raw["metadata"].pop("uid"), "uid is missing"),
        (lambda raw: raw["status"].update(conditions="x"), "status.conditions is malformed"),
    ],
)
def test_what_cannot_be_understood_is_unknown_and_says_why(change, why):
    assert read(change) == Unknown(f"HelmRelease media/sonarr: {why}")
