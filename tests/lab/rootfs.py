"""The lab's container images, and a containerd root folder in which they lie unpacked.

Unpacking takes longer than everything else a lab does to come up, so it is done once: nodes get a copy of the
folder in which only the small databases are copied and all other files, which never change, are hard links.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from tests.lab.commands import run
from tests.lab.layout import NODE_IMAGE, PAUSE_IMAGE, LabError

SUITE = "trixie"
PACKAGES = ("ca-certificates", "curl", "openssl", "procps", "python3", "syncthing")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def build(folder: Path) -> None:
    """Make the images in `folder`, which holds the program `pause`. Leaves rootfs.tar and containerd/."""
    rootfs = folder / "rootfs.tar"
    run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
        + [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        + ['--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*']
        + [SUITE, rootfs, mirror()],
    )
    archive(folder / "node.tar", NODE_IMAGE, rootfs, ["python3"])
    layer = folder / "pause-layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(folder / "pause", "pause")
    archive(folder / "pause.tar", PAUSE_IMAGE, layer, ["/pause"])
    unpack(folder / "containerd", [folder / "node.tar", folder / "pause.tar"])
    for name in ("node.tar", "pause.tar", "pause-layer.tar", "pause"):
        (folder / name).unlink()


def mirror() -> str:
    """The Debian mirror this machine's apt uses. Raises LabError when it uses none."""
    try:
        lines = run(["apt-get", "indextargets", "--format", "$(CREATED_BY) $(ORIGIN) $(REPO_URI)"]).splitlines()
    except (LabError, OSError):
        lines = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        origin, _, uri = rest.partition(" ")
        if kind == "Packages" and origin == "Debian" and "security" not in uri:
            return uri
    raise LabError("apt knows no Debian mirror: run `apt-get update` with Debian's own sources, then again")


def archive(target: Path, name: str, layer: Path, command: list[str]) -> None:
    """Wrap one layer as an image archive that `ctr images import` and `docker load` understand."""
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": command,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for member, value in (("manifest.json", manifest), ("config.json", config)):
            data = json.dumps(value).encode()
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        tar.add(layer, "layer.tar")


def unpack(target: Path, archives: list[Path]) -> None:
    """Start a containerd on an empty `target`, import the archives and stop it again. Raises LabError."""
    with tempfile.TemporaryDirectory(prefix="flab-") as short:
        socket = Path(short) / "c.sock"
        settings = Path(short) / "c.toml"
        settings.write_text(
            f'version = 2\nroot = "{target}"\nstate = "{short}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{socket}"\n'
        )
        with (Path(short) / "log").open("w") as log:
            daemon = subprocess.Popen(["containerd", "-c", settings], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 20
            while not socket.exists():
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise LabError(f"containerd did not start: {(Path(short) / 'log').read_text()[-300:]}")
                time.sleep(0.05)
            for path in archives:
                run(["ctr", "-a", socket, "-n", "k8s.io", "images", "import", path])
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=20)


def copy_root(source: Path, target: Path) -> None:
    """A node's own containerd root from the prepared one: databases copied, everything else linked.

    Layers and blobs are only ever read or removed as a whole, so links are safe. Where cache and target lie
    on different file systems everything is copied.
    """
    # `cp` and not Python's copytree: the layers hold device files, owners and extended attributes.
    try:
        run(["cp", "-al", source, target])
    except LabError:
        shutil.rmtree(target, ignore_errors=True)
        run(["cp", "-a", source, target])
        return
    for database in target.glob("*/*.db"):
        database.unlink()
        shutil.copy2(source / database.relative_to(target), database)
