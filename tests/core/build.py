"""Builders of worlds for the core: small, mutable, in memory, with nothing but what `decide` can see or do.

A `World` is two sites with power, leases, guests, folders, workloads (real Deployment dicts) and pods. A `Life` is
one daemon in it: Memory outlives it, Watch does not. Every action is carried out truthfully, unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from failoverd.core import names
from failoverd.core.again import replace
from failoverd.core.memory import Version
from failoverd.core.model import (
    Action,
    Amounts,
    Api,
    ApplierReading,
    ClaimReading,
    DeletePod,
    DropConnection,
    FenceOff,
    FenceOn,
    FetchVersions,
    FindVersions,
    Folder,
    Guest,
    GuestState,
    Instance,
    Kubelet,
    Lease,
    Needs,
    NodeObject,
    NodeReading,
    Now,
    Override,
    PatchApplier,
    PatchWorkload,
    Pod,
    Receipt,
    Revert,
    Scan,
    Scanned,
    ScanPoints,
    SetIgnores,
    SetRole,
    Snapshot,
    TaintNode,
    Unknown,
    UntaintNode,
    Want,
    Workload,
)
from failoverd.core.quantities import total
from failoverd.core.rules import App, Applier, Copy, Mode, Pair, Place, Rules, Site, Volume, WorkloadKind
from tests.core.guards import Guards
from tests.core.objects import Failed, applied, deployment, json_patch, parse, parse_applier

EPOCH_OF_TESTS = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
P, B = Site.PRIMARY, Site.BACKUP
TAINT = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
W1, W2, CP = "w1", "w2", "cp1"
ROOM: Amounts = (("cpu", 4000), ("memory", 8 << 30), ("pods", 110))
KEY, TWO = "media/sonarr", "docs/paperless"


def volume(app: str, name: str) -> Volume:
    stem = app if name == "data" else f"{app}-{name}"
    return Volume(
        name=name,
        primary=Copy(claim=f"pvc-{stem}", source=f"{stem}-primary"),
        backup=Copy(claim=f"pvc-{stem}-backup", source=f"{stem}-backup"),
    )


def an_app(key: str = KEY, volumes: tuple[str, ...] = ("data",), **changes: Any) -> App:
    namespace, name = key.split("/")
    made = App(
        key=key,
        namespace=namespace,
        name=name,
        kind=WorkloadKind.DEPLOYMENT,
        pair="home",
        volumes=tuple(volume(name, one) for one in volumes),
    )
    return replace(made, **changes)


def some_rules(*apps: App, fence: str = "pve", **changes: Any) -> Rules:
    pair = Pair(
        name="home",
        primary=Place(node=W1, selector=(("role", "primary"),), domain="pve", fence=fence),
        backup=Place(node=W2, selector=(("role", "backup"),), domain="nas"),
    )
    made = Rules(
        mode=Mode.ACTIVE,
        pairs=(pair,),
        apps=apps or (an_app(),),
        witnesses=((CP, "cp"), (W1, "pve"), (W2, "nas")),
        fence_hash="f1",
    )
    return replace(made, **changes)


def a_folder(device: str, kind: str, **changes: Any) -> Folder:
    made = Folder(
        device=device,
        started="boot-1",
        type=kind,
        state="idle",
        sequence=100,
        remote_sequence=100,
        connected=True,
        local_files=7,
        ignores=(names.SHM_PATTERN,),
    )
    return replace(made, **changes)


@dataclass
class World:
    """Two sites as they truly are."""

    rules: Rules
    s: float = 0.0
    api: bool = True
    off: set[str] = field(default_factory=set)
    """Nodes without power; their guests say stopped."""
    cut: set[str] = field(default_factory=set)
    """Nodes that live but cannot be reached."""
    stalled: bool = False
    """Leases cannot be written, though reads succeed."""
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per node: fields of its reading that a test pins."""
    raw: dict[str, dict[str, Any]] = field(default_factory=dict)
    appliers: dict[Applier, dict[str, Any]] = field(default_factory=dict)
    """HelmReleases and Applications."""
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    folders: dict[tuple[str, str, Site], Folder] = field(default_factory=dict)
    unread: dict[Any, str] = field(default_factory=dict)
    """Keys of folders, claims or workloads that cannot be read."""
    pinned: dict[tuple[str, str, Site], dict[str, Any]] = field(default_factory=dict)
    claims: dict[tuple[str, str, Site], ClaimReading] = field(default_factory=dict)
    used: dict[str, Amounts] = field(default_factory=dict)
    """Requests of other people's pods on a node; nothing where it is not named."""
    needs: dict[str, Needs] = field(default_factory=dict)
    """What an app asks of a node, where that is not nothing."""
    deaf: set[type[Action]] = field(default_factory=set)
    """Kinds of action that fail."""
    did: list[Action] = field(default_factory=list)
    versions: dict[tuple[str, str, Site], dict[str, tuple[Version, ...]]] = field(default_factory=dict)
    """What `FindVersions` finds for a path of one copy."""
    fetched: list[tuple[Version, ...]] = field(default_factory=list)
    gone: set[tuple[str, str, Site]] = field(default_factory=set)  # copies in which it was put aside again
    updated: bool = True
    tainted: dict[str, bool] = field(default_factory=dict)
    """Nodes with the taint `out-of-service`, and whether it is ours."""
    guards: Guards = field(default_factory=Guards)
    _renewed: dict[str, float] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        for app in self.rules.apps:
            self.raw[app.key] = deployment(app)
            if app.applier:
                self.appliers.setdefault(app.applier, applied(app.applier))
            self.pods[app.key] = []
            for one in app.volumes:
                self.folders[app.key, one.name, P] = a_folder(f"{one.primary.source}-ID", "sendonly")
                self.folders[app.key, one.name, B] = a_folder(f"{one.backup.source}-ID", "receiveonly")
        self.advance(0)
        self.advance(0)

    @property
    def now(self) -> Now:
        span = timedelta(seconds=self.s)
        return Now(timedelta(seconds=5000) + span, EPOCH_OF_TESTS + span)

    @property
    def date(self) -> datetime:
        return (EPOCH_OF_TESTS + timedelta(seconds=self.s)).replace(microsecond=0)

    def lives(self, node: str) -> bool:
        return node not in self.off

    def advance(self, seconds: float) -> None:
        """Time goes by: leases are renewed every 10 s, controllers and kubelets do their work."""
        self.s += seconds
        for node in (CP, W1, W2):
            due = self.s - self._renewed.get(node, -99.0) >= 10
            if due and self.lives(node) and node not in self.cut and self.api and not self.stalled:
                self._renewed[node] = self.s
        for app in self.rules.apps:
            self._reconcile(app)
        if self.rules.guard is not None:
            for key in self.folders:
                node = self.rules.place(self.rules.app(key[0]), key[2]).node
                if self.api and self.lives(node) and node not in self.cut:
                    self.guards.work(key, self.date, bool(self.writing(key[0], key[2])))

    def writing(self, key: str, site: Site) -> list[Pod]:
        """Pods that have the copies of a site open."""
        node = self.rules.place(self.rules.app(key), site).node
        return [pod for pod in self.pods[key] if pod.owned and pod.node == node and self.lives(node)]

    def _reconcile(self, app: App) -> None:
        raw, pods = self.raw[app.key], self.pods[app.key]
        spec = raw["spec"]["template"]["spec"]
        site = next((one for one in Site if self.runs_at(app, one)), None)
        node = self.rules.place(app, site).node if site else ""
        fits = site is not None and (spec.get("nodeSelector") or {}).get("role", site.value) == site.value
        owned = [pod for pod in pods if pod.owned]
        for pod in owned:
            if raw["spec"]["replicas"] == 0 and self.lives(pod.node) and pod.node not in self.cut:
                pods.remove(pod)
        if raw["spec"]["replicas"] and not owned and fits and self.lives(node) and node not in self.cut:
            self._made += 1
            claims = tuple(one.copy(site or P).claim for one in app.volumes)
            pods.append(
                Pod(name=f"{app.name}-{self._made}", uid=f"pod-{self._made}", node=node, claims=claims, owned=True)
            )
        else:
            pods[:] = [replace(pod, ready=True) if pod.owned and self.lives(pod.node) else pod for pod in pods]

    def runs_at(self, app: App, site: Site) -> bool:
        volumes = self.raw[app.key]["spec"]["template"]["spec"]["volumes"]
        named = {one.get("persistentVolumeClaim", {}).get("claimName") for one in volumes}
        return all(one.copy(site).claim in named for one in app.volumes)

    def reading(self, node: str, confirm: frozenset[str]) -> NodeReading:
        guest = (
            Guest(state=GuestState.RUNNING if self.lives(node) else GuestState.STOPPED)
            if self.rules.fence(node)
            else None
        )
        silent = not self.lives(node) or node in self.cut
        made = NodeReading(
            lease=Lease(stamp=f"{self._renewed.get(node, 0):.1f}"),
            node=NodeObject(
                ready="Unknown" if self.s - self._renewed.get(node, 0) > 40 else "True",
                allocatable=ROOM,
                taints=(TAINT,) if node in self.tainted else (),
                out_of_service=self.tainted.get(node, False),
            ),
            used=self.requested(node),
            uncached=node in confirm,
            kubelet=Kubelet.SILENT if silent else Unknown("not probed"),
            guest=guest,
        )
        return replace(made, **self.nodes.get(node, {}))

    def requested(self, node: str) -> Amounts:
        ours = [
            self.needs.get(key, Needs()).requests
            for key, pods in self.pods.items()
            for pod in pods
            if pod.owned and pod.node == node
        ]
        return total([self.used.get(node, ()), *ours])

    def folder(self, key: tuple[str, str, Site]) -> Folder | Unknown:
        node = self.rules.place(self.rules.app(key[0]), key[2]).node
        if key in self.unread or not self.lives(node) or node in self.cut:
            return Unknown(self.unread.get(key, "no answer within 2 s"))
        other = self.folders[key[0], key[1], key[2].other]
        made = replace(self.folders[key], remote_sequence=other.sequence, peer=other.device)
        return replace(made, **self.pinned.get(key, {}))

    def workload(self, key: str) -> Workload | Unknown:
        if key in self.unread:
            return Unknown(self.unread[key])
        needs = self.needs.get(key, Needs())
        made = replace(parse(self.raw[key], self.pods[key]), updated=self.updated, needs=needs)
        which = self.rules.app(key).applier
        return replace(made, applier=self.applier(which)) if which else made

    def applier(self, one: Applier) -> ApplierReading | Unknown:
        return Unknown(self.unread[one]) if one in self.unread else parse_applier(one, self.appliers[one])

    def snapshot(self, confirm: frozenset[str] = frozenset(), **changes: Any) -> Snapshot:
        lost = Unknown("no answer within 3 s")
        made = Snapshot(
            api=Api(date=self.date) if self.api else lost,
            instance=Instance(leader=True, holder="me"),
            nodes={
                node: self.reading(node, confirm) if self.api else NodeReading(lease=lost, node=lost)
                for node in (CP, W1, W2)
            },
            workloads={key: self.workload(key) if self.api else lost for key in self.raw},
            folders={key: self.folder(key) for key in self.folders},
            claims={
                key: self.claims.get(key, ClaimReading(bound=True, volume="pv"))
                if key not in self.unread
                else Unknown(self.unread[key])
                for key in self.folders
            },
            guards={
                key: self.guards.reading(key) if self.api and key not in self.guards.unread else lost
                for key in self.folders
            }
            if self.rules.guard is not None
            else {},
        )
        return replace(made, **changes)

    def do(self, action: Action) -> Receipt:
        """Carry out one action as the real world would."""
        self.did.append(action)
        if type(action) in self.deaf:
            return Receipt(action=action, ok=False, detail="refused")
        match action:
            case PatchWorkload(app=key, ops=ops):
                try:
                    self.raw[key] = json_patch(self.raw[key], ops)
                except Failed as error:
                    return Receipt(action=action, ok=False, detail=str(error))
                version = int(self.raw[key]["metadata"]["resourceVersion"]) + 1
                self.raw[key]["metadata"]["resourceVersion"] = str(version)
            case PatchApplier(applier=which, ops=ops):
                try:
                    self.appliers[which] = json_patch(self.appliers[which], ops)
                except Failed as error:
                    return Receipt(action=action, ok=False, detail=str(error))
                meta = self.appliers[which]["metadata"]
                meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1)
                if not meta.get("annotations", True):
                    del meta["annotations"]  # as the API server does
            case DeletePod(app=key, uid=uid):
                self.pods[key][:] = [pod for pod in self.pods[key] if pod.uid != uid]
            case FenceOff() | FenceOn() | TaintNode() | UntaintNode():
                self._node(action)
            case Want(app=key, volume=name, site=site, wanted=wanted, version=version):
                if not self.guards.told((key, name, site), wanted, version):
                    return Receipt(action=action, ok=False, detail="409 it was changed meanwhile")
            case _:
                return self._sync(action)
        return Receipt(action=action, ok=True)

    def _node(self, action: FenceOff | FenceOn | TaintNode | UntaintNode) -> None:
        match action:
            case FenceOff(node=node):
                self.off.add(node)
            case FenceOn(node=node):
                self.off.discard(node)
            case TaintNode(node=node):
                self.tainted.setdefault(node, True)
            case UntaintNode(node=node) if self.tainted.get(node):
                del self.tainted[node]

    def _sync(self, action: Action) -> Receipt:
        synced = (
            SetRole
            | SetIgnores
            | Scan
            | ScanPoints
            | Override
            | Revert
            | DropConnection
            | FindVersions
            | FetchVersions
        )
        assert isinstance(action, synced), action
        key = (action.app, action.volume, action.site)
        seen = self.folder(key)
        if isinstance(seen, Unknown):
            return Receipt(action=action, ok=False, detail=seen.why)
        found = None
        match action:
            case SetRole(role=role, keep=keep):
                kept = seen.versioning if keep is None else "simple" if keep else ""
                self.folders[key] = replace(self.folders[key], type=str(role), versioning=kept)
            case SetIgnores(patterns=patterns):
                self.folders[key] = replace(self.folders[key], ignores=patterns)
            case Scan():
                found = Scanned(
                    at=self.date, sequence=seen.sequence, errors=seen.errors, started=seen.started, device=seen.device
                )
            case FindVersions(path=path):
                versions = self.versions.get(key, {}).get(path, ())
                text = "" if versions else f"no version of {path}"
                return Receipt(action=action, ok=True, found=versions, detail=text)
            case FetchVersions(files=files):
                if not seen.versioning:
                    there = files in self.fetched and key not in self.gone
                    return Receipt(action=action, ok=there, detail="" if there else "not there", unsure=not there)
                assert not [pod for pod in self.pods[key[0]] if pod.owned], "a pod of the app was there"
                self.gone.discard(key)
                self.fetched.append(files)
            case Override():
                self.folders[key] = replace(self.folders[key], need_items=0)
            case DropConnection(started=started) if started == seen.started:
                self._made += 1
                self.folders[key] = replace(self.folders[key], started=f"again-{self._made}")
                for site in Site:
                    self.pinned.get((key[0], key[1], site), {}).pop("connected", None)
            case Revert():
                self.folders[key] = replace(self.folders[key], receive_only=0)
        return Receipt(action=action, ok=True, scanned=found)
