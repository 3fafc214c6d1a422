"""VolSync's operator for the Syncthing mover, as far as its clients can see it.

`python -m tests.lab.standins.volsync --kubeconfig FILE` runs until it is killed. Each ReplicationSource is
reconciled every 20 s, at once when it (but for its status) or an object it owns changes, and after an error
with a delay that doubles from 5 ms to 1000 s. A failed pass leaves `status.syncthing` as it was. Deployments are not
watched: what somebody changes on a mover is put back by the next pass.
"""

from __future__ import annotations

import argparse
import base64
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.standins import volsync_objects as objects
from tests.lab.standins import volsync_syncthing as syncthing
from tests.lab.standins.kube import MERGE, Kube, KubeError
from tests.lab.standins.volsync_objects import Mover, NodeUnknown, Object
from tests.lab.standins.volsync_syncthing import Syncthing, SyncthingError

PERIOD = 20.0
LOOK = 1.0
"""Seconds between two looks for changes at least, however much changes."""
QUIET = 30.0
"""Seconds without an event after which a watch is begun anew, with a look: its server may be gone."""
BACKOFF_FIRST, BACKOFF_LAST = 0.005, 1000.0
IMAGES = Path(__file__).parent.parent / "images"
OWNED = (
    "/api/v1/secrets",
    "/api/v1/services",
    "/api/v1/persistentvolumeclaims",
    "/api/v1/serviceaccounts",
)
SOURCES = f"/apis/{objects.GROUP}/replicationsources"
LABEL = "?labelSelector=app.kubernetes.io%2Fcreated-by%3Dvolsync"
FAILURES = (KubeError, SyncthingError, NodeUnknown, LookupError)


@dataclass(slots=True)
class Turn:
    """One ReplicationSource's place in the queue. Times are time.monotonic()."""

    due: float = 0.0
    failures: int = 0
    seen: tuple[object, ...] = ()
    busy: bool = False


