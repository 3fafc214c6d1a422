"""`failoverd run`, `once`, `demo` and `simulate`: hand over to the part that does it.

Those parts are imported only here and only then, so that `failoverd config check` starts fast and needs nothing.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from failoverd.adapters.kubernetes.errors import KubeError
from failoverd.cli.configuration import loaded, path_of
from failoverd.cli.exits import Exit, Stop
from failoverd.cli.parts import part
from failoverd.config import Config
from failoverd.config.resolve import SERVICE_ACCOUNT, no_way, usual_kubeconfig


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon."""
    if arguments.config_from:
        return _run_shared(arguments)
    return int(part("failoverd.life", "run")(_config(arguments), arguments.kubeconfig, arguments.files))


def _run_shared(arguments: argparse.Namespace) -> int:
    """Run it by the configuration that the cluster keeps. Raises Stop where neither that nor a copy can be read."""
    path, kubeconfig = path_of(arguments).absolute(), arguments.kubeconfig or usual_kubeconfig(os.environ)
    if kubeconfig is None and not SERVICE_ACCOUNT.is_file():
        raise Stop(Exit.UNREACHABLE, no_way(os.environ, "name one in $KUBECONFIG"))
    if not path.parent.is_dir():
        raise Stop(
            Exit.USAGE, f"there is no folder {path.parent} for the local copy; make it, or give another --config"
        )
    namespace, name = arguments.config_from
    origin = part("failoverd.mirror", "Origin")(namespace=namespace, name=name)
    made = part("failoverd.mirror", "Mirror")
    mirror = made(origin=origin, path=path, kubeconfig=kubeconfig, files_in=arguments.files)
    try:
        return int(part("failoverd.life", "run_shared")(mirror, arguments.kubeconfig))
    except KubeError as error:
        raise Stop(Exit.UNREACHABLE, str(error)) from error


def once(arguments: argparse.Namespace) -> int:
    """One look, one decision."""
    config = _config(arguments)
    return int(part("failoverd.life", "once")(config, dry_run=arguments.dry_run))


def demo(arguments: argparse.Namespace) -> int:
    """Tell the story."""
    return int(part("failoverd.simulator.demo", "main")(arguments.rest))


def simulate(arguments: argparse.Namespace) -> int:
    """Run scenarios."""
    return int(part("failoverd.simulator.simulate", "main")(arguments.rest))


def _config(arguments: argparse.Namespace) -> Config:
    """Raises Stop where there is no way to a cluster, in the words of every other command."""
    config = loaded(arguments)
    if arguments.kubeconfig:
        return replace(config, kubeconfig=arguments.kubeconfig)
    if config.kubeconfig is None and not SERVICE_ACCOUNT.is_file():
        raise Stop(Exit.UNREACHABLE, no_way(os.environ, "set kubernetes.kubeconfig"))
    return config
