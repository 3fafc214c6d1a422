"""Create `.venv` from a lock file; do nothing when it is already what the lock says.

`--runtime`: what failoverd itself needs is enough, so whoever only wants to see it does not wait for linters. An
environment with the tools serves as well, and keeps them.

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
BUILD_STEPS = 2  # raise it when build() changes, so that existing environments are made again
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "installed-from")
ADDING = os.path.join(VENV, "adding")
"""What is being added to a finished environment; left there when that ends, or is broken off."""
RUNTIME, DEV = "requirements.lock", "requirements-dev.lock"


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


def wanted_stamp(lock: str) -> str:
    """What a finished environment records: its lock's name; and hashed the lock, its place, its Python."""
    with open(os.path.join(ROOT, lock), "rb") as file:
        digest = hashlib.sha256(file.read())
    # A moved checkout or another interpreter breaks a venv's scripts, so both belong to its identity.
    digest.update(repr((ROOT, sys.version_info[:2], BUILD_STEPS)).encode())
    return "%s %s" % (lock, digest.hexdigest())


def read_stamp() -> str:
    """What was recorded, or an empty string when there is no finished environment."""
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


def build(lock: str) -> None:
    """Make the environment from nothing, so that a package dropped from the lock cannot linger."""
    python = python_of_venv()
    # Started from inside a venv (perhaps this very one), it must still be made by the Python beneath it.
    base = getattr(sys, "_base_executable", None) or sys.executable
    run("making .venv", base, "-m", "venv", "--clear", VENV)
    install(lock)
    link(python)


def install(lock: str) -> None:
    """Install what `lock` has and `.venv` lacks."""
    pip = (python_of_venv(), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
    # Wheels only: building a source package would fetch build tools that no hash covers. Not compiled: Python does
    # that for what it imports, a small part, and this way the first `make demo` starts in half the time.
    locked = ("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile", "--requirement")
    run("installing %s" % lock, *(pip + locked + (os.path.join(ROOT, lock),)))


def python_of_venv() -> str:
    """The Python inside `.venv`."""
    return os.path.join(VENV, "bin", "python")


def can_be_added_to(recorded: str, stamp: str) -> bool:
    """Whether `.venv` only lacks the tools: all of the runtime lock is in the other one, at the same versions.

    Not where adding those of another lock was broken off: what that lock had and this one has not would linger.
    """
    try:
        with open(ADDING) as file:
            begun = file.read().strip()
    except OSError:
        begun = stamp
    return stamp.startswith(DEV) and recorded == wanted_stamp(RUNTIME) and begun == stamp


def complete(stamp: str) -> None:
    """Add the tools to an environment without them. One that fails meanwhile still serves without."""
    with open(ADDING, "w") as file:
        file.write(stamp + "\n")
    install(DEV)


def link(python: str) -> None:
    """Have the environment find this checkout; an editable install would need a build tool at run time."""
    packages = os.path.join(VENV, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    with open(os.path.join(packages, "failoverd.pth"), "w") as file:
        file.write(ROOT + "\n")
    script = os.path.join(VENV, "bin", "failoverd")
    with open(script, "w") as file:
        file.write("#!%s\nfrom failoverd.__main__ import main\n\nraise SystemExit(main())\n" % python)
    os.chmod(script, 0o755)  # noqa: S103 - a program for everybody


def main(arguments: "list[str]") -> int:
    """Bring `.venv` up to date; the exit status."""
    try:
        check_interpreter(sys.version_info[:2], importable)
        # Two makes at once must not build into the same directory.
        with open(VENV + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            recorded = read_stamp()
            lock_name = RUNTIME if "--runtime" in arguments and not recorded.startswith(DEV) else DEV
            stamp = wanted_stamp(lock_name)
            if recorded != stamp:
                if can_be_added_to(recorded, stamp):
                    print("adding to .venv what %s has more" % lock_name, flush=True)
                    complete(stamp)
                else:
                    print("making .venv from %s" % lock_name, flush=True)
                    build(lock_name)
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
    sys.exit(main(sys.argv[1:]))