class Operator:
    """The reconcile loop over one API server."""

    def __init__(self, kube: Kube, image: str) -> None:
        self.kube = kube
        self.image = image
        self._turns: dict[str, Turn] = {}
        self._pool = ThreadPoolExecutor(16)
        self._changed = threading.Event()

    def run(self) -> None:
        """Forever; an API server that is away is waited for."""
        for path in (SOURCES, *(path + LABEL for path in OWNED)):
            threading.Thread(target=self._watch, args=(path,), daemon=True).start()
        looked = 0.0
        sources: dict[str, Object] = {}
        while True:
            if self._changed.is_set() and time.monotonic() - looked >= LOOK:
                self._changed.clear()
                looked = time.monotonic()
                try:
                    sources = self._look()
                except KubeError as error:
                    self._changed.set()
                    print(f"{time.time():.3f} cannot list: {error}", flush=True)
            self._start_due(sources)
            time.sleep(0.05)

    def _watch(self, path: str) -> None:
        """Forever: say that something may have changed, also whenever a watch was not on for a moment."""
        while True:
            try:
                for _ in self.kube.changes(path, QUIET):
                    self._changed.set()
            except KubeError:
                time.sleep(LOOK)  # what is wrong is said by the look
            self._changed.set()

    def _look(self) -> dict[str, Object]:
        """All our sources by uid; those that changed, or own something that did, become due."""
        owned: dict[str, list[str]] = {}
        for path in OWNED:
            for item in self.kube.items(path + LABEL):
                meta = item["metadata"]
                for owner in meta.get("ownerReferences", ()):
                    owned.setdefault(owner["uid"], []).append(meta["uid"] + meta["resourceVersion"])
        found = {}
        for source in self.kube.items(SOURCES):
            if "syncthing" not in source["spec"] or "deletionTimestamp" in source["metadata"]:
                continue
            uid = source["metadata"]["uid"]
            found[uid] = source
            turn = self._turns.setdefault(uid, Turn())
            meta = source["metadata"]
            seen = (meta["generation"], str(meta.get("annotations")), *sorted(owned.get(uid, ())))
            if seen != turn.seen:
                turn.seen = seen
                turn.due = 0.0
        return found

    def _start_due(self, sources: dict[str, Object]) -> None:
        for uid, source in sources.items():
            turn = self._turns[uid]
            if not turn.busy and time.monotonic() >= turn.due:
                turn.busy = True
                # A change seen from now on must lead to another pass: `_look` may lower this meanwhile.
                turn.due = float("inf")
                self._pool.submit(self._pass, turn, source)

    def _pass(self, turn: Turn, source: Object) -> None:
        name = source["metadata"]["name"]
        try:
            problem = self._reconcile(source)
        except Exception:  # a mistake of ours must not end the loop unseen
            problem = traceback.format_exc()
        if problem is None:
            wait, turn.failures = PERIOD, 0
        else:
            wait = min(BACKOFF_FIRST * 2.0**turn.failures, BACKOFF_LAST)
            turn.failures = min(turn.failures + 1, 30)
            print(f"{time.time():.3f} {name}: {problem} (again in {wait:.3f} s)", flush=True)
        turn.due = min(turn.due, time.monotonic() + wait)
        turn.busy = False

    def _reconcile(self, source: Object) -> str | None:
        """One pass with its status written; the problem's text if there was one."""
        mover = Mover.of(source)
        status: Object = {}
        try:
            status["syncthing"] = self._synchronize(mover)
            status["conditions"] = _conditions("True", "SyncInProgress", "Synchronization in-progress", source)
        except FAILURES as error:
            status["conditions"] = _conditions("False", "Error", str(error), source)
        if not source.get("status", {}).get("lastSyncStartTime"):
            status["lastSyncStartTime"] = _now()
        path = f"/apis/{objects.GROUP}/namespaces/{mover.namespace}/replicationsources/{mover.name}"
        try:
            written = self.kube.call("PATCH", f"{path}/status", {"status": status}, MERGE)
        except KubeError as error:
            return f"status: {error}"
        source["status"] = written.get("status", {})
        condition: Object = status["conditions"][0]
        return None if condition["status"] == "True" else str(condition["message"])

    def _synchronize(self, mover: Mover) -> Object:
        """Everything a pass does; status.syncthing. Raises one of FAILURES."""
        core = f"/api/v1/namespaces/{mover.namespace}"
        claim = self.kube.call("GET", f"{core}/persistentvolumeclaims/{mover.claim}")
        self.kube.ensure(f"{core}/persistentvolumeclaims", objects.config_claim(mover, claim))
        secret = self.kube.find(f"{core}/secrets/{mover.full}")
        if secret is None:
            secret = self.kube.call("POST", f"{core}/secrets", objects.secret(mover))
        account, role, binding = objects.account(mover)
        self.kube.ensure(f"{core}/serviceaccounts", account)
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{mover.namespace}"
        self.kube.ensure(f"{rbac}/roles", role)
        self.kube.ensure(f"{rbac}/rolebindings", binding)
        self.kube.ensure(f"{core}/configmaps", scripts(mover.namespace))
        self._ensure_deployment(mover, claim)
        api = self.kube.ensure(f"{core}/services", objects.service(mover, "api"))
        data = self.kube.ensure(f"{core}/services", objects.service(mover, "data"))
        return self._configure(mover, secret, api["spec"]["clusterIP"], data["spec"]["clusterIP"])

    def _ensure_deployment(self, mover: Mover, claim: Object) -> None:
        pods = self.kube.items(f"/api/v1/namespaces/{mover.namespace}/pods")
        nodes = {
            node["metadata"]["name"]: node["metadata"]["labels"].get("kubernetes.io/hostname", "")
            for node in self.kube.items("/api/v1/nodes")
        }
        namespace = self.kube.call("GET", f"/api/v1/namespaces/{mover.namespace}")
        privileged = namespace["metadata"].get("annotations", {}).get(objects.PRIVILEGED) == "true"
        place = objects.affinity(pods, claim, nodes)
        wanted = objects.deployment(mover, place, self.image, privileged=privileged)
        collection = f"/apis/apps/v1/namespaces/{mover.namespace}/deployments"
        live = self.kube.find(f"{collection}/{mover.full}")
        if live is None:
            self.kube.call("POST", collection, wanted)
        elif objects.drifted(wanted["spec"], live["spec"]):
            print(f"{time.time():.3f} {mover.name}: mover set to {place}", flush=True)
            live["spec"] = wanted["spec"]
            self.kube.call("PUT", f"{collection}/{mover.full}", live)

    def _configure(self, mover: Mover, secret: Object, api: str, data: str) -> Object:
        keys = {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
        rest = Syncthing(api, mover.server_name, keys["httpsCertPEM"], keys["apikey"])
        config, connections, system = _read(rest)
        own = system["myID"]
        login = (keys["username"], keys["password"])
        if syncthing.needs_peers(config, own, mover.peers) or syncthing.needs_login(config, login[0]):
            print(f"{time.time():.3f} {mover.name}: configuration written", flush=True)
            rest.call("PUT", "/rest/config", syncthing.rewritten(config, own, mover.peers, login))
            config, connections, system = _read(rest)
        return syncthing.status(data, config, connections, system)


def _read(rest: Syncthing) -> tuple[Object, Object, Object]:
    return (
        rest.call("GET", "/rest/config"),
        rest.call("GET", "/rest/system/connections"),
        rest.call("GET", "/rest/system/status"),
    )


def scripts(namespace: str) -> Object:
    """The ConfigMap that stands for what VolSync's image holds under /mover-syncthing."""
    files = {"entry.sh": "mover_entry.sh", "config-template.xml": "mover_config.xml"}
    return {
        "metadata": {"name": objects.SCRIPTS, "namespace": namespace},
        "data": {name: (IMAGES / file).read_text() for name, file in files.items()},
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(status: str, reason: str, message: str, source: Object) -> list[Object]:
    """The one condition; its time moves only when its status does."""
    old = (source.get("status", {}).get("conditions") or [{}])[0]
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    return [
        {
            "type": "Synchronizing",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since or _now(),
        }
    ]


def main() -> int:
    """Runs until killed."""
    parser = argparse.ArgumentParser(description="VolSync stand-in of the lab")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--image", required=True, help="image of the mover pods: sh, openssl, syncthing")
    args = parser.parse_args()
    Operator(Kube(args.kubeconfig), args.image).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
