"""How `.venv` comes about: which lock, for whom, and what is said where it cannot."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scripts.locks import HIDING, LOCKS, ROOT, tools


def bootstrap() -> ModuleType:
    """scripts/bootstrap.py as a module."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bootstrap_can_be_parsed_by_a_python_that_is_too_old_and_tells_it_so() -> None:
    ast.parse((ROOT / "scripts" / "bootstrap.py").read_text(), feature_version=(3, 6))
    module = bootstrap()
    with pytest.raises(module.BootstrapError) as told:
        module.check_interpreter((3, 9), lambda _: True)
    assert "needs Python 3.11 or newer, this is 3.9" in str(told.value)
    assert "\n" not in str(told.value)


def test_bootstrap_names_the_package_that_holds_a_missing_ensurepip() -> None:
    program = "import runpy, sys; sys.modules['ensurepip'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", program, str(ROOT / "scripts" / "bootstrap.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"python{sys.version_info[0]}.{sys.version_info[1]}-venv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("there", "options", "installed"),
    [
        ("", ("--runtime",), "requirements.lock"),
        ("", (), "requirements-dev.lock"),
        ("requirements.lock", ("--runtime",), ""),
        ("requirements.lock", (), "added requirements-dev.lock"),
        ("outdated requirements.lock", (), "requirements-dev.lock"),
        ("requirements-dev.lock", ("--runtime",), ""),
        ("requirements-dev.lock", (), ""),
        ("outdated requirements.lock", ("--runtime",), "requirements.lock"),
        ("outdated requirements-dev.lock", ("--runtime",), "requirements-dev.lock"),
    ],
)
def test_bootstrap_installs_the_tools_only_where_they_are_needed(
    there: str, options: tuple[str, ...], installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bootstrap()
    built: list[str] = []
    elsewhere(module, tmp_path, monkeypatch)
    monkeypatch.setattr(module, "build", built.append)
    monkeypatch.setattr(module, "install", lambda lock: built.append(f"added {lock}"))
    if there:
        assert module.main([] if there.endswith("dev.lock") else ["--runtime"]) == 0
        built.clear()
    if there.startswith("outdated"):
        (tmp_path / "root" / there.split()[1]).write_text("another version")
    assert module.main(list(options)) == 0
    assert built == ([installed] if installed else [])


def elsewhere(module: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it work on a checkout of its own."""
    for name in ("ROOT", "VENV", "STAMP", "ADDING"):
        monkeypatch.setattr(module, name, str(folder / name.lower()))
    (folder / "root").mkdir()
    for lock in LOCKS:
        (folder / "root" / lock).write_text(lock)


def test_tools_whose_adding_was_broken_off_are_added_again_but_not_onto_those_of_another_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bootstrap()
    done: list[str] = []

    def fail(lock: str) -> None:
        done.append(f"added {lock}")
        raise module.BootstrapError("no network")

    elsewhere(module, tmp_path, monkeypatch)
    monkeypatch.setattr(module, "build", done.append)
    monkeypatch.setattr(module, "install", fail)
    assert [module.main(["--runtime"]), module.main([]), module.main(["--runtime"]), module.main([])] == [0, 2, 0, 2]
    (tmp_path / "root" / LOCKS[1]).write_text("another version")
    assert module.main([]) == 0
    assert done == ["requirements.lock", *["added requirements-dev.lock"] * 2, "requirements-dev.lock"]


def test_the_environment_runs_this_checkout_without_any_build_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = bootstrap()
    packages = tmp_path / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(module, "VENV", str(tmp_path))
    module.link(sys.executable)
    assert (packages / "failoverd.pth").read_text() == f"{ROOT}\n"
    environment = {"PYTHONPATH": str(ROOT)}
    command = [str(tmp_path / "bin" / "failoverd"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("failoverd "), done


def test_make_demo_needs_no_tools_and_make_test_does() -> None:
    needs = dict(
        re.findall(r"^([a-z0-9.-]+):(?: ([a-z0-9. -]+))?", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    )
    assert (needs["demo"].strip(), needs["lint"].strip(), needs["unit"].strip()) == (
        ".venv-runtime",
        ".venv",
        ".venv",
    )


def test_failoverd_runs_without_the_tools_of_the_dev_lock() -> None:
    hidden = tools()
    assert "pytest" in hidden.split(",")
    program = HIDING + (
        "import importlib, pkgutil\n"
        "import failoverd\n"
        "for one in pkgutil.walk_packages(failoverd.__path__, 'failoverd.'):\n"
        "    if not one.name.endswith('__main__'): importlib.import_module(one.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, hidden], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
