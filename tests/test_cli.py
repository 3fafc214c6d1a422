"""The command line as a user meets it: one clear line and an exit status, whatever happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failoverd import __version__
from failoverd.cli import HANDLERS, handler, main
from failoverd.cli.exits import MEANINGS, Exit
from failoverd.cli.reference import commands, markdown
from failoverd.cli.table import table
from failoverd.core.rules import EXPERIMENTAL

ROOT = Path(__file__).parent.parent
CONFIG = """\
[sites.primary]
node = "k3s-w1"
[sites.backup]
node = "k3s-w2"
[[apps]]
name = "sonarr"
namespace = "media"
[[apps]]
name = "db"
namespace = "media"
kind = "StatefulSet"
[[apps]]
name = "db"
namespace = "other"
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return str(path)


def test_every_command_has_a_handler_and_no_handler_is_idle() -> None:
    assert {name for name, _ in commands()} == set(HANDLERS)
    assert all(callable(handler(name)) for name in HANDLERS)


def test_help_and_a_look_at_the_configuration_import_no_client_of_a_cluster(config: str) -> None:
    program = "import sys, failoverd.cli as cli; cli.main(sys.argv[1:]); assert 'kubernetes' not in sys.modules"
    for arguments in (["config", "check", "--config", config], ["config", "schema"], []):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_page_is_the_generated_one_and_names_every_command_and_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == markdown(), "run: python -m failoverd.cli.reference > docs/cli.md"
    sections = dict(re.findall(r"(?ms)^## `failoverd (.+?)`\n(.*?)(?=^## |\Z)", page))
    assert set(sections) == set(HANDLERS)
    for name, parser in commands():
        assert parser.description
        for action in parser._actions:
            assert action.help, f"{name} {action.dest}"
            if action.option_strings and action.dest not in ("help", "config", "kubeconfig"):
                assert f"`{action.option_strings[0]}" in sections[name]


