"""Whole objects as each GitOps tool leaves them: who owns them, what is read of appliers."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from failoverd.adapters.kubernetes import applier, resources
from failoverd.adapters.kubernetes.cache import slim
from failoverd.adapters.kubernetes.owner import owner
from failoverd.core import names
from failoverd.core.model import ApplierReading, Owner, Suspension, Unknown
from failoverd.core.rules import Applier, ApplierKind
from tests.adapters.cluster import HELM_RELEASE, app
from tests.core.objects import application

DATA = Path(__file__).parents[1] / "data"
ARGO = application("argocd/media-apps")


def noted(kind: ApplierKind, since: datetime | None = None) -> Suspension:
    return Suspension(
        kind=kind, app="media/sonarr", epoch=3, why="failover to backup", before=None, held=False, since=since
    )


NOTE = noted(ApplierKind.HELM_RELEASE)


def kept(name: str, kind: str = "deployments"):
    """An object of the test data as the cache keeps it."""
    return slim(json.loads((DATA / "gitops" / f"{name}.json").read_text()), resources.KEEP[kind])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("helmrelease_deployment", (Owner.HELM_RELEASE, "media/sonarr")),
        ("helm_by_hand_deployment", (Owner.UNSUPPORTED, "Helm release sonarr")),
        ("kustomization_deployment", (Owner.FLUX, "flux-system/apps")),
        ("argocd_annotation_deployment", (Owner.ARGO, "media-apps")),
        ("argocd_label_deployment", (Owner.ARGO, "media-apps")),
        ("argocd_instance_deployment", (Owner.ARGO, "media-apps")),
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
    assert there - {"helmrelease", "application"} == {
        case.values[0] if hasattr(case, "values") else case[0]
        for mark in test_who_owns_a_deployment.pytestmark
        for case in mark.args[1]
    }


def test_an_application_outside_its_controllers_namespace_is_known_by_both():
    meta = kept("argocd_annotation_deployment")["metadata"]
    meta["annotations"]["argocd.argoproj.io/tracking-id"] = "team_media-apps:apps/Deployment:media/sonarr"
    assert owner(meta) == (Owner.ARGO, "team/media-apps")


def test_a_chart_that_names_its_helm_release_is_helms_whatever_touched_it_later():
    meta = kept("argocd_instance_deployment")["metadata"]
    meta["annotations"]["meta.helm.sh/release-name"] = "sonarr"
    assert owner(meta) == (Owner.UNSUPPORTED, "Helm release sonarr")


def read(change=lambda raw: None, which: Applier = HELM_RELEASE) -> ApplierReading | Unknown:
    name = "helmrelease" if which is HELM_RELEASE else "application"
    raw = copy.deepcopy(kept(name, f"{name}s"))
    change(raw)
    return applier.reading(raw, app(applier=which))


def test_a_helm_release_at_rest():
    assert read() == ApplierReading(
        kind=ApplierKind.HELM_RELEASE, uid="0d9f2c1b-7c59-4b9e-8d3e-0f6b8c2f4a55", version="48211990", switch=None,
        annotations=False, owner=Owner.FLUX, owner_name="media/sonarr",
    )  # fmt: skip


def annotated(**notes):
    return lambda raw: raw["metadata"].update(annotations={getattr(names, key): text for key, text in notes.items()})


def test_a_helm_release_that_we_suspended():
    def change(raw):
        annotated(SUSPENDED=str(NOTE), HOLD="Disabled")(raw)
        raw["spec"]["suspend"] = True

    found = read(change)
    assert isinstance(found, ApplierReading)
    assert (found.switch, found.ours, found.held, found.annotations) == ("true", NOTE, True, True)


@pytest.mark.parametrize(
    ("label", "note", "held"),
    [
        ("enabled", "disabled", True),
        ("Disabled", None, True),
        ("disabled", "enabled", True),
        ("enabled", None, False),
    ],
)
def test_a_label_or_an_annotation_holds_whatever_the_other_says(label, note, held):
    def change(raw):
        raw["metadata"]["labels"][names.HOLD] = label
        raw["metadata"]["annotations"] = {} if note is None else {names.HOLD: note}

    found = read(change)
    assert isinstance(found, ApplierReading)
    assert (found.held, found.hold) == (held, note)


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
    assert isinstance(found, ApplierReading)
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


def test_an_application_at_rest():
    assert read(which=ARGO) == ApplierReading(
        kind=ApplierKind.APPLICATION, uid="7e0b2f8e-6d0c-4b55-a6a1-b8a3c3f0a1d2", version="48212004", switch=None,
        annotations=False, applies=True, reconciled=datetime(2026, 11, 20, 18, 4, 31, tzinfo=UTC),
    )  # fmt: skip


def test_an_application_that_we_suspended():
    note = noted(ApplierKind.APPLICATION, datetime(2026, 11, 20, 18, 5, tzinfo=UTC))
    found = read(annotated(SUSPENDED=str(note), SKIP="true", HOLD="disabled"), ARGO)
    assert isinstance(found, ApplierReading)
    assert (found.suspended, found.switch, found.ours, found.held) == (True, "true", note, True)


@pytest.mark.parametrize(
    ("value", "suspends"), [("true", True), ("1", True), ("T", True), ("yes", False), ("", False)]
)
def test_an_application_is_suspended_by_what_go_takes_for_true(value, suspends):
    found = read(annotated(SKIP=value), ARGO)
    assert isinstance(found, ApplierReading)
    assert found.suspended is suspends


@pytest.mark.parametrize(
    ("change", "busy"),
    [
        (lambda raw: raw["status"]["operationState"].update(phase="Running"), "operation Running"),
        (lambda raw: raw["status"]["operationState"].update(phase="Terminating"), "operation Terminating"),
        (lambda raw: raw.update(operation={}), "operation asked for"),
        (lambda raw: raw["status"]["operationState"].update(phase="Failed"), ""),
        (lambda raw: raw["status"].pop("operationState"), ""),
    ],
)
def test_an_operation_that_was_asked_for_or_runs_makes_an_application_busy(change, busy):
    found = read(change, ARGO)
    assert isinstance(found, ApplierReading)
    assert found.busy == busy


def labelled(raw):
    raw["metadata"]["labels"] = {"app.kubernetes.io/instance": "root"}


@pytest.mark.parametrize(
    ("change", "whose"),
    [
        (lambda raw: raw["metadata"].update(ownerReferences=[{"kind": "ApplicationSet", "name": "apps"}]),
         (Owner.UNSUPPORTED, "ApplicationSet apps")),
        (lambda raw: raw["metadata"].update(labels={"argocd.argoproj.io/instance": "root"}), (Owner.ARGO, "root")),
        (lambda raw: raw["metadata"].update(annotations={
            "argocd.argoproj.io/tracking-id": "root:argoproj.io/Application:argocd/media-apps"}),
         (Owner.ARGO, "root")),
        (labelled, (Owner.ARGO, "root")),
        (lambda raw: raw["metadata"]["managedFields"].append({"manager": "argocd-controller"}),
         (Owner.UNSUPPORTED, "an Argo CD application (field manager argocd-controller, no label names it)")),
        (lambda raw: raw["metadata"].update(labels={
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}),
         (Owner.FLUX, "flux-system/apps")),
    ],
)  # fmt: skip
def test_whose_an_application_is(change, whose):
    found = read(change, ARGO)
    assert isinstance(found, ApplierReading)
    assert (found.owner, found.owner_name) == whose


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["status"]["resources"].pop(),
        lambda raw: raw["status"]["resources"][1].update(namespace="other"),
        lambda raw: raw.pop("status"),
    ],
)
def test_an_application_that_does_not_list_the_workload_is_not_what_applies_it(change):
    found = read(change, ARGO)
    assert isinstance(found, ApplierReading)
    assert not found.applies


def test_an_argo_cd_that_does_not_say_where_its_controller_is_may_be_too_old_to_skip_anything():
    found = read(lambda raw: raw["status"].pop("controllerNamespace"), ARGO)
    assert isinstance(found, ApplierReading)
    assert not found.heeds


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (annotated(SUSPENDED="yes"), "annotation failoverd.io/suspended: 'yes' is not what failoverd writes"),
        (lambda raw: raw["status"].update(reconciledAt="noon"), "status.reconciledAt is malformed"),
        (lambda raw: raw["status"].update(reconciledAt="2026-11-20T18:04:31"), "status.reconciledAt is malformed"),
        (lambda raw: raw["status"].update(resources="x"), "status.resources is malformed"),
        (lambda raw: raw["metadata"].pop("uid"), "uid is missing"),
    ],
)
def test_an_application_that_cannot_be_understood_is_unknown_and_says_why(change, why):
    assert read(change, ARGO) == Unknown(f"Application argocd/media-apps: {why}")
