"""The lab with its apps and the daemon's rights, and what tests ask of it: whose copy holds what, who runs where."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e.daemon import NAMESPACE, SCRIPT, SERVICE, Daemon, Late, until
from tests.lab import timeline
from tests.lab.lab import Lab
from tests.lab.layout import LabError
from tests.lab.manifests.apps import PAPERLESS, SONARR, App, Volume
from tests.lab.standins import hands
from tests.lab.standins.deploy import UNREACHABLE, install

Table = dict[str, Any]
APPS: dict[str, App] = {
    app.name: app
    for app in (SONARR, PAPERLESS, replace(SONARR, name="radarr"), replace(SONARR, name="lidarr", kind="StatefulSet"))
}
NODE = {"primary": "k3s-w1", "backup": "k3s-w2"}
MEDIA = "/namespaces/media"
KUSTOMIZATION = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps"
FOLDER = "/rest/config/folders/syncthing-folder-id"
FRESH = 120
"""Seconds: an older copy is not one that a test should begin with."""
MERGE = "application/merge-patch+json"
FIGURES: list[str] = []
"""What was measured, printed when the suite has ended."""


def figure(text: str) -> None:
    """Note a measurement."""
    FIGURES.append(text)
    print(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing an app has written: its number, when, and on which node."""

    n: int
    at: float
    host: str


