"""How a lab comes and goes. Going is written so that it also removes what a broken coming left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab import api, cache, flux, network, nodes, numbers, pki, processes
from tests.lab.commands import NEEDED, require_machine, require_programs, run
from tests.lab.layout import HostName, LabError, Layout

COMPLETE = "complete"
"""The file that marks a lab whose `up` came to its end."""


def check() -> None:
    """Have everything a lab needs, building what is missing. Raises LabError."""
    require_machine()
    require_programs(*NEEDED)
    cache.ensure()


def is_up(state: Path) -> bool:
    """Whether a whole lab is there. One from before a restart of the machine is not."""
    layout = Layout.load(state)
    return layout is not None and (state / COMPLETE).exists() and bool(network.existing(layout))


def up(state: Path, number: int | None, flux_interval: str) -> Layout:
    """Bring a lab up in `state`, or find it up. Raises LabError after removing what it had made."""
    require_machine()
    found = Layout.load(state)
    if found is not None and is_up(state):
        return found
    require_programs(*NEEDED)
    artefacts = cache.ensure()
    down(state)
    if state.exists() and any(state.iterdir()):
        raise LabError(f"{state} is not empty and holds no lab: choose another state folder")
    layout = Layout(state=state, number=numbers.take(state, number))
    try:
        state.mkdir(parents=True, exist_ok=True)
        layout.save()
        _make(layout, artefacts, flux_interval)
    except BaseException:
        down(state)
        raise
    (state / COMPLETE).touch()
    return layout


def _make(layout: Layout, artefacts: cache.Artefacts, flux_interval: str) -> None:
    layout.logs.mkdir()
    numbers.hold_data_folder()
    with ThreadPoolExecutor() as pool:
        made = [pool.submit(network.create, layout), pool.submit(pki.create, layout)]
        made += [pool.submit(nodes.prepare, layout, host, artefacts) for host in layout.hosts]
        for one in made:
            one.result()
    _offer_kubectl(layout, artefacts.kube)
    for host in layout.hosts:
        nodes.power_on(layout, host)
    _wait("the API server", 60, lambda: _api_ready(layout))
    flux.install(layout, artefacts, flux_interval)
    _wait("all nodes Ready", 90, lambda: _nodes_ready(layout))


def _offer_kubectl(layout: Layout, kube: Path) -> None:
    """A `kubectl` that speaks from within the lab, for hands and scripts."""
    folder = layout.state / "bin"
    folder.mkdir()
    script = folder / "kubectl"
    pve = network.NAMED / layout.host(HostName.PVE).namespace
    script.write_text(
        "#!/bin/sh\n"
        f'exec nsenter --net={pve} "{kube}" kubectl --cache-dir="{layout.state}/kubectl-cache" '
        f'--kubeconfig="${{KUBECONFIG:-{layout.kubeconfig("admin")}}}" "$@"\n'
    )
    script.chmod(0o755)


def _wait(what: str, seconds: float, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:.0f} s for {what} in vain")
        time.sleep(0.1)


def _api_ready(layout: Layout) -> bool:
    try:
        status, _ = api.call(layout, "GET", "/readyz", timeout=2)
        service_account = "/api/v1/namespaces/default/serviceaccounts/default"
        return status == 200 and api.call(layout, "GET", service_account, timeout=2)[0] == 200
    except OSError:
        return False


def _nodes_ready(layout: Layout) -> bool:
    try:
        _, answer = api.call(layout, "GET", "/api/v1/nodes")
    except OSError:
        return False
    ready = [
        node["metadata"]["name"]
        for node in answer.get("items", [])
        for condition in node["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    ]
    return set(ready) == {str(host.name) for host in layout.nodes}


def down(state: Path) -> bool:
    """Remove a lab, whole or broken; False if there was none. Raises LabError if something stays."""
    layout = Layout.load(state)
    if layout is None:
        return numbers.forget(state)
    for host in layout.hosts:
        if (network.NAMED / host.namespace).exists():
            with contextlib.suppress(LabError):
                nodes.power_cut(layout, host)
    _end_processes(layout)
    network.destroy(layout)
    _remove_cgroups(layout)
    _remove_mounts(state)
    _remove_folder(state)
    numbers.release(layout.number)
    return True


def _end_processes(layout: Layout) -> None:
    pids: list[int] = []
    for _ in range(20):
        pids = processes.in_network(network.identities(layout))
        if not pids:
            return
        for pid in pids:
            processes.send(pid, signal.SIGKILL)
        processes.wait_gone(pids)
    raise LabError(f"processes keep appearing in the lab's networks: {pids}")


def _remove_cgroups(layout: Layout) -> None:
    deadline = time.monotonic() + 5
    while groups := nodes.cgroups(layout):
        for group in groups:
            with contextlib.suppress(OSError):
                group.rmdir()
        if time.monotonic() > deadline:
            raise LabError(f"control group {groups[-1]} cannot be removed: a process is left in it")


def _remove_folder(state: Path) -> None:
    """Remove it even while something ends that still writes to it."""
    deadline = time.monotonic() + 10
    while state.exists():
        try:
            shutil.rmtree(state)
        except OSError as error:
            if time.monotonic() > deadline:
                raise LabError(f"{state} cannot be removed: {error}") from error
            time.sleep(0.1)


def _remove_mounts(state: Path) -> None:
    """Nothing is mounted outside the nodes' own namespaces; a hand may have changed that."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if Path(point).is_relative_to(state):
            run(["umount", "--lazy", point])


def traces(layout: Layout) -> list[str]:
    """What is left of a lab on the machine, in words; empty after `down`."""
    found = [f"namespace {name}" for name in network.existing(layout)]
    found += [f"process {pid}" for pid in processes.in_network(network.identities(layout))]
    found += [f"control group {path}" for path in nodes.cgroups(layout)]
    text = str(layout.state)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line.split()[4]}" for line in mounts if text in line]
    found += [f"route {line}" for line in run(["ip", "route", "show", "root", str(layout.block)]).splitlines()]
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            if text + "/" in words and pid not in processes.ancestors(os.getpid()):
                found.append(f"process {pid}")
    if layout.state.exists():
        found.append(f"folder {layout.state}")
    return found


def summary(layout: Layout) -> str:
    """How to use a lab that is up: the lines printed at the end of `up`."""
    pve = network.NAMED / layout.host(HostName.PVE).namespace
    lines = [f"lab {layout.number} is up in {layout.state}: " + ", ".join(f"{h.name} {h.ip}" for h in layout.hosts)]
    lines += [
        f"export KUBECONFIG={layout.kubeconfig('admin')} PATH={layout.state / 'bin'}:$PATH",
        f"enter its network:  nsenter --net={pve} bash        (kubectl above does so by itself)",
        f"logs:               {layout.logs}",
    ]
    return "\n".join(lines)
