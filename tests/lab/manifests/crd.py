"""VolSync's ReplicationSource as far as the Syncthing mover needs it, as a CustomResourceDefinition."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_TEXT = {"type": "string"}
_ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _peers(**more: Object) -> Object:
    item = {
        "type": "object",
        "required": ["ID", "address"],
        "properties": {"ID": _TEXT, "address": _TEXT, **more},
    }
    return {"type": "array", "items": item}


def replication_source() -> Object:
    """The definition, with the status subresource and the columns the real one prints."""
    syncthing = {
        "peers": _peers(introducer={"type": "boolean"}),
        "serviceType": _TEXT,
        "configCapacity": _TEXT,
        "configStorageClassName": _TEXT,
        "configAccessModes": {"type": "array", "items": _TEXT},
        "moverSecurityContext": _ANY,
        "moverPodLabels": {"type": "object", "additionalProperties": _TEXT},
        "moverResources": _ANY,
    }
    spec = {
        "sourcePVC": _TEXT,
        "paused": {"type": "boolean"},
        "syncthing": {"type": "object", "properties": syncthing},
    }
    told = {
        "ID": _TEXT,
        "address": _TEXT,
        "peers": _peers(connected={"type": "boolean"}, name=_TEXT, introducedBy=_TEXT),
    }
    status = {
        "lastSyncStartTime": {"type": "string", "format": "date-time"},
        "conditions": {"type": "array", "items": _ANY},
        "syncthing": {"type": "object", "properties": told},
    }
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": "Source", "type": "string", "jsonPath": ".spec.sourcePVC"}],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "spec": {"type": "object", "properties": spec},
                    "status": {"type": "object", "properties": status},
                },
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "replicationsources.volsync.backube"},
        "spec": {
            "group": "volsync.backube",
            "scope": "Namespaced",
            "names": {
                "kind": "ReplicationSource",
                "listKind": "ReplicationSourceList",
                "plural": "replicationsources",
                "singular": "replicationsource",
            },
            "versions": [version],
        },
    }