class World:
    """A furnished lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.daemon = Daemon(lab)
        self.since = time.time()
        """When the running test began: older lines of the timeline are not its own."""
        self._reset: dict[tuple[str, str], set[int]] = {}

    def furnish(self) -> None:
        """Apps, the daemon's namespace, its accounts and Roles as it prints them."""
        if "proxmox" in self.lab.status()["pve"]["services"]:
            self.mend()
        install(self.lab, APPS.values())
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.lab.api("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
        self.daemon.configure()
        argv = [str(SCRIPT), "--config", str(self.daemon.config), "config", "rbac"]
        roles = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        self.lab.kubectl("apply", "-f", "-", stdin=roles)

    # ------------------------------------------------------------ between tests

    def begin(self, *, healthy: Iterable[str] = tuple(APPS), **settings: Any) -> None:
        """Put everything home if it is not, and start a daemon with these settings that has taken it all in."""
        self.mend()
        self.daemon.configure(**settings)
        fenced = settings.get("fence", True)
        if not self._goes_on(healthy, fenced=fenced):
            self.daemon.stop()
            if not self.at_home():
                self.reset()
            self.daemon.start()
            until(lambda: self._taken_in(healthy, fenced=fenced), 120, "the daemon has taken every app in")
        self.daemon.chat_file.unlink(missing_ok=True)
        self.since = time.time()

    def _goes_on(self, healthy: Iterable[str], *, fenced: bool) -> bool:
        """Whether the daemon of the last test has these very settings and everything is well with it."""
        if self.daemon.pid is None or not self.daemon.unchanged or not self.at_home():
            return False
        with contextlib.suppress(Late):
            return until(lambda: self._taken_in(healthy, fenced=fenced), 30, "everything is well")
        return False

    def _taken_in(self, healthy: Iterable[str], *, fenced: bool) -> bool:
        status = self.daemon.status()
        assert status["instance"]["leader"], "it does not lead"
        assert status["instance"]["ready"], status["instance"]["missing"]
        for node, seen in status["nodes"].items():
            assert seen["verdict"] == "UP", f"{node}: {seen}"
        for name in healthy:
            self.well(status["apps"][f"media/{name}"], "primary")
        mapped = self.daemon.memory()["nodes"].get("k3s-w1", {}).get("mapped")
        assert mapped or not fenced, "the guest of k3s-w1 was not seen running yet"
        return True

    @staticmethod
    def well(app: Table, site: str) -> bool:
        """Whether the app rests at `site` with a clean standby of known age. Raises AssertionError saying why not."""
        assert (app["phase"], app["active"]) == ("watching", site), f"{app['phase']} on {app['active']}: {app}"
        for name, volume in app["volumes"].items():
            assert {"active", "clean"} == {copy["standing"] for copy in volume["copies"].values()}, f"{name}: {app}"
            assert volume["age_seconds"] is not None, f"{name}: age unknown"
            assert volume["age_seconds"] < FRESH, f"{name}: its copy is {volume['age_seconds']} s old"
        return True

    def settled(self, name: str, site: str, seconds: float = 150) -> Table:
        """Wait until an app is Ready at `site`, its standby clean again; its part of the status."""

        def there() -> Table | None:
            app = self.daemon.app(name)
            return app if self.well(app, site) and self.ready_on(name) == NODE[site] else None

        return until(there, seconds, f"{name} rests on {site} with a clean standby")

    def mend(self) -> None:
        """Undo what was done to hosts and stand-ins."""
        self.lab.restore()
        hands.switch(self.lab)
        until(lambda: all(self.node_ready(node) for node in NODE.values()), 60, "both nodes are Ready")
        for app in APPS.values():
            for primary, backup in app.sources() if self.pods(app.name) else ():
                until(partial(self._reconnect, primary, backup), 60, f"{primary} and {backup} answer")

    def _reconnect(self, *pair: str) -> bool:
        """Whether both movers answer, a dead connection between them dropped."""
        with contextlib.suppress(LabError, *UNREACHABLE):
            hands.reconnect(self.lab, "media", *pair)
            return True
        return False

    def at_home(self) -> bool:
        """Whether every app runs on the primary with a clean standby, so that nothing need be undone."""
        remembered = self.daemon.memory().get("apps", {})
        for name in APPS:
            kept = remembered.get(f"media/{name}")
            if kept is None or (kept["phase"], kept["active"], kept["undo"]) != ("watching", "primary", None):
                return False
            copies = [copy for volume in kept["volumes"].values() for copy in volume["copies"].values()]
            if {copy["standing"] for copy in copies} != {"active", "clean"} or self.ready_on(name) != "k3s-w1":
                return False
        return not self.daemon.memory().get("pauses")

    def reset(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Everything as if failoverd had never been here: both copies equal to the primary's, roles as VolSync's.

        `meanwhile` is called when no app runs and Flux starts none.
        """
        # The history too: moves are counted from 1 again, and one with a known id takes the older one's place.
        for what in ("memory", "commands", "history"):
            self.lab.api("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/failoverd-{what}")
        with self.flux_suspended():
            for name, app in APPS.items():
                self.lab.kubectl(
                    "-n", "media", "delete", app.kind.lower(), name, "--ignore-not-found", "--wait=false"
                )
                self.lab.kubectl(
                    "-n", "media", "delete", "pod", "-l", f"app.kubernetes.io/name={name}", "--wait=true"
                )
            meanwhile()
            for app in APPS.values():
                for volume in app.volumes:
                    self._equalise(app.source(volume, "primary"), app.source(volume, "backup"))
        self.reconcile()
        for name in APPS:
            self.ready(name, "k3s-w1")
        self._reset = self.all_missing("primary")

    def _equalise(self, primary: str, backup: str) -> None:
        def rest(source: str, method: str, path: str, body: Any = None) -> Any:
            return hands.syncthing(self.lab, "media", source, method, path, body)

        def reach(source: str, kind: str) -> bool:
            try:
                rest(source, "PATCH", FOLDER, {"type": kind, "paused": False, "versioning": {"type": ""}})
            except (LabError, *UNREACHABLE):
                hands.poke(self.lab, "media", source, str(time.time()))
                return False
            return True

        until(lambda: reach(primary, "sendonly"), 120, f"{primary} answers")
        until(lambda: reach(backup, "receiveonly"), 120, f"{backup} answers")

        def equal() -> bool:
            with contextlib.suppress(LabError, *UNREACHABLE):
                for source in (primary, backup):
                    rest(source, "POST", f"/rest/db/scan?{hands.FOLDER}")
                rest(primary, "POST", f"/rest/db/override?{hands.FOLDER}")
                rest(backup, "POST", f"/rest/db/revert?{hands.FOLDER}")
                here, there = (rest(s, "GET", f"/rest/db/status?{hands.FOLDER}") for s in (primary, backup))
                lacks = sum(one[key] for one in (here, there) for key in ("needTotalItems", "receiveOnlyTotalItems"))
                return bool(lacks == 0 and here["globalFiles"] == there["localFiles"])
            return False

        # Twice: a conflict copy made while the first look was taken is in no index before the next scan.
        for _ in range(2):
            until(equal, 120, f"{primary} and {backup} hold the same", every=2)
        for source in (primary, backup):
            until(partial(reach, source, "sendreceive"), 120, f"{source} answers")

    # ------------------------------------------------------------ the cluster

    def node_ready(self, node: str) -> bool:
        """Whether a node's Ready condition is True."""
        conditions = self.lab.api("GET", f"/api/v1/nodes/{node}")[1]["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def pods(self, name: str) -> list[Table]:
        """The app's pods."""
        path = f"/api/v1{MEDIA}/pods?labelSelector=app.kubernetes.io%2Fname%3D{name}"
        found: list[Table] = self.lab.api("GET", path)[1]["items"]
        return found

    def ready_on(self, name: str) -> str:
        """The node on which the app has a Ready pod; empty while there is none."""
        for pod in self.pods(name):
            conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
            if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
                return str(pod["spec"]["nodeName"])
        return ""

    def ready(self, name: str, node: str, seconds: float = 120) -> None:
        """Wait until the app has a Ready pod on this node."""
        until(lambda: self.ready_on(name) == node, seconds, f"{name} is Ready on {node}")

    def workload(self, name: str) -> str:
        """All of a workload that somebody could have changed: spec, labels and annotations, as bytes."""
        answer = self.lab.api("GET", f"/apis/apps/v1{MEDIA}/{APPS[name].kind.lower()}s/{name}")[1]
        meta = {key: dict(answer["metadata"].get(key, {})) for key in ("labels", "annotations")}
        # Kubernetes' own count of rollouts.
        meta["annotations"].pop("deployment.kubernetes.io/revision", None)
        return json.dumps({"spec": answer["spec"], **meta}, sort_keys=True)

    @contextlib.contextmanager
    def flux_suspended(self) -> Iterator[None]:
        """Flux applies nothing meanwhile; what it had begun has ended."""

        def at_rest() -> bool:
            conditions = self.lab.api("GET", KUSTOMIZATION)[1]["status"].get("conditions", [])
            return not any(one["type"] == "Reconciling" and one["status"] == "True" for one in conditions)

        self.lab.api("PATCH", KUSTOMIZATION, {"spec": {"suspend": True}}, MERGE)
        try:
            until(at_rest, 200, "Flux is at rest")
            yield
        finally:
            self.lab.api("PATCH", KUSTOMIZATION, {"spec": {"suspend": False}}, MERGE)

    def reconcile(self) -> dict[str, str]:
        """Have Flux compare the cluster with Git now; what it did to each object ("unchanged", "configured", …)."""
        word = str(time.time())
        note = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": word}}}
        log = self.lab.layout.logs / "kustomize-controller.log"
        before = log.stat().st_size
        self.lab.api("PATCH", KUSTOMIZATION, note, MERGE)

        def handled() -> dict[str, str] | None:
            if self.lab.api("GET", KUSTOMIZATION)[1]["status"].get("lastHandledReconcileAt") != word:
                return None
            done: dict[str, str] = {}
            for line in log.read_text(errors="replace")[before:].splitlines():
                with contextlib.suppress(ValueError):
                    found = json.loads(line).get("output")
                    done |= found if isinstance(found, dict) else {}
            return done

        return until(handled, 200, "Flux has reconciled")

    @staticmethod
    def sources(name: str) -> list[str]:
        """The primaries' ReplicationSources of an app."""
        return [primary for primary, _ in APPS[name].sources()]

    def moves(self, name: str) -> list[Table]:
        """What the history tells of an app's moves that began since the test did, oldest first."""
        history = [one for one in self.daemon.history(name) if "began_at" in one]  # a hold is no move
        began = ((one, datetime.fromisoformat(one["began_at"])) for one in history)
        return [one for one, at in began if at.timestamp() >= self.since]

    # ------------------------------------------------------------ the data

    def rows(self, node: str, name: str, volume: Volume | None = None) -> list[Row]:
        """Everything the copy on a node's disk holds, by number. A database is read from a private copy."""
        app = APPS[name]
        volume = volume or app.volumes[0]
        folder = self.copy(node, app.name, volume)
        return _files(folder) if volume.kind == "files" else until(lambda: _database(folder), 10, f"{folder} opens")

    def missing(self, node: str, name: str, volume: Volume) -> set[int]:
        """Numbers below the highest one that a copy does not hold."""
        had = {row.n for row in self.rows(node, name, volume)}
        return set(range(1, max(had, default=0))) - had

    def all_missing(self, site: str) -> dict[tuple[str, str], set[int]]:
        """The same of every copy at a site, by app and volume: what earlier tests have lost there."""
        return {
            (name, volume.name): self.missing(NODE[site], name, volume)
            for name, app in APPS.items()
            for volume in app.volumes
        }

    def elsewhere(self, node: str, name: str, volume: Volume) -> list[Row]:
        """What lies on the other node's disk or among the versions of either; of a database nothing is looked for."""
        if volume.kind != "files":
            return []
        kept = [row for one in NODE.values() for row in self.kept_rows(one, name, volume)]
        there = [self.copy(other, name, volume) for other in NODE.values() if other != node]
        return [row for folder in there for row in _files(folder)] + kept

    def gone(self, node: str, name: str, volume: Volume) -> set[int]:
        """Numbers missing in a copy of which there is no trace anywhere.

        Syncthing pulls the files of one scan in any order: a node may die with one that is older than the newest
        that had come over. Such a file is lost like the newer ones, and must be kept and stated as they are.
        """
        traced = {row.n for row in self.elsewhere(node, name, volume)} | self._reset.get((name, volume.name), set())
        return self.missing(node, name, volume) - traced

    def lines(self, name: str) -> list[timeline.Line]:
        """What the app's pods noted since the test began."""
        return [line for line in self.lab.timeline() if line.app == name and line.t >= self.since]

    def events(self, name: str, node: str, event: str, volume: str = "") -> list[timeline.Line]:
        """Those of one kind on one node."""
        found = [line for line in self.lines(name) if line.host == node and line.more.get("event") == event]
        return [line for line in found if volume in ("", line.volume)]

    def two_writers(self, name: str) -> float:
        """Seconds in which pods of the app lived on both nodes."""
        return timeline.overlap(self.lines(name), name)

    def conflicts(self) -> list[Path]:
        """Every conflict copy on either disk; those among the versions were put aside by a take-back."""
        found = [path for node in NODE.values() for path in self.lab.data(node).glob("pods/*/**/*.sync-conflict-*")]
        return [path for path in found if ".stversions" not in path.parts]

    def kept(self, node: str, name: str, volume: Volume) -> list[Path]:
        """The versions that a take-back has put aside there."""
        return sorted(self.copy(node, name, volume).glob(".stversions/**/*.*"))

    def kept_rows(self, node: str, name: str, volume: Volume) -> list[Row]:
        """What those of files hold."""
        return [_row(path) for path in self.kept(node, name, volume) if path.name[0].isdigit()]

    def copy(self, node: str, name: str, volume: Volume) -> Path:
        """The folder of an app's volume on the disk of a node, which is there without power too."""
        return self.lab.data(node) / "pods" / APPS[name].key(volume)

    def keep_logs(self, folder: Path) -> None:
        """Copy the daemon's log and settings, for when a test has failed."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.lab.layout.logs / f"{SERVICE}.log", self.daemon.config, self.daemon.chat_file):
            if path.exists():
                shutil.copy(path, folder)


def _files(folder: Path) -> list[Row]:
    return [_row(path) for path in sorted((folder / "seq").glob("[0-9]*.txt"))]


def _row(path: Path) -> Row:
    n, at, host, _ = path.read_text().split()
    return Row(n=int(n), at=float(at), host=host)


def _database(folder: Path) -> list[Row] | None:
    with tempfile.TemporaryDirectory() as place:
        for file in ("app.db", "app.db-wal"):
            if (folder / file).exists():
                shutil.copy(folder / file, place)
        try:
            with contextlib.closing(sqlite3.connect(Path(place) / "app.db")) as db:
                return [
                    Row(n=n, at=at, host=host) for n, at, host in db.execute("SELECT n, at, host FROM t ORDER BY n")
                ]
        except sqlite3.DatabaseError:
            # The app checkpointed between the two copies.
            return None
