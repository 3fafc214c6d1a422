"""What runs on a node, and its power.

A node is a network, PID and mount namespace around one supervisor (`supervisor.py`). SIGKILL of that process
is a power cut: the kernel takes every daemon, shim and container at once. A lost page cache is not
reproduced: what a process had written is on the node's disk afterwards, synced or not.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import components, names, network, processes
from tests.lab.cache import Artefacts
from tests.lab.commands import SEARCH, run
from tests.lab.layout import NODE_DIR, Host, HostName, LabError, Layout
from tests.lab.rootfs import copy_root

SUPERVISOR = Path(__file__).parent / "supervisor.py"
CGROUPS = Path("/sys/fs/cgroup")


def prepare(layout: Layout, host: Host, artefacts: Artefacts) -> None:
    """Fill the folder of a host that has never booted."""
    folder = layout.folder(host)
    for name in ("services", "run", "etc", "data"):
        (folder / name).mkdir(parents=True)
    if host.pods is None:
        known = {f"{other.name}.{names.DOMAIN}": str(other.ip) for other in layout.hosts}
        enable(layout, host, "names", argv=[sys.executable, "-I", names.__file__, host.ip, json.dumps(known)])
        return
    copy_root(artefacts.containerd, folder / "containerd")
    for name, text in components.configuration(layout, host).items():
        (folder / "etc" / name).parent.mkdir(exist_ok=True)
        (folder / "etc" / name).write_text(text)
    if host.name == HostName.CP1:
        for name, service in components.control_plane(layout, artefacts.kube).items():
            enable(layout, host, name, **service)
    for name, service in components.node(layout, host, artefacts.kube).items():
        enable(layout, host, name, log=f"{host.name}.{name}", **service)


def enable(
    layout: Layout,
    host: Host,
    name: str,
    *,
    argv: Sequence[object],
    env: Mapping[str, str] | None = None,
    after: str | None = None,
    restart: bool = True,
    log: str | None = None,
    cwd: Path = Path("/"),
) -> None:
    """Write a service's file, which starts it, now if the host runs and with every boot.

    `log` names its file in the lab's logs, without `.log`; the service's name by default.
    """
    # Outside the supervisor's folder until it is whole: it starts what it finds.
    fresh = layout.folder(host) / f".{name}.json"
    spec = {
        "argv": [str(word) for word in argv],
        "env": dict(env or {}),
        "after": after,
        "restart": restart,
        "cwd": str(cwd),
        "log": str(layout.logs / f"{log or name}.log"),
    }
    fresh.write_text(json.dumps(spec, indent=1) + "\n")
    fresh.rename(layout.folder(host) / "services" / f"{name}.json")


def power_on(layout: Layout, host: Host) -> None:
    """Boot a host from its disk. Nothing to do when it runs."""
    if init_pid(layout, host) is not None:
        return
    folder = layout.folder(host)
    for name in ("run", "state"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "run").mkdir()
    argv: list[str | Path] = ["nsenter", f"--net={network.NAMED / host.namespace}"]
    arguments: list[str | Path] = [SUPERVISOR, folder]
    if host.pods is not None:
        network.drop_pod_links(host)
        _make_cgroups(layout, host)
        argv += ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
        arguments.append(NODE_DIR)
    record = folder / "power"
    # The shell writes its number, becomes `nsenter` and then `unshare`, and belongs to nobody from the start.
    start = 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@" >>"$0.log" 2>&1 </dev/null'
    # An environment of its own: the caller's proxies and secrets are not the cluster's.
    clean = ["env", "-i", f"PATH={SEARCH}", "HOME=/root", "LANG=C.UTF-8"]
    run(["setsid", "--fork", "sh", "-c", start, record, *argv, *clean, sys.executable, "-I", "-S", *arguments])
    deadline = time.monotonic() + 10
    while not (folder / "run" / "booted").exists():
        if time.monotonic() > deadline:
            raise LabError(f"{host.name} did not boot: {Path(f'{record}.log').read_text()[-300:]}")
        time.sleep(0.02)
    network.plug(layout, host, connected=not is_cut(layout, host))


def power_cut(layout: Layout, host: Host) -> None:
    """Take a host's power away. Nothing to do when it has none."""
    # The cable first: a host whose processes are gone would otherwise still answer "refused" for a moment.
    network.plug(layout, host, connected=False)
    outer = _recorded(layout, host)
    if outer is None:
        return
    inits = processes.children(outer) if host.pods is not None else [outer]
    for pid in inits:
        processes.send(pid, signal.SIGKILL)
    processes.wait_gone(inits)
    # `unshare` is gone with its child; it is ended here only if it had none.
    processes.send(outer, signal.SIGKILL)
    processes.wait_gone([outer])
    (layout.folder(host) / "power").unlink(missing_ok=True)