def test_every_exit_status_has_its_meaning_on_the_page() -> None:
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize("name", [name for name in HANDLERS if name not in ("demo", "simulate")])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*name.split(), "--help"])
    assert caught.value.code == 0
    assert f"usage: failoverd {name}" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"failoverd {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["swichover"], 'there is no command "swichover"; did you mean "switchover"? See failoverd --help'),
        (["approve", "sonarr"], '"approve" is not in this version; see failoverd --help'),
        (["drill"], '"drill" is not in this version; see failoverd --help'),
        (["config", "shwo"], 'there is no command "shwo"; did you mean "show"? See failoverd config --help'),
        (["switchover"], "the following arguments are required: APP; see failoverd switchover --help"),
        (["status", "--fast"], "unknown arguments: --fast; see failoverd --help"),
        (
            ["pause", "--for", "3"],
            'argument --for: "3" has no unit; write "3s" for seconds; see failoverd pause --help',
        ),
        (["history", "-n", "0"], 'argument -n: "0" is not a number above 0; see failoverd history --help'),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == Exit.USAGE
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"failoverd: {line}\n")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == Exit.USAGE
    assert "switchover" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv", [["config", "check"], ["config", "show"], ["config", "rbac"], ["run"], ["once"], ["status"], ["pause"]]
)
def test_a_bad_configuration_stops_every_command_before_anything_else(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(CONFIG + "[failover]\ncooldwon = 1\n[webb]\n")
    assert main([*argv, "--config", str(path)]) == Exit.USAGE
    assert capsys.readouterr().err.splitlines() == [
        f'failoverd: {path}:16: failover.cooldwon: unknown key; did you mean "cooldown"?',
        f'failoverd: {path}:17: webb: unknown key; did you mean "web"?',
    ]


def test_the_configuration_is_found_by_option_or_variable(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILOVERD_CONFIG", "/nowhere/config.toml")
    assert main(["config", "check"]) == Exit.USAGE
    assert "/nowhere/config.toml: cannot be read" in capsys.readouterr().err
    assert main(["config", "check", "--config", config]) == Exit.OK
    assert main(["--config", config, "config", "check"]) == Exit.OK
    monkeypatch.setenv("FAILOVERD_CONFIG", config)
    assert main(["config", "check"]) == Exit.OK
    said = capsys.readouterr()
    assert said.out.startswith(f"{config}: good: mode observe, 3 apps in 1 pair, 0 fences, 0 channels, hash ")
    assert "note: " in said.err
    assert EXPERIMENTAL not in said.err


def test_active_is_called_experimental_when_it_is_checked(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(config)
    path.write_text('mode = "active"\n' + path.read_text().replace('mode = "observe"\n', ""))
    assert main(["config", "check", "--config", config]) == Exit.OK
    assert f"note: {config}:1: mode: {EXPERIMENTAL.removeprefix('mode ')}\n" in capsys.readouterr().err


def test_what_may_cost_data_is_a_warning_and_no_refusal(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(config).write_text(CONFIG + '[failover]\nrequire = "silence"\n')
    assert main(["config", "check", "--config", config]) == Exit.OK
    said = capsys.readouterr()
    assert "good: " in said.out
    assert [line for line in said.err.splitlines() if line.startswith(f"WARNING: {config}:16: failover.require: ")]


ELSEWHERE = """\
[[fencing]]
node = "k3s-w1"
type = "proxmox-lxc"
url = "https://pve:8006"
guest = "pve/101"
token_file = "/nowhere/token"
ca_file = "/nowhere/ca.pem"
[[fencing]]
node = "k3s-w2"
type = "command"
argv = ["/nowhere/plug"]
[record]
folder = "/nowhere/recordings"
[kubernetes]
kubeconfig = "/nowhere/kubeconfig"
"""


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_missing_file_is_an_error_that_names_the_way_to_check_without(
    command: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG + ELSEWHERE)
    assert main(["config", command, "--config", config]) == Exit.USAGE
    hint = "; if it is only where the daemon runs: --without-files"
    assert capsys.readouterr().err.replace(f"failoverd: {config}:", "").splitlines() == [
        "20: fencing[0].token_file: cannot read /nowhere/token: No such file or directory; make it, or name another"
        + hint,
        f"21: fencing[0].ca_file: there is no file /nowhere/ca.pem; make it, or name another{hint}",
        f"25: fencing[1].argv: there is no program /nowhere/plug that may be run; install it, or name another{hint}",
        f"27: record.folder: there is no folder /nowhere/recordings; make it, or leave the key out{hint}",
        f"29: kubernetes.kubeconfig: there is no file /nowhere/kubeconfig; make it, or name another{hint}",
    ]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["once", "--dry-run"], "--files DIR; if it is only where the daemon runs, do this there"),
        (["fence", "test", "k3s-w1"], "--files DIR; if it is only where the daemon runs, do this there"),
        (["run"], "--files DIR"),
        (["once", "--files", "/nowhere"], "make it, or name another"),
    ],
)
def test_where_a_file_is_missing_it_is_said_what_may_help(
    words: list[str], hint: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG + ELSEWHERE)
    assert main([*words, "--config", config]) == Exit.USAGE
    line = next(line for line in capsys.readouterr().err.splitlines() if "fencing[0].token_file" in line)
    assert line.endswith(hint)


def test_without_files_the_rest_is_checked_and_what_was_not_looked_at_is_said(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG + ELSEWHERE)
    assert main(["config", "check", "--without-files", "--config", config]) == Exit.OK
    said = capsys.readouterr()
    assert said.out.startswith(f"{config}: good (5 files not looked at): mode observe, 3 apps in 1 pair, 2 fences, ")
    assert [line.rpartition(": ")[2] for line in said.err.splitlines() if line.startswith("not looked at: ")] == [
        "/nowhere/token",
        "/nowhere/ca.pem",
        "/nowhere/plug",
        "/nowhere/recordings",
        "/nowhere/kubeconfig",
    ]
    assert f"not looked at: {config}:20: fencing[0].token_file: /nowhere/token\n" in said.err
    assert main(["config", "show", "--without-files", "--config", config]) == Exit.OK
    assert tomllib.loads(capsys.readouterr().out)["fencing"][0]["token_file"] == "/nowhere/token"
    Path(config).write_text(CONFIG + ELSEWHERE.replace("pve/101", "pve101"))
    assert main(["config", "check", "--without-files", "--config", config]) == Exit.USAGE
    assert f'{config}:19: fencing[0].guest: "pve101" is not a guest' in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["status"], ["why", "sonarr"], ["history"], ["switchover", "sonarr"], ["pause"]])
