"""`failoverd guard`: the process at the disk. It needs no configuration file; the daemon tells it what to do."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from failoverd.cli.exits import Exit, Stop
from failoverd.cli.parts import part

_COPY = re.compile(r"([a-z0-9-]+)/([a-z0-9.-]+)=(.+)")


def guard(arguments: argparse.Namespace) -> int:
    """Guard the copies that are named. Raises Stop."""
    scratch: Path = arguments.scratch
    copies = []
    for text in arguments.copy:
        match = _COPY.fullmatch(text)
        if match is None:
            raise Stop(
                Exit.USAGE, f'--copy: "{text}" is not NAMESPACE/CLAIM=FOLDER, as in media/pvc-sonarr=/data/sonarr'
            )
        root = Path(match[3])
        if not root.is_dir():
            raise Stop(Exit.USAGE, f"--copy: there is no folder {root}")
        if scratch.resolve().is_relative_to(root.resolve()):
            raise Stop(Exit.USAGE, f"--scratch: {scratch} lies in {root}, and would be replicated with it")
        copies.append((match[1], match[2], root))
    twice = {str(one[2]) for one in copies if [other[2].resolve() for other in copies].count(one[2].resolve()) > 1}
    twice |= {f"{one[0]}/{one[1]}" for one in copies if [other[:2] for other in copies].count(one[:2]) > 1}
    if twice:
        raise Stop(Exit.USAGE, f"--copy: named more than once: {', '.join(sorted(twice))}")
    if not scratch.is_dir():
        raise Stop(Exit.USAGE, f"--scratch: there is no folder {scratch}")
    setting, copy, main = (part("failoverd.guard.run", name) for name in ("Setting", "Copy", "main"))
    named = tuple(copy(namespace=namespace, claim=claim, root=root) for namespace, claim, root in copies)
    return int(
        main(
            setting(
                site=arguments.site,
                copies=named,
                own=arguments.namespace,
                scratch=scratch,
                kubeconfig=arguments.kubeconfig,
            )
        )
    )