def init_pid(layout: Layout, host: Host) -> int | None:
    """The machine's number for the host's first process; None without power."""
    outer = _recorded(layout, host)
    if outer is None or host.pods is None:
        return outer
    inits = [pid for pid in processes.children(outer) if processes.is_alive(pid)]
    return inits[0] if inits else None


def _recorded(layout: Layout, host: Host) -> int | None:
    try:
        pid = int((layout.folder(host) / "power").read_text())
    except (FileNotFoundError, ValueError):
        return None
    # Numbers are used again: it counts only while it lives in the host's own network.
    own = network.identity(host)
    return pid if processes.is_alive(pid) and processes.namespace_of(pid, "net") == own else None


def service_pid(layout: Layout, host: Host, name: str) -> int | None:
    """The machine's number for a service's process; None if it does not run."""
    init = init_pid(layout, host)
    try:
        inner = int((layout.folder(host) / "run" / f"{name}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    if init is None:
        return None
    return inner if host.pods is None else processes.outer_pid(init, inner)


def mark_cut(layout: Layout, host: Host, cut: bool) -> None:
    """Note that the host's cable is out, for the next boot."""
    mark = layout.folder(host) / "cable-out"
    if cut:
        mark.touch()
    else:
        mark.unlink(missing_ok=True)


def is_cut(layout: Layout, host: Host) -> bool:
    """Whether the cable was taken out by hand."""
    return (layout.folder(host) / "cable-out").exists()


def inside(layout: Layout, host: Host, *, namespaces: bool) -> list[str]:
    """The words before a command that let it run on the host. Raises LabError without power."""
    words = ["nsenter", f"--net={network.NAMED / host.namespace}"]
    if not namespaces or host.pods is None:
        return words
    init = init_pid(layout, host)
    if init is None:
        raise LabError(f"{host.name} has no power: `python -m tests.lab power-on {host.name}`")
    return [*words, "--mount", "--pid", f"--target={init}"]


def _cgroup(layout: Layout, host: Host) -> str:
    return f"{layout.name}-{host.name}"


def _make_cgroups(layout: Layout, host: Host) -> None:
    name = _cgroup(layout, host)
    if (CGROUPS / "cgroup.controllers").exists():
        enabled = (CGROUPS / "cgroup.subtree_control").read_text().split()
        missing = set((CGROUPS / "cgroup.controllers").read_text().split()) - set(enabled)
        try:
            (CGROUPS / "cgroup.subtree_control").write_text(" ".join(f"+{word}" for word in sorted(missing)))
        except OSError as error:
            raise LabError(f"cannot delegate control groups ({error}): run the lab on the machine itself") from error
        (CGROUPS / name).mkdir(exist_ok=True)
        return
    for hierarchy in CGROUPS.iterdir():
        if not hierarchy.is_dir() or hierarchy.is_symlink():
            continue
        (hierarchy / name).mkdir(exist_ok=True)
        # A cpuset is empty, and takes no process, until somebody gives it processors.
        for kind in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / name / kind).exists():
                (hierarchy / name / kind).write_text((hierarchy / kind).read_text())


def cgroups(layout: Layout) -> list[Path]:
    """Every control group of this lab's nodes, deepest first."""
    groups = [*CGROUPS.glob(f"{layout.name}-*"), *CGROUPS.glob(f"*/{layout.name}-*")]
    deep = [path for group in groups for path in (group, *group.rglob("*/")) if path.is_dir()]
    return sorted(deep, key=lambda path: -len(path.parts))
