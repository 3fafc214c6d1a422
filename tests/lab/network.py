"""The lab's LAN: a namespace for every host, and one for the bridge between them.

The one rule: nothing of it reaches the machine's own namespace, which gets a blackhole route for the lab's
addresses and no link. Whoever wants to speak to the lab does so from inside a host.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from pathlib import Path

from tests.lab.commands import run
from tests.lab.layout import Host, LabError, Layout

NAMED = Path("/run/netns")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_switching = threading.Lock()


def create(layout: Layout) -> None:
    """Make all namespaces, links, addresses and routes."""
    lan = layout.lan_namespace
    run(["ip", "netns", "add", lan])
    run(["ip", "-n", lan, "-batch", "-"], stdin=_bridge(layout))
    _quiet_ipv6(lan)
    run(["ip", "route", "replace", "blackhole", str(layout.block)])
    for host in layout.hosts:
        run(["ip", "netns", "add", host.namespace])
        _quiet_ipv6(host.namespace)
        run(["ip", "-n", host.namespace, "-batch", "-"], stdin=_links(layout, host))
    run(["ip", "-n", lan, "-batch", "-"], stdin=_ports(layout))


def _quiet_ipv6(namespace: str) -> None:
    forward = "net.ipv4.ip_forward=1" if not namespace.endswith("-lan") else "net.ipv4.ip_forward=0"
    quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"]
    if not Path("/proc/sys/net/ipv6").exists():
        quiet = []
    run(["nsenter", f"--net={NAMED / namespace}", "sysctl", "-qw", forward, *quiet])


def _bridge(layout: Layout) -> str:
    return (
        "link set lo up\n"
        "link add br0 type bridge\n"
        f"address add {layout.gateway}/{layout.lan.prefixlen} dev br0\n"
        "link set br0 up\n"
    )


def _links(layout: Layout, host: Host) -> str:
    lines = [
        "link set lo up",
        f"link add eth0 type veth peer name {host.port} netns {layout.lan_namespace}",
        f"address add {host.ip}/{layout.lan.prefixlen} dev eth0",
        "link set eth0 up",
        # Services have no route of their own: on a node kube-proxy rewrites them on their way to this one.
        f"route add default via {layout.gateway}",
    ]
    lines += [f"route add {node.pods} via {node.ip}" for node in layout.nodes if node.name != host.name]
    return "\n".join(lines) + "\n"


def _ports(layout: Layout) -> str:
    return "".join(f"link set {host.port} master br0 up\n" for host in layout.hosts)


def plug(layout: Layout, host: Host, connected: bool) -> None:
    """Put the host's cable in or out, at the bridge's end: its own addresses and routes stay as they are."""
    run(["ip", "-n", layout.lan_namespace, "link", "set", host.port, "up" if connected else "down"])


def drop_pod_links(host: Host) -> None:
    """Remove the links of the host's former pods.

    The kernel takes the pods' ends away some time after their processes. Until then routes through a former
    link stand, a new pod that gets the same address gets none of its own, and nobody reaches it any more once
    the kernel has come round.
    """
    for line in run(["ip", "-n", host.namespace, "-brief", "link", "show", "type", "veth"]).splitlines():
        name = line.split("@")[0].split()[0]
        if name != "eth0":
            with contextlib.suppress(LabError):  # the kernel was quicker
                run(["ip", "-n", host.namespace, "link", "delete", name])


def is_plugged(layout: Layout, host: Host) -> bool:
    """Whether the cable is in."""
    flags = run(["ip", "-n", layout.lan_namespace, "-brief", "link", "show", host.port])
    return ",UP" in flags or "<UP" in flags


def existing(layout: Layout) -> list[str]:
    """The lab's namespaces that are there."""
    return sorted(path.name for path in NAMED.glob(f"{layout.name}-*"))


def identity(host: Host) -> str:
    """The host's network namespace in the form of `processes.namespace_of`; "" if it is not there."""
    return _identity(host.namespace)


def identities(layout: Layout) -> set[str]:
    """The lab's network namespaces in the form of `processes.namespace_of`."""
    return {_identity(name) for name in existing(layout)} - {""}


def _identity(name: str) -> str:
    try:
        return f"net:[{(NAMED / name).stat().st_ino}]"
    except OSError:
        return ""


def destroy(layout: Layout) -> None:
    """Remove every namespace and the route; what is gone already is no error."""
    for name in existing(layout):
        run(["ip", "netns", "delete", name])
    with contextlib.suppress(LabError):
        run(["ip", "route", "delete", "blackhole", str(layout.block)])


def connect(host: Host, address: tuple[str, int], timeout: float) -> socket.socket:
    """A TCP connection as the host would make it; the caller itself stays where it is. Raises OSError.

    A socket belongs to the network namespace in which it was made, whoever uses it later. Namespaces belong
    to threads, so other threads of the caller never notice.
    """
    with _switching, Path("/proc/thread-self/ns/net").open("rb") as home:
        with (NAMED / host.namespace).open("rb") as there:
            _enter(there.fileno())
        try:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            _enter(home.fileno())
    try:
        made.settimeout(timeout)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "entering a network namespace")
