"""The project's frame: locks, sizes, purity, import contracts, words that must not be committed, CI entry."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.locks import LOCKS, ROOT, normalised, pinned

BIN = Path(sys.executable).parent

# Everything core may take from the standard library: values and the means to combine them.
PURE = {
    "__future__", "abc", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "itertools", "math", "operator", "re", "statistics", "string", "textwrap",
    "types", "typing",
}  # fmt: skip

# Written so that no pattern matches itself.
FORBIDDEN = [
    r"(?<![\w.)}\]-])/wor[k](?![\w-])",
    r"/tmp/brie[f]",
    r"\.\./share[d]",
    r"\bpypi\.org",
    r"\bpythonhosted\.org",
    r"\b(?:proxy|sum)\.golang\.org",
    r"\b(?:deb|security)\.debian\.org",
    r"\bregistry\.npmjs\.org",
]


def listed(*options: str) -> list[Path]:
    """The project's files that exist, by git; `options` select which."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", *options]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(path for name in names.split("\0") if name and (path := ROOT / name).is_file())


def python_files() -> list[Path]:
    """Every Python file, also those not yet added: a rule should break before the commit, not after."""
    return [path for path in listed("--cached", "--others", "--exclude-standard") if path.suffix == ".py"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_packages_and_hashes_and_nothing_of_the_machine_that_made_it(lock: str) -> None:
    for number, line in enumerate((ROOT / lock).read_text().splitlines(), start=1):
        assert re.fullmatch(
            r"#.*|[a-z0-9-]+==[^\s:/@]+( ; [^:/@]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        ), f"{lock}:{number}: {line}"
        assert not re.search(r"://|index|find-links|trusted-host|@ ", line), f"{lock}:{number}: {line}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_has_a_hash(lock: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text())
    unhashed = [entry.split()[0] for entry in entries if "==" in entry and "--hash=" not in entry]
    assert unhashed == []
    assert len(pinned(lock)) >= 10


def test_the_locks_hold_what_the_project_declares_and_agree_with_each_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, dev = pinned(LOCKS[0]), pinned(LOCKS[1])
    assert {normalised(name) for name in project["project"]["dependencies"]} - runtime.keys() == set()
    assert {normalised(name) for name in project["dependency-groups"]["dev"]} - dev.keys() == set()
    assert {name: dev.get(name) for name in runtime} == runtime


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert "tests/test_frame.py" in lengths


def test_no_function_is_longer_than_70_lines() -> None:
    found: dict[str, int] = {}
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                found[name] = (node.end_lineno or node.lineno) - node.lineno + 1
    assert {name: length for name, length in found.items() if length > 70} == {}
    assert found


def test_core_imports_only_itself_and_pure_parts_of_the_standard_library() -> None:
    strangers = []
    for path in sorted((ROOT / "failoverd" / "core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            strangers += [
                f"{path.relative_to(ROOT)}:{node.lineno} {name}"
                for name in names
                if name.split(".")[0] not in PURE and not f"{name}.".startswith("failoverd.core.")
            ]
    assert strangers == []


def machine_hosts() -> list[str]:
    """Host names of whatever package mirrors this machine is told to use."""
    variables = (
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
        "GOPROXY",
    )
    words = " ".join(os.environ.get(name, "") for name in variables).replace(",", " ").split()
    return [host for word in words if (host := urlsplit(word).hostname)]


def test_nothing_committed_names_a_private_path_or_a_package_registry() -> None:
    pattern = re.compile("|".join([*FORBIDDEN, *map(re.escape, machine_hosts())]).encode())
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.decode(errors='replace').strip()}"
        for path in listed()
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["see /wor" + "k/main", "cd /wor" + "k", "https://pypi" + ".org/simple", "../share" + "d/x"]
)
def test_the_search_for_forbidden_words_finds_them(text: str) -> None:
    assert re.search("|".join(FORBIDDEN), text)


@pytest.mark.parametrize("text", ["/workloads", "overlay/work", "a worktree", "f'{state}/work/x'"])
def test_the_search_for_forbidden_words_leaves_ordinary_words_alone(text: str) -> None:
    assert not re.search("|".join(FORBIDDEN), text)


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `directory`'s pyproject.toml on the package beside it."""
    return subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("core/model", "loop"),
        ("core/moves", "core/decide"),
        ("core/model", "core/policy"),
        ("core/policy", "random"),
        ("core/decide", "httpx"),
        ("adapters/syncthing", "adapters/kubernetes"),
        ("adapters/kubernetes", "adapters/syncthing"),
        ("adapters/web", "daemon"),
        ("simulator/world", "adapters/kubernetes"),
        ("guard/place", "core/moves"),
        ("guard/points", "adapters/kubernetes"),
        ("loop", "adapters/syncthing"),
    ],
)
def test_a_planted_import_breaks_a_contract_unless_it_is_allowed(
    tmp_path: Path, importer: str, imported: str
) -> None:
    allowed = (importer, imported) == ("adapters/syncthing", "adapters/kubernetes")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    outside = imported in ("random", "httpx")
    for name in [importer, "core/model"] + ([] if outside else [imported]):
        path = tmp_path / "failoverd" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for directory in {path.parent for path in tmp_path.rglob("failoverd/**/*.py")} | {tmp_path / "failoverd"}:
        (directory / "__init__.py").touch()
    target = imported if outside else "failoverd." + imported.replace("/", ".")
    (tmp_path / "failoverd" / f"{importer}.py").write_text(f"import {target}\n")
    done = lint_imports(tmp_path)
    assert (done.returncode == 0) is allowed, done.stdout + done.stderr
    assert ("0 broken" in done.stdout) is allowed, done.stdout + done.stderr


