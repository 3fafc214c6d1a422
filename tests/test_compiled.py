"""Days that are played compiled are the days that are played interpreted; where none can be compiled it is said."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from scripts import compiled
from scripts.compiled import ROOT, NotCompiled, days
from scripts.compiled_source import Unprepared, rewrite, write

GUARDED = 1_003
FEW = [
    "failoverd/core/again.py",
    "failoverd/core/names.py",
    "failoverd/core/rules.py",
    "failoverd/simulator/linear.py",
    "failoverd/simulator/world_data.py",
    "failoverd/simulator/world_index.py",
]
"""What tests compile of it: the whole takes minutes, and is compared before it is used (scripts/compiled.py)."""


def copy(folder):
    shutil.copytree(ROOT / "failoverd", folder / "failoverd", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.timeout(300)
def test_days_are_the_same_where_dataclasses_are_written_out(tmp_path):
    write(copy(tmp_path), compiled.modules())
    assert "@dataclass" not in (tmp_path / "failoverd/core/model.py").read_text()
    assert days(tmp_path, (GUARDED,)) == days(ROOT, (GUARDED,))


@pytest.mark.timeout(300)
def test_our_rules_for_mypy_stop_no_build(tmp_path):
    write(copy(tmp_path), compiled.modules())
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    compiled._run([sys.executable, "-c", compiled.GENERATE, "failoverd/core/filed.py"], tmp_path)
    assert (tmp_path / "made.json").exists()


def test_a_build_in_which_a_day_comes_out_otherwise_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_compile", lambda *_: None)
    monkeypatch.setattr(compiled, "days", lambda folder, seeds: [f"{folder == ROOT} {seed}" for seed in seeds])
    with pytest.raises(NotCompiled, match="seed 7 comes out otherwise when compiled"):
        compiled.build("cc", FEW, checked=(7,), builds=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Replaced(Exception):
    """In place of this process another one would run."""


def started(capsys, arguments):
    """What is said before chaos is started, and from where it would be imported."""

    def execve(path, words, environment):
        print(environment["PYTHONPATH"], *words[1:])
        raise Replaced

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "execve", execve)
        patched.setattr(compiled, "build", lambda *_: "the build")
        with pytest.raises(Replaced):
            compiled.main(arguments)
    return capsys.readouterr().out


CHAOS = "-P -m failoverd.simulator.chaos"


def test_without_a_compiler_it_is_said_and_played_interpreted(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert started(capsys, ["--seeds", "9000", "--jobs", "1"]) == (
        f"chaos: played interpreted: there is no C compiler (cc)\n{ROOT} {CHAOS} --seeds 9000 --jobs 1\n"
    )


def test_for_few_days_nothing_is_compiled(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "compiler", lambda: "cc")
    monkeypatch.setattr(compiled, "BUILDS", tmp_path)
    monkeypatch.setattr(compiled, "identity", lambda *_: "key")
    said = "chaos: played interpreted: a build pays from 2000 schedules on\n"
    assert started(capsys, []) == f"{said}{ROOT} {CHAOS}\n"
    assert started(capsys, ["--seeds", "2000"]).endswith(f"changed\nthe build {CHAOS} --seeds 2000\n")
    (tmp_path / "key").mkdir()
    assert started(capsys, []) == f"the build {CHAOS}\n"


def test_a_build_that_is_stopped_ends_without_a_traceback(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compiled, "compiler", lambda: "cc")
    monkeypatch.setattr(compiled, "build", stopped)
    with pytest.raises(SystemExit, match="130"):
        compiled.main(["--seeds", "9000"])


# -------------------------------------------------------------------- dataclasses, written out

SHAPES = """
from __future__ import annotations
from dataclasses import dataclass, field, replace

@dataclass(frozen=True, slots=True)
class Base:
    what: str

@dataclass(frozen=True, slots=True, kw_only=True)
class Point(Base):
    x: int
    y: tuple[int, ...] = (0,)
    names: dict[str, int] = field(default_factory=dict)

@dataclass(slots=True)
class Counted:
    of: list[int] = field(default_factory=lambda: [1])
    sum: int = field(init=False)
    seen: int = field(init=False, default=3)

    def __post_init__(self) -> None:
        self.sum = sum(self.of)
"""


def shapes(tmp_path, text=SHAPES):
    path = tmp_path / "shapes.py"
    path.write_text(textwrap.dedent(text))
    return rewrite(path)


def test_a_class_that_is_written_out_does_what_the_dataclass_did(tmp_path):
    write(copy(tmp_path), FEW)
    checks = """
    from dataclasses import fields
    one = Point("a", x=1)
    assert (one.what, one.x, one.y, one.names) == ("a", 1, (0,), {})
    assert one == Point("a", x=1) and one != Point("a", x=2) and one != Base("a")
    assert hash(Base("a")) == hash(("a",))
    other = replace(one, y=(2,))
    assert (other.y, one.y, other.names is one.names) == ((2,), (0,), True)
    assert [known.name for known in fields(Point)] == ["what", "x", "y", "names"]
    assert Point("a", x=1).names is not one.names
    assert (Counted().sum, Counted([2, 3]).sum, Counted().seen) == (1, 5, 3)
    """
    (tmp_path / "run.py").write_text(shapes(tmp_path) + textwrap.dedent(checks))
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "text",
    [
        "@dataclass(order=True)\nclass One:\n    x: int\n",
        "@dataclass\nclass One(Other):\n    x: int\n",
        "@dataclass\nclass One:\n    x: int = field(repr=False)\n",
        "@dataclass\nclass One:\n    x: dict[str, int] | None = field(default_factory=dict)\n",
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, text):
    with pytest.raises(Unprepared, match=r"shapes\.py:\d"):
        shapes(tmp_path, text)
