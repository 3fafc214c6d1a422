"""Running programs, and what the machine must offer to run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.lab.layout import LabError

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
    "systemd-analyze": "systemd",
}
"""Which Debian package brings which program."""

NEEDED = tuple(name for name in PACKAGES if name not in {"mmdebstrap", "buildah", "systemd-analyze"})
"""What a running lab needs; the others build images and judge units."""

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are found by what runs on the hosts."""
_PATH = f"{os.environ.get('PATH', '')}:{SEARCH}"


def run(argv: Sequence[object], *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed; words that are no strings are made some.

    Raises LabError with its last words.
    """
    # Ends with its caller: what a killed `up` had started must not go on while `down` cleans up.
    try:
        result = subprocess.run(
            ["setpriv", "--pdeathsig=KILL", *(str(word) for word in argv)],
            input=stdin,
            text=True,
            capture_output=True,
            env={**os.environ, "PATH": _PATH, **(env or {})},
            check=False,
        )
    except FileNotFoundError:
        raise LabError("there is no setpriv: install it (Debian's package: util-linux)") from None
    if result.returncode != 0:
        words = (result.stderr or result.stdout).strip().splitlines()[-3:]
        command = " ".join(str(word) for word in argv[:4])
        raise LabError(f"`{command} …` ended with {result.returncode}: {' / '.join(words)}")
    return result.stdout


def require_machine() -> None:
    """Refuse a machine the lab cannot run on. Raises LabError."""
    if sys.platform != "linux":
        raise LabError("the lab needs Linux (namespaces): run it there; `make demo` works everywhere")
    if os.geteuid() != 0:
        raise LabError("the lab needs root (namespaces, mounts): run it as root; `make demo` does not need it")


def _missing(programs: Sequence[str]) -> list[str]:
    return [name for name in programs if shutil.which(name, path=_PATH) is None]


def require_programs(*programs: str) -> None:
    """Have these programs, installing Debian's packages where the machine is a Debian. Raises LabError."""
    missing = _missing(programs)
    if not missing:
        return
    packages = sorted({PACKAGES[name] for name in missing})
    if shutil.which("apt-get") is None:
        raise LabError(f"missing {', '.join(missing)}: install them (Debian's packages: {' '.join(packages)})")
    print(f"installing Debian packages: {' '.join(packages)}", file=sys.stderr, flush=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"], env=quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=quiet)
    except LabError as error:
        raise LabError(f"cannot install {' '.join(packages)}: install them by hand ({error})") from error
    still = _missing(programs)
    if still:
        raise LabError(f"{', '.join(still)} missing although {' '.join(packages)} are installed: check PATH")
