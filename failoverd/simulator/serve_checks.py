"""What an API server refuses: objects that cannot be, as seen on a real one."""

from __future__ import annotations

import re

from failoverd.simulator.serve_objects import Raw
from failoverd.simulator.serve_store import Kind

MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
MAP_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
MAP_BYTES = 1024 * 1024
"""What all values of a ConfigMap may hold together."""


class Refused(Exception):
    """A request ends with this error."""

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.reason = code, message, reason


def check(kind: Kind, raw: Raw) -> None:
    """Raises Refused for an object that cannot be."""
    match kind.plural:
        case "deployments" | "statefulsets":
            _workload(kind, raw)
        case "leases":
            _lease(raw)
        case "configmaps":
            _map(raw)
        case "events":
            if (raw.get("involvedObject") or {}).get("namespace", "") != raw["metadata"].get("namespace"):
                raise _invalid(kind.kind, "involvedObject.namespace: does not match event.namespace")


def check_version(kind: Kind, old: Raw, metadata: Raw) -> None:
    """Raises Refused for a replacement of something else than what its sender has read."""
    name, kept = old["metadata"]["name"], old["metadata"]
    if metadata.get("name") != name:
        message = f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
        raise Refused(400, message)
    if metadata.get("uid", kept["uid"]) != kept["uid"]:
        message = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {kept['uid']}"
        raise _conflict(kind, name, message)
    sent = metadata.get("resourceVersion")
    if sent and sent != kept["resourceVersion"]:
        message = "the object has been modified; please apply your changes to the latest version and try again"
        raise _conflict(kind, name, message)
    if not sent and kind.plural == "leases":
        raise _invalid(kind.kind, "metadata.resourceVersion: Invalid value: 0: must be specified for an update")


def qualified(kind: Kind) -> str:
    """A resource as error messages name it."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _conflict(kind: Kind, name: str, why: str) -> Refused:
    return Refused(409, f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}', "Conflict")


def _invalid(kind: str, why: str) -> Refused:
    return Refused(422, f"{kind} is invalid: {why}", "Invalid")


def _unreadable(kind: str, why: str) -> Refused:
    return Refused(400, f'{kind} in version "v1" cannot be handled as a {kind}: {why}', "BadRequest")


def _workload(kind: Kind, raw: Raw) -> None:
    replicas = raw.get("spec", {}).get("replicas", 1)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise _invalid(kind.kind, f"spec.replicas: Invalid value: {replicas!r}")
    volumes = raw["spec"]["template"]["spec"].get("volumes") or []
    if any("persistentVolumeClaim" in v and not v["persistentVolumeClaim"].get("claimName") for v in volumes):
        raise _invalid(kind.kind, "claimName: Required value")


def _lease(raw: Raw) -> None:
    spec = raw.get("spec") or {}
    for name in ("acquireTime", "renewTime"):
        if (moment := spec.get(name)) is not None and not MICRO_TIME.fullmatch(str(moment)):
            raise _unreadable("Lease", f'parsing time "{moment}"')
    if (lasts := spec.get("leaseDurationSeconds")) is not None and lasts <= 0:
        raise _invalid("Lease", f"spec.leaseDurationSeconds: Invalid value: {lasts}: must be greater than 0")


def _map(raw: Raw) -> None:
    data = raw.get("data") or {}
    if not all(isinstance(value, str) for value in data.values()):
        raise _unreadable("ConfigMap", "data must be text")
    for key in data:
        if not MAP_KEY.fullmatch(key):
            raise _invalid(
                "ConfigMap", f"data[{key}]: Invalid value: a valid config key must consist of [-._a-zA-Z0-9]"
            )
    if sum(len(value.encode()) for value in data.values()) > MAP_BYTES:
        raise _invalid("ConfigMap", f"data: Too long: may not be more than {MAP_BYTES} bytes")
