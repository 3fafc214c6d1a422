"""The stand-ins for hands: `python -m tests.lab.standins pve|switch|syncthing|apps`, on a lab that runs.

pve POST /nodes/pve/lxc/101/status/stop          a call of the Proxmox API, as the lab's administrator
switch '{"lie": {"101": "stopped"}}'             have it misbehave (see proxmox_settings.Switches); no words: behave
syncthing sonarr-backup GET /rest/db/status?folder=syncthing-folder-id
apps 5                                           replace the apps by that many small ones; 0: the usual two
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.lab.lab import DEFAULT_STATE, Lab
from tests.lab.layout import LabError
from tests.lab.manifests.apps import DEFAULT, many
from tests.lab.standins import hands
from tests.lab.standins.deploy import UNREACHABLE, deploy
from tests.lab.standins.proxmox_settings import Switches


def _pve(lab: Lab, args: argparse.Namespace) -> None:
    status, reason, data = hands.pve(lab, args.method, args.path, args.token)
    print(f"{status} {reason}", file=sys.stderr)
    print(json.dumps(data, indent=2))


def _switch(lab: Lab, args: argparse.Namespace) -> None:
    hands.proxmox(lab).switches.write_text(args.switches)
    try:
        Switches.read(hands.proxmox(lab).switches)
    except (ValueError, TypeError) as error:
        hands.switch(lab)
        raise LabError(f"these are no switches, so none is set: {error}") from error


def _syncthing(lab: Lab, args: argparse.Namespace) -> None:
    body = json.loads(args.body) if args.body else None
    answer = hands.syncthing(lab, args.namespace, args.source, args.method, args.path, body)
    print(json.dumps(answer, indent=2))


def _apps(lab: Lab, args: argparse.Namespace) -> None:
    begun = time.monotonic()
    deploy(lab, many(args.count) if args.count else DEFAULT)
    print(f"took {time.monotonic() - begun:.1f} s", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.standins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state", type=Path, default=DEFAULT_STATE, help="the lab's folder")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    pve = commands.add_parser("pve", help="a call of the Proxmox API")
    pve.add_argument("method")
    pve.add_argument("path", help="what follows /api2/json")
    pve.add_argument("--token", default="lab", help="fence, narrow, blind or lab (default: %(default)s)")
    pve.set_defaults(act=_pve)
    switch = commands.add_parser("switch", help="have the Proxmox stand-in misbehave")
    switch.add_argument("switches", nargs="?", default="{}", help="JSON; none: behave")
    switch.set_defaults(act=_switch)
    syncthing = commands.add_parser("syncthing", help="a call of a mover's Syncthing")
    syncthing.add_argument("source", help="the ReplicationSource")
    syncthing.add_argument("method")
    syncthing.add_argument("path")
    syncthing.add_argument("body", nargs="?", help="JSON")
    syncthing.add_argument("--namespace", default="media")
    syncthing.set_defaults(act=_syncthing)
    apps = commands.add_parser("apps", help="replace the apps")
    apps.add_argument("count", type=int, help="how many; 0: the usual two")
    apps.set_defaults(act=_apps)
    return parser


def main() -> int:
    """Runs one command; 2 and one line when something is wrong."""
    args = _parser().parse_args()
    try:
        args.act(Lab.attach(args.state), args)
    except (LabError, *UNREACHABLE) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