@pytest.mark.parametrize(
    "call", ["time.time()", "time.monotonic()", "time.sleep(1)", "datetime.datetime.now(datetime.UTC)"]
)
@pytest.mark.parametrize(("file", "accused"), [("loop.py", True), ("core/decide.py", True), ("clock.py", False)])
def test_only_clock_py_may_read_the_clock_or_wait(call: str, file: str, accused: bool) -> None:
    source = f'"""A module."""\n\nimport {call.partition(".")[0]}\n\nVALUE = {call}\n'
    done = subprocess.run(
        [
            BIN / "ruff",
            "check",
            "--no-cache",
            "--select",
            "TID251",
            "--stdin-filename",
            f"failoverd/{file}",
            "-",
        ],
        cwd=ROOT,
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("TID251" in done.stdout) is accused, done.stdout + done.stderr
    assert done.returncode == int(accused), done.stdout + done.stderr


def ci_run(tmp_path: Path, test_status: int) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run whose `make` reports two suites; `make test` ends with `test_status`."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    make = tmp_path / "make"
    make.write_text(
        "#!/bin/sh\n"
        'read line && echo "input: $line"\n'
        f'[ "$1" = test ] && {{ echo "==== 3 passed in 0.10s ===="; exit {test_status}; }}\n'
        'echo "==== 1 passed, 1 skipped in 0.20s ===="\n'
    )
    make.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [tmp_path / ".ci" / "run"]
    return subprocess.run(
        command, env=environment, input="typed\n", capture_output=True, text=True, timeout=20, check=False
    )


def test_ci_prints_the_summary_of_both_suites_and_reads_no_input(tmp_path: Path) -> None:
    done = ci_run(tmp_path, test_status=0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "make test: ==== 3 passed in 0.10s ====",
        "make e2e: ==== 1 passed, 1 skipped in 0.20s ====",
    ]
    assert "input:" not in done.stdout


def test_ci_ends_with_the_failure_of_the_first_suite(tmp_path: Path) -> None:
    done = ci_run(tmp_path, test_status=1)
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1] == "make e2e: not run"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_of_the_documentation_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z0-9.-]+)", (ROOT / page).read_text()))
    assert named - targets == set()
    assert "test" in named
