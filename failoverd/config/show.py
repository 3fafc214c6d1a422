"""The configuration in force, written out: every key, conventions applied, secrets masked."""

from __future__ import annotations

from typing import Any

import tomlkit

from failoverd.config.problems import SECRETS
from failoverd.config.resolved import Config
from failoverd.core.rules import Site

MASK = "********"


def shown(config: Config) -> dict[str, Any]:
    """All of it as plain data. Secrets are masked; names of files that hold them are not secret."""
    data = config.settings.model_dump(mode="json", exclude_none=True)
    for table in (*data["fencing"], *data["notify"]):
        for key in SECRETS:
            if key in table and f"{key}_file" in table:
                table[key] = MASK
    for table, app in zip(data["apps"], config.rules.apps, strict=True):
        table |= {"pair": app.pair, "require": str(app.require), "failback": str(app.failback)}
        table["max_data_age"] = table.get("max_data_age", data["failover"]["max_data_age"])
        table["volumes"] = [
            {"name": volume.name}
            | {f"claim_{site}": volume.copy(site).claim for site in Site}
            | {f"source_{site}": volume.copy(site).source for site in Site}
            for volume in app.volumes
        ]
    data["instance"] |= {"name": config.instance, "domain": config.rules.own_domain}
    return data


def as_toml(config: Config) -> str:
    """`shown` as TOML, tables after plain keys."""
    return tomlkit.dumps(shown(config))