def test_commands_that_use_no_secret_do_without_the_files_of_the_daemon(
    argv: list[str], config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(config).write_text(CONFIG + ELSEWHERE.partition("[kubernetes]")[0])
    assert main([*argv, "--config", config]) == Exit.UNREACHABLE
    assert "no way to a cluster" in capsys.readouterr().err


def test_config_show_resolves_and_reads_back(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--config", config]) == Exit.OK
    as_toml = tomllib.loads(capsys.readouterr().out)
    assert main(["config", "show", "-o", "json", "--config", config]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == as_toml
    assert as_toml["apps"][0]["volumes"][0]["claim_backup"] == "pvc-sonarr-backup"
    assert as_toml["apps"][0]["max_data_age"] == "5m"


def test_config_schema_and_example_need_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == Exit.OK
    assert "failover" in json.loads(capsys.readouterr().out)["properties"]
    assert main(["config", "example"]) == Exit.OK
    assert capsys.readouterr().out == (ROOT / "config.example.toml").read_text()


def test_config_rbac_names_the_configured_apps_only(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "rbac", "--config", config, "--user", 'jane"x']) == Exit.OK
    documents = capsys.readouterr().out.split("---\n")
    kinds = [
        (re.findall(r"^kind: (\w+)", one, re.M)[0], re.findall(r"(?m)^  namespace: (.+)", one)) for one in documents
    ]
    for namespace in ("media", "other"):
        assert ("Role", [namespace]) in kinds
    media = next(one for one in documents if "kind: Role\n" in one and "namespace: media" in one)
    assert 'resources: [deployments]\n  verbs: [patch]\n  resourceNames: ["sonarr"]' in re.sub(
        r"verbs: \[[^]]*patch[^]]*\]", "verbs: [patch]", media
    )
    assert '"*"' not in "".join(documents)
    assert documents[-1].endswith('name: "jane\\"x"\n')


@pytest.mark.parametrize("argv", [["status"], ["once", "--dry-run"], ["run"]])
def test_without_a_way_to_a_cluster_the_line_says_what_to_give(
    argv: list[str], config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*argv, "--config", config]) == Exit.UNREACHABLE
    ways = "give --kubeconfig FILE or set kubernetes.kubeconfig\n"
    assert capsys.readouterr().err == f"failoverd: no way to a cluster: there is no ~/.kube/config; {ways}"
    monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    assert main([*argv, "--config", config]) == Exit.UNREACHABLE
    tried = "$KUBECONFIG names /nowhere/kubeconfig, which is no file"
    assert capsys.readouterr().err == f"failoverd: no way to a cluster: {tried}; {ways}"


def test_a_broken_kubeconfig_is_one_line(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kc").write_text("{")
    assert main(["status", "--config", config, "--kubeconfig", str(tmp_path / "kc")]) == Exit.UNREACHABLE
    said = capsys.readouterr().err
    assert said.startswith("failoverd: ")
    assert said.count("\n") == 1
    assert str(tmp_path / "kc") in said


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("db", '"db" is in several namespaces: media/db, other/db'),
        ("sonar", 'no app is called "sonar"; did you mean "sonarr"?'),
        ("media/sonar", 'no app is called "media/sonar"; did you mean "media/sonarr"?'),
    ],
)
def test_an_app_must_be_one_that_is_configured(
    config: str, name: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["why", name, "--config", config]) == Exit.USAGE
    assert capsys.readouterr().err == f"failoverd: {line}\n"


def test_a_fault_of_ours_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("failoverd.cli.configuration.check", lambda _: 1 // 0)
    assert main(["config", "check", "--config", config]) == Exit.INTERNAL
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ZeroDivisionError" in said
    assert "Traceback" not in said


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "failoverd", "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.close()
    _, err = program.communicate(timeout=50)
    assert (program.returncode, err) == (0, b"")


@given(
    st.lists(st.tuples(st.text("ab \n", max_size=9), st.text("xy\n", max_size=5)), max_size=4),
)
def test_columns_of_a_table_line_up(rows: list[tuple[str, str]]) -> None:
    lines = table(("FIRST", "SECOND"), rows).split("\n")
    column = lines[0].index("SECOND")
    assert column >= max(5, *(len(part) for row in rows for part in row[0].split("\n")), 0) + 2
    assert len(lines) == 1 + sum(max(cell.count("\n") + 1 for cell in row) for row in rows)
    assert all(line[column - 2 : column].strip() == "" for line in lines)
