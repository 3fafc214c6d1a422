"""Guards at the disks, as they are shipped, for the lab's apps; and apps that never pause."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.e2e.daemon import NAMESPACE, SCRIPT, until
from tests.e2e.deployed import MANIFESTS
from tests.e2e.world import APPS, World
from tests.lab.layout import NODE_IMAGE
from tests.lab.manifests.apps import SITES, App, repo_files
from tests.lab.standins.deploy import wire

Table = dict[str, Any]
SHIPPED = MANIFESTS / "guard" / "deployment.yaml"
AS_ROOT = {"runAsNonRoot": False, "runAsUser": 0, "runAsGroup": 0}
"""The lab's movers are privileged, as in the reference cluster: what they bring belongs to root (docs/guard.md)."""
CAPABILITIES = ["DAC_OVERRIDE", "FOWNER", "CHOWN"]


def restless(world: World, apps: Iterable[App] = APPS.values()) -> None:
    """Have every app write without pauses, by a commit."""
    peers = wire(world.lab, apps)
    changed = [replace(app, env={**app.env, "PAUSE": "0"}) for app in apps]
    world.lab.flux_commit(repo_files(changed, NODE_IMAGE, peers), wait=True)


def manifests(apps: Iterable[App]) -> str:
    """The shipped Deployments with these apps' claims, and the rights that privileged movers make necessary."""
    made = []
    for shipped, site in zip(yaml.safe_load_all(SHIPPED.read_text()), SITES, strict=True):
        claims = [app.claim(volume, site) for app in apps for volume in app.volumes]
        pod = shipped["spec"]["template"]["spec"]
        (guard,) = pod["containers"]
        pod["securityContext"] |= AS_ROOT
        guard["securityContext"]["capabilities"]["add"] = CAPABILITIES
        guard["imagePullPolicy"] = "Never"
        guard["args"] = ["guard", f"--site={site}", *(f"--copy=media/{one}=/data/{one}" for one in claims)]
        guard["volumeMounts"] = [one for one in guard["volumeMounts"] if one["name"] == "scratch"]
        guard["volumeMounts"] += [{"name": one, "mountPath": f"/data/{one}"} for one in claims]
        pod["volumes"] = [one for one in pod["volumes"] if one["name"] == "scratch"]
        pod["volumes"] += [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
        made.append(shipped)
    return "\n---\n".join(json.dumps(one) for one in made)


class Guards:
    """A guard for each site, under the Roles that are printed for them, at the disks of these apps."""

    def __init__(self, world: World, apps: Iterable[App] = APPS.values()) -> None:
        self.world = world
        self.apps = tuple(apps)

    def apply(self) -> None:
        """The Roles of guards and daemon for the settings as they are now, and the pods, until these are Ready."""
        lab, config = self.world.lab, self.world.daemon.config
        for words in (("rbac", "--guard"), ("rbac",)):
            argv: list[str | Path] = [SCRIPT, "--config", config, "config", *words]
            roles = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            lab.kubectl("apply", "-f", "-", stdin=roles)
        lab.kubectl("apply", "-f", "-", stdin=manifests(self.apps))
        until(lambda: len(self.running()) == len(SITES), 90, "both guards run")

    def running(self) -> dict[str, str]:
        """The running guards and their nodes."""
        path = "/api/v1/namespaces/media/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dguard"
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in self.world.lab.api("GET", path)[1]["items"]
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    def observed(self, claim: str) -> Table:
        """What the guard of a copy has said last."""
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/failoverd-guard.media.{claim}"
        found: Table = json.loads(self.world.lab.api("GET", path)[1]["data"]["observed"])
        return found

    def remove(self) -> None:
        """The pods, at once: the claims they mount are others' too."""
        for site in SITES:
            name = f"failoverd-guard-{site}"
            self.world.lab.kubectl("-n", "media", "delete", "deployment", name, "--ignore-not-found")
        until(self._gone, 60, "the guards are gone")
        time.sleep(1)

    def _gone(self) -> bool:
        path = "/api/v1/namespaces/media/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dguard"
        left = [pod["metadata"]["name"] for pod in self.world.lab.api("GET", path)[1]["items"]]
        for pod in left:
            # On a node without power nobody would take note of an end in order; its Deployment may make one more.
            self.world.lab.kubectl("-n", "media", "delete", "pod", pod, "--force", "--ignore-not-found")
        return not left
