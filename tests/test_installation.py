"""The recipes of docs/installation.md do what they say: kubeconfigs without a bare token, files for the unit."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from failoverd.cli.parser import build

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "installation.md").read_text()
SYSTEMD = ROOT / "deploy" / "systemd"
SHIPPED = (ROOT / "deploy" / "kubernetes" / "config.toml").read_text()
TOKEN, AUTHORITY, SERVER = "eyJhbGciOi.secret.token", "LS0tLS1CRUdJTg==", "https://192.0.2.7:6443"

KUBECTL = """\
#!{python}
import base64, re, sys
words = sys.argv[1:]
asked = next((word for word in words if word.startswith("jsonpath=")), "")
key = asked.rpartition(".")[2].rstrip("}}") if "ca\\\\." not in asked else "ca.crt"
if words[0] == "apply":
    open({applied!r}, "w").write(sys.stdin.read())
    print("secret/failoverd-token created")
elif "create" in words and "token" in words:
    print({token!r})
elif "secret" in words:
    print({{"token": base64.b64encode({token!r}.encode()).decode(), "ca.crt": {authority!r}}}[key], end="")
elif words[:2] == ["config", "view"]:
    assert "--raw" in words and "--flatten" in words and "--minify" in words
    print({{"server": {server!r}, "certificate-authority-data": {authority!r}}}[key], end="")
else:
    sys.exit(f"unexpected: {{words}}")
"""


def blocks(language: str) -> list[str]:
    found = re.findall(rf"(?ms)^( *)```{language}\n(.*?)^ *```", PAGE)
    return [textwrap.dedent(text) for _, text in found]


def run(block: str, folder: Path) -> str:
    """Everything a recipe prints, played by a shell that has our `kubectl`."""
    tool = folder / "bin" / "kubectl"
    tool.parent.mkdir()
    applied = str(folder / "applied.yaml")
    tool.write_text(
        KUBECTL.format(python=sys.executable, applied=applied, token=TOKEN, authority=AUTHORITY, server=SERVER)
    )
    tool.chmod(0o755)
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", block], cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "server"), [("operator.kubeconfig", SERVER), ("kubeconfig", "https://k3s-cp1:6443")]
)
def test_a_kubeconfig_is_made_without_showing_its_token(tmp_path: Path, file: str, server: str) -> None:
    (block,) = [one for one in blocks("sh") if f"cat > {file} <<END" in one]
    assert TOKEN not in run(block, tmp_path)
    made = tmp_path / file
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    config = yaml.safe_load(made.read_text())
    assert config["clusters"][0]["cluster"] == {"server": server, "certificate-authority-data": AUTHORITY}
    assert config["users"][0]["user"] == {"token": TOKEN}
    (context,) = config["contexts"]
    assert config["current-context"] == context["name"]
    assert context["context"] == {"cluster": config["clusters"][0]["name"], "user": config["users"][0]["name"]}
    if file == "kubeconfig":
        secret = yaml.safe_load((tmp_path / "applied.yaml").read_text())
        assert secret["metadata"]["annotations"] == {"kubernetes.io/service-account.name": "failoverd"}
        assert secret["type"] == "kubernetes.io/service-account-token"


def test_no_recipe_prints_a_token() -> None:
    bare = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("kubectl")]
    assert [line for line in bare if "token" in line.split()] == []


def test_every_file_that_the_shipped_configuration_names_is_handed_over_and_listed() -> None:
    named = {Path(name).name for name in re.findall(r'(?m)^\w+_file = "(.+)"', SHIPPED)}
    (drop_in,) = blocks("ini")
    unit = (SYSTEMD / "failoverd.service").read_text()
    loaded = dict(re.findall(r"(?m)^LoadCredential=(\S+?):(\S+)$", unit + drop_in))
    assert named | {"kubeconfig"} <= set(loaded)
    assert loaded == {name: f"/etc/failoverd/{name}" for name in loaded}
    table = PAGE[PAGE.index("Put these files into") : PAGE.index("The unit hands")]
    assert set(loaded) <= set(re.findall(r"`([\w.-]+)`", table))


def test_the_drop_in_for_one_configuration_starts_what_the_page_says() -> None:
    text = (SYSTEMD / "failoverd.service.d" / "one-config.conf").read_text()
    empty, start = re.findall(r"(?m)^ExecStart=(.*)$", text)
    assert empty == ""  # or systemd would have two of them
    program, *words = shlex.split(start)
    assert program == "/opt/failoverd/bin/failoverd"
    arguments = build().parse(words)
    assert (arguments.command, arguments.config_from) == ("run", ("failoverd", "failoverd-config"))
    assert (str(arguments.config), str(arguments.files)) == ("/var/lib/failoverd/config.toml", "%d")
    assert "StateDirectory=failoverd" in text.splitlines()
    assert start.removeprefix("/opt/failoverd/bin/").replace("%d", "DIR") in PAGE


def test_the_configmap_that_is_followed_is_the_one_that_the_pods_mount() -> None:
    kustomization = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    assert (generated["namespace"], generated["name"], generated["files"]) == (
        "failoverd", "failoverd-config", ["config.toml"],
    )  # fmt: skip
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True


COMMANDS = [
    match[1]
    for block in blocks("sh")
    for match in re.finditer(r"(?m)^(?:kubectl .* -- )?failoverd (.*?)(?: >.*| +#.*)?$", block)
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_failoverd_command_of_the_page_can_be_given(line: str) -> None:
    assert build().parse(shlex.split(line)).command


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 10
