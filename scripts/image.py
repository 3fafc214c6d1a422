"""Build the container image and write it as an archive for `k3s ctr images import` or `skopeo copy`.

`scripts/image.py` takes the public base. `--rootfs TAR` takes a Debian trixie root file system instead, and then
nothing but Debian's mirror and the package index is contacted. Needs root or a user namespace, and buildah.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PYTHON = "3.13"
"""Debian trixie's."""
GLIBC = ((2, 41), (2, 5))
"""Newest and oldest C library whose wheels run on Debian trixie, which has the newest of them."""
STORE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "failoverd-image"
"""Layers and wheels of earlier builds; may be deleted at any time."""


class ImageError(Exception):
    """Why there is no image, in one line."""


def version() -> str:
    """The version of the package, as its own file says."""
    found = re.search(r'__version__ = "([^"]+)"', (ROOT / "failoverd" / "__init__.py").read_text())
    if found is None:
        raise ImageError("failoverd/__init__.py has no __version__")
    return found[1]


def platforms() -> list[str]:
    """The platform tags of wheels that fit this machine's kind and the base's C library."""
    machine = platform.machine()
    (major, newest), (_, oldest) = GLIBC
    tags = [f"manylinux_{major}_{minor}_{machine}" for minor in range(newest, oldest - 1, -1)]
    return [*tags, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", "any"]


def wheels() -> Path:
    """A folder of every locked wheel for the image's Python, fetched once, hashes checked. Raises ImageError."""
    target = STORE / f"wheels-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if target.exists():
        return target
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        raise ImageError("there is no .venv: run `make .venv`")
    fresh = Path(tempfile.mkdtemp(prefix=".wheels-", dir=STORE))
    words: list[object] = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--require-hashes", "--only-binary", ":all:", "--requirement", LOCK, "--dest", fresh]
    words += ["--implementation", "cp", "--python-version", PYTHON]
    words += [f"--abi={tag}" for tag in ("cp" + PYTHON.replace(".", ""), "abi3", "none")]
    words += [f"--platform={tag}" for tag in platforms()]
    try:
        run("fetching wheels", words)
        fresh.chmod(0o755)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def run(what: str, words: Sequence[object], **environment: str) -> str:
    """Run a program and return what it printed. Raises ImageError with its last words."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT, env={**os.environ, **environment}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-4:])
        raise ImageError(f"{what} failed: {said}")
    return done.stdout


class Buildah:
    """buildah with a store of its own: other images of this machine are none of our business."""

    def __init__(self) -> None:
        program = shutil.which("buildah")
        if program is None:
            raise ImageError("there is no buildah: install it, on Debian with `apt-get install buildah`")
        STORE.mkdir(parents=True, exist_ok=True)
        self.words = [program, "--root", str(STORE / "store"), "--runroot", str(STORE / "run"), "--storage-driver"]
        # overlay shares layers; on a file system that is itself an overlay only vfs works, which copies them.
        driver = "overlay" if self._works("overlay") else "vfs"
        self.words.append(driver)

    def _works(self, driver: str) -> bool:
        return subprocess.run([*self.words, driver, "info"], capture_output=True, check=False).returncode == 0

    def __call__(self, what: str, *words: object) -> str:
        """Run one command of it. Raises ImageError."""
        return run(what, [*self.words, *words], BUILDAH_ISOLATION="chroot")

    def base(self, rootfs: Path) -> str:
        """An image of nothing but this root file system. Raises ImageError."""
        stat = rootfs.stat()
        name = f"localhost/failoverd-base:{stat.st_size}-{stat.st_mtime_ns}"
        if not self("listing images", "images", "--quiet", "--filter", f"reference={name}").strip():
            container = self("making the base", "from", "scratch").strip()
            self("making the base", "add", container, rootfs, "/")
            self("making the base", "commit", "--rm", container, name)
        return name


def build(tag: str, output: Path, base: str, rootfs: Path | None) -> None:
    """Build and write the archive. Raises ImageError."""
    buildah = Buildah()
    options: list[object] = []
    if rootfs is not None:
        base = buildah.base(rootfs)
        # A local base knows nothing of this machine's index, so pip gets the files.
        options += ["--volume", f"{wheels()}:/wheels:ro"]
        options += ["--build-arg", "PIP_FIND_LINKS=/wheels", "--build-arg", "PIP_NO_INDEX=1"]
    if base:
        options += ["--build-arg", f"BASE={base}"]
    buildah("building", "bud", "--layers", "--format", "oci", "--tag", tag, *options, ROOT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    buildah("writing the archive", "push", tag, f"oci-archive:{output}:{tag}")


def main() -> int:
    """The command line; 2 and one line when there is no image."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tag", default="", help="name of the image (default: ghcr.io/failoverd/failoverd:VERSION)")
    parser.add_argument("--output", type=Path, default=None, help="the archive (default: dist/failoverd-VERSION.tar)")
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--base", default="", help="image to build on, instead of Debian trixie slim")
    base.add_argument("--rootfs", type=Path, default=None, help="root file system to build on, as a tar")
    given = parser.parse_args()
    try:
        tag = given.tag or f"ghcr.io/failoverd/failoverd:{version()}"
        output = (given.output or ROOT / "dist" / f"failoverd-{version()}.tar").resolve()
        build(tag, output, given.base, given.rootfs and given.rootfs.resolve())
    except (ImageError, OSError) as error:
        rootless = " (you are not root: run it as root, or give this user a range in /etc/subuid and /etc/subgid)"
        unable = shutil.which("buildah") is not None and os.geteuid() != 0
        print(f"image: {error}{rootless if unable else ''}", file=sys.stderr)
        return 2
    print(f"{tag}: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
