"""Create `.venv` from a lock file; do nothing when it is already what the lock says.

Run by the system's Python, so it uses the standard library only and keeps to syntax that an old
Python can parse: the message "too old" must not be a SyntaxError. Every failure is one line.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # quoted below: an old Python evaluates annotations, and has not all of these names
    from collections.abc import Callable

OLDEST = (3, 11)
BUILD_STEPS = 1  # raise it when build() changes, so that existing environments are made again
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "installed-from")
LOCK = os.path.join(ROOT, "requirements-dev.lock")


class BootstrapError(Exception):
    """What is missing and what to do about it, in one line."""


def check_interpreter(version: "tuple[int, ...]", has_module: "Callable[[str], bool]") -> None:
    """Raise BootstrapError unless this Python is new enough and can make a venv with pip in it."""
    if version < OLDEST:
        raise BootstrapError(
            "failoverd needs Python %d.%d or newer, this is %d.%d: install one, or name it with"
            " `make PYTHON=python3.12`" % (OLDEST + tuple(version[:2]))
        )
    for module in ("venv", "ensurepip"):
        if not has_module(module):
            raise BootstrapError(
                "this Python has no %s module: install it, on Debian and Ubuntu with"
                " `apt-get install python%d.%d-venv` (or python3-venv)" % (module, version[0], version[1])
            )


def wanted_stamp() -> str:
    """What a finished environment records, hashed: the lock it came from, its place, its Python."""
    with open(LOCK, "rb") as file:
        digest = hashlib.sha256(file.read())
    # A moved checkout or another interpreter breaks a venv's scripts, so both belong to its identity.
    digest.update(repr((ROOT, sys.version_info[:2], BUILD_STEPS)).encode())
    return digest.hexdigest()


def read_stamp() -> str:
    """The recorded hash, or an empty string when there is no finished environment."""
    try:
        with open(STAMP) as file:
            return file.read().strip()
    except OSError:
        return ""


def run(what: str, *command: str) -> None:
    """Run a command; on failure show what it said, then raise BootstrapError naming `what` failed."""
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = child.communicate()[0]
    if child.returncode != 0:
        sys.stderr.write(output.decode(errors="replace"))
        raise BootstrapError("%s failed (exit %d), its output is above" % (what, child.returncode))


def build() -> None:
    """Make the environment from nothing, so that a package dropped from the lock cannot linger."""
    python = os.path.join(VENV, "bin", "python")
    pip = (python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
    # Started from inside a venv (perhaps this very one), it must still be made by the Python beneath it.
    base = getattr(sys, "_base_executable", None) or sys.executable
    run("making .venv", base, "-m", "venv", "--clear", VENV)
    # Wheels only: building a source package would fetch build tools that no hash covers.
    locked = ("--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", LOCK)
    run("installing %s" % os.path.basename(LOCK), *(pip + locked))
    editable = ("--no-index", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    run("installing failoverd", *(pip + editable))


def main() -> int:
    """Bring `.venv` up to date; the exit status."""
    try:
        check_interpreter(sys.version_info[:2], importable)
        # Two makes at once must not build into the same directory.
        with open(VENV + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stamp = wanted_stamp()
            if read_stamp() != stamp:
                print("making .venv from %s" % os.path.basename(LOCK), flush=True)
                build()
                with open(STAMP, "w") as file:
                    file.write(stamp + "\n")
    except BootstrapError as error:
        sys.stderr.write("bootstrap: %s\n" % error)
        return 2
    except OSError as error:
        sys.stderr.write("bootstrap: %s\n" % error)
        return 2
    return 0


def importable(module: str) -> bool:
    """Whether the running Python has the module; Debian splits ensurepip off, so venv alone says little."""
    try:
        __import__(module)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
