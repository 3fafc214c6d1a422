"""`make chaos`, compiled to C by mypyc where that can be done and pays: the same days, in less than half the time.

`python -m scripts.compiled ARGUMENTS OF CHAOS`. A build lies in `build/compiled/` under a hash of the sources, this
Python, mypy and the C compiler; it is used only after some seeds came out exactly as they do interpreted. One line
says when days are played interpreted, and why. The daemon is never compiled, nor is anything put beside its sources.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from scripts.compiled_source import Unprepared, write

ROOT = Path(__file__).resolve().parent.parent
BUILDS = ROOT / "build/compiled"
PAYS_FROM = 2_000
"""Schedules. A build takes as long as about a thousand of them save."""
SIMULATOR = (
    "chaos_conduct", "chaos_excuses", "chaos_truth", "idle", "idle_looks", "idle_tick", "json_patch", "leap",
    "linear", "sleeper", "world", "world_app", "world_applied", "world_argo", "world_control", "world_data",
    "world_flux", "world_guard", "world_helm", "world_index", "world_look", "world_node", "world_pair",
    "world_render", "world_room", "world_side", "world_spec", "world_taint", "world_time",
)  # fmt: skip
"""Of the simulator: where its time goes. What only waits (asyncio) would gain nothing."""
CHECKED = (*range(8), 1_003, 1_004, 1_039)
"""Seeds that must come out alike: one instance and two, one volume and two, guards and none."""
FLAGS = ("-O1", "-w", "-fPIC", "-fno-strict-aliasing", "-DNDEBUG")
"""Everything above -O1 takes twice as long to compile."""
GENERATE = """
import json, sys
from mypyc.build import mypycify
version = "%d.%d" % sys.version_info[:2]
# the sources keep to our rules for mypy; what they are rewritten to need not
plain = ["--config-file=", "--explicit-package-bases", "--python-version", version]
made = mypycify([*plain, *sys.argv[1:]], multi_file=True, debug_level="0")
said = [{"name": one.name, "sources": one.sources, "include": one.include_dirs} for one in made]
open("made.json", "w").write(json.dumps(said))
"""


class NotCompiled(Exception):
    """Why there is no build, in one line."""


def modules(root: Path = ROOT) -> list[str]:
    """Paths of all that is compiled."""
    core = sorted(path for path in (root / "failoverd/core").glob("*.py") if path.name != "__init__.py")
    return [str(path.relative_to(root)) for path in core] + [f"failoverd/simulator/{name}.py" for name in SIMULATOR]


def compiler() -> str:
    """The C compiler. Raises NotCompiled where something is missing that a build needs."""
    found = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux":
        raise NotCompiled("this is not Linux")
    if sys.implementation.name != "cpython":
        raise NotCompiled("this Python is not CPython")
    if found is None:
        raise NotCompiled("there is no C compiler (cc)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        raise NotCompiled("there is no Python.h: on Debian and Ubuntu it is in python3-dev")
    if importlib.util.find_spec("mypyc") is None:
        raise NotCompiled("mypy is not installed: `make .venv`")
    if sys.version_info >= (3, 12) and importlib.util.find_spec("setuptools") is None:
        raise NotCompiled("mypyc needs setuptools from Python 3.12 on, and it is not installed")
    return found


def identity(cc: str, names: list[str]) -> str:
    """Of a build: the sources, what compiles them and how."""
    version = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False).stdout
    said = hashlib.sha256(repr((sys.version, importlib.metadata.version("mypy"), version, FLAGS, names)).encode())
    scripts = [Path(__file__), Path(__file__).with_name("compiled_source.py")]
    for path in (*sorted((ROOT / "failoverd").rglob("*.py")), *scripts):
        said.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return said.hexdigest()[:16]


def build(cc: str, names: list[str], checked: tuple[int, ...] = CHECKED, builds: Path = BUILDS) -> Path:
    """The folder that failoverd is imported from with these modules compiled; made where there is none.

    Raises NotCompiled.
    """
    folder = builds / identity(cc, names)
    if folder.exists():
        return folder
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        shutil.copytree(ROOT / "failoverd", draft / "failoverd", ignore=shutil.ignore_patterns("__pycache__"))
        write(draft, modules())
        _compile(cc, draft, names)
        _check(draft, checked)
        for old in builds.iterdir():
            if old not in (draft, builds / "objects") and "." not in old.name:
                shutil.rmtree(old)
        draft.replace(folder)
    except (OSError, Unprepared) as error:
        raise NotCompiled(str(error)) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _compile(cc: str, draft: Path, names: list[str]) -> None:
    """Raises NotCompiled, OSError."""
    _run([sys.executable, "-c", GENERATE, *names], draft)
    made = json.loads((draft / "made.json").read_text(encoding="utf-8"))
    python = sysconfig.get_path("include")
    searched = sorted({folder for one in made for folder in one["include"]} | {python})
    include = [word for folder in searched for word in ("-I", folder)]
    # what a C file means depends on every header; of those nothing lies outside but mypyc's and Python's own
    shared = hashlib.sha256(repr((sys.version, importlib.metadata.version("mypy"), FLAGS)).encode())
    for header in sorted((draft / "build").rglob("*.h")):
        shared.update(header.read_bytes())

    def compiled(source: str) -> str:
        key = shared.copy()
        key.update((draft / source).read_bytes())
        kept = draft.parent / "objects" / f"{key.hexdigest()[:32]}.o"
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            fresh = kept.with_suffix(f".{os.getpid()}")
            _run([cc, *FLAGS, *include, "-c", source, "-o", str(fresh)], draft)
            fresh.replace(kept)
        return str(kept)

    sources = sorted({source for one in made for source in one["sources"]})
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = dict(zip(sources, pool.map(compiled, sources), strict=True))
    for one in made:
        target = one["name"].replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX")
        _run([cc, "-shared", *(objects[source] for source in one["sources"]), "-o", target], draft)
    shutil.rmtree(draft / "build")
    shutil.rmtree(draft / ".mypy_cache", ignore_errors=True)
    for old in (draft.parent / "objects").glob("*.o"):
        if str(old) not in objects.values():
            old.unlink()


def _run(command: list[str], folder: Path) -> str:
    """What it said. Raises NotCompiled."""
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        told = [line for line in (ran.stdout + ran.stderr).splitlines() if "error" in line.lower()]
        raise NotCompiled(f"{Path(command[0]).name}: {told[0] if told else f'exit {ran.returncode}'}")
    return ran.stdout


def days(folder: Path, seeds: tuple[int, ...]) -> list[str]:
    """What becomes of these seeds where failoverd is imported from `folder`. Raises NotCompiled."""
    words = ["env", f"PYTHONPATH={folder}", sys.executable, "-P", str(ROOT / "scripts/compiled_days.py")]
    return _run([*words, *map(str, seeds)], ROOT).splitlines()


def _check(draft: Path, seeds: tuple[int, ...]) -> None:
    """Raises NotCompiled."""
    for seed, one, other in zip(seeds, days(draft, seeds), days(ROOT, seeds), strict=True):
        if one != other:
            raise NotCompiled(f"seed {seed} comes out otherwise when compiled: please report it")


def main(arguments: list[str]) -> NoReturn:
    """Play chaos with these arguments, in place of this process."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seeds", type=int, default=1000)
    wanted = parser.parse_known_args(arguments)[0].seeds
    folder = ROOT
    try:
        cc, names = compiler(), modules()
        if wanted < PAYS_FROM and not (BUILDS / identity(cc, names)).exists():
            raise NotCompiled(f"a build pays from {PAYS_FROM} schedules on")
        if not (BUILDS / identity(cc, names)).exists():
            sys.stdout.write("chaos: compiling, which takes minutes; once, until a source is changed\n")
            sys.stdout.flush()
        folder = build(cc, names)
    except NotCompiled as why:
        sys.stdout.write(f"chaos: played interpreted: {why}\n")
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    os.execve(  # noqa: S606 - no shell
        sys.executable, [sys.executable, "-P", "-m", "failoverd.simulator.chaos", *arguments], environment
    )


if __name__ == "__main__":
    main(sys.argv[1:])
