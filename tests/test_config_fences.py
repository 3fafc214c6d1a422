"""Every type of fence has keys of its own: what is missing, misplaced or wrong is one line that says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from failoverd.config import Config, load
from failoverd.config.edges import FenceType
from failoverd.config.resolved import Fence
from failoverd.config.show import as_toml
from tests.test_config_refusals import APP, FENCE, SITES, loaded, refusals

HEAD = '[[fencing]]\nnode = "k3s-w2"\n'
SOCKET = HEAD + 'type = "docker"\nurl = "unix:///var/run/docker.sock"\ncontainer = "k3s-w2"\n'
REMOTE = HEAD + (
    'type = "docker"\nurl = "https://unraid:2376"\ncontainer = "k3s-w2"\n'
    'ca_file = "ca.pem"\ncert_file = "cert.pem"\nkey_file = "key.pem"\n'
)
HOOK = HEAD + 'type = "command"\nargv = ["/bin/sh", "-x"]\n'

TLS = Path(__file__).parent / "data" / "tls"
PEM = {"ca.pem": "docker-client-ca.pem", "cert.pem": "docker-client.pem", "key.pem": "docker-client.key"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, source in PEM.items():
        (tmp_path / name).write_bytes((TLS / source).read_bytes())
    return tmp_path


def fence(folder: Path, text: str) -> Fence:
    return loaded(folder, SITES + APP + text).fences["k3s-w2"]


def test_a_docker_host_is_reached_by_socket_or_by_mutual_tls(folder: Path) -> None:
    assert fence(folder, SOCKET) == Fence(
        name="k3s-w2", node="k3s-w2", type=FenceType.DOCKER,
        url="unix:///var/run/docker.sock", container="k3s-w2",
    )  # fmt: skip
    remote = fence(folder, REMOTE)
    assert (remote.url, remote.ca_file) == ("https://unraid:2376", folder / "ca.pem")
    assert (remote.cert_file, remote.key_file) == (folder / "cert.pem", folder / "key.pem")


def test_a_command_is_a_list_and_has_a_timeout(folder: Path) -> None:
    assert fence(folder, HOOK) == Fence(
        name="k3s-w2", node="k3s-w2", type=FenceType.COMMAND,
        argv=("/bin/sh", "-x"), timeout=timedelta(seconds=10),
    )  # fmt: skip
    assert fence(folder, HOOK + 'timeout = "20s"\n').timeout == timedelta(seconds=20)


def test_a_node_is_tainted_where_its_fence_says_so(folder: Path) -> None:
    assert loaded(folder, SITES + APP + HOOK).rules.out_of_service == ()
    assert loaded(folder, SITES + APP + HOOK + "out_of_service = true\n").rules.out_of_service == ("k3s-w2",)


CASES: list[tuple[str, str, str]] = [
    ("no url", SOCKET.replace('url = "unix:///var/run/docker.sock"\n', ""),
     '10: fencing[0].url: is missing: type "docker" needs it'),
    ("no container", SOCKET.replace('container = "k3s-w2"\n', ""),
     '10: fencing[0].container: is missing: type "docker" needs it'),
    ("no program", HEAD + 'type = "command"\n', '10: fencing[0].argv: is missing: type "command" needs it'),
    ("no guest", HEAD + 'type = "proxmox-vm"\nurl = "https://pve:8006"\ntoken = "a@b!c=0"\n',
     '10: fencing[0].guest: is missing: type "proxmox-vm" needs it'),
    ("docker's address", SOCKET.replace("unix:///var/run/docker.sock", "tcp://unraid:2375"),
     '13: fencing[0].url: "tcp://unraid:2375" is not an address; write it as "https://host:2376" or'
     ' "unix:///var/run/docker.sock"'),
    ("in the clear", SOCKET.replace("unix:///var/run/docker.sock", "http://unraid:2375"),
     '13: fencing[0].url: "http://unraid:2375" is not an address; write it as "https://host:2376" or'
     ' "unix:///var/run/docker.sock"'),
    ("relative socket", SOCKET.replace("unix:///", "unix://"),
     '13: fencing[0].url: "unix://var/run/docker.sock" is not an address; write it as "https://host:2376" or'
     ' "unix:///var/run/docker.sock"'),
    ("nobody's certificate", REMOTE.replace('cert_file = "cert.pem"\n', ""),
     "10: fencing[0].cert_file: is missing: a Docker Engine that lets anybody in over the network belongs to"
     " everybody"),
    ("no such key", REMOTE.replace("key.pem", "no.pem"),
     "17: fencing[0].key_file: there is no file no.pem; make it, or name another"),
    ("TLS on a socket", SOCKET + 'cert_file = "cert.pem"\n',
     '15: fencing[0].cert_file: "unix:///var/run/docker.sock" has no use for it: there is no TLS'),
    ("name of a container", SOCKET.replace('container = "k3s-w2"', 'container = "a/b"'),
     '14: fencing[0].container: "a/b" is not the name of a container'),
    ("authority and pin", REMOTE + f'fingerprint = "{"00" * 32}"\n',
     "18: fencing[0].fingerprint: there is ca_file as well; keep one of the two"),
    ("another type's key", SOCKET + 'guest = "pve/101"\n',
     '15: fencing[0].guest: type "docker" has no use for it; it knows url, container, ca_file, fingerprint,'
     " cert_file, key_file"),
    ("a token for a program", HOOK + 'token = "geheim"\n',
     '14: fencing[0].token: type "command" has no use for it; it knows argv, timeout'),
    ("a timeout for Docker", SOCKET + 'timeout = "5s"\n',
     '15: fencing[0].timeout: type "docker" has no use for it; it knows url, container, ca_file, fingerprint,'
     " cert_file, key_file"),
    ("one text", HEAD + 'type = "command"\nargv = "/bin/sh -c x"\n',
     '13: fencing[0].argv: must be a list, not "/bin/sh -c x"'),
    ("not text", HEAD + 'type = "command"\nargv = ["/bin/sh", 3]\n',
     "13: fencing[0].argv[1]: must be text, not 3"),
    ("not absolute", HEAD + 'type = "command"\nargv = ["ipmitool"]\n',
     '13: fencing[0].argv: "ipmitool" is not an absolute path; no PATH is searched and no shell asked'),
    ("no such program", HEAD + 'type = "command"\nargv = ["/nonexistent"]\n',
     "13: fencing[0].argv: there is no program /nonexistent that may be run; install it, or name another"),
    ("may not be run", HEAD + 'type = "command"\nargv = ["/etc/passwd"]\n',
     "13: fencing[0].argv: there is no program /etc/passwd that may be run; install it, or name another"),
    ("too long", HOOK + 'timeout = "21s"\n',
     '14: fencing[0].timeout: "21s" is too long: 3 calls must fit into timings.fence_timeout 1m; largest value'
     ' that works: "20s"'),
    ("too short", HOOK + 'timeout = "10ms"\n', '14: fencing[0].timeout: "10ms" is too short; write "1s" or more'),
    ("unknown type", HEAD + 'type = "dokcer"\n', '12: fencing[0].type: "dokcer" is unknown; did you mean "docker"?'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_mistake_is_one_line(folder: Path, text: str, line: str) -> None:
    lines = refusals(folder, SITES + APP + text)
    assert lines == [f"config.toml:{line}"]


CA = (TLS / "pve-ca.pem").read_text()
BROKEN: list[tuple[str, str, str, str]] = [
    ("no certificate", "ca.pem", "x", "15: fencing[0].ca_file: {} is not a certificate in PEM form: there is no"
     " -----BEGIN CERTIFICATE----- in it"),
    ("a key for an authority", "ca.pem", (TLS / "pve.key").read_text(),
     "15: fencing[0].ca_file: {} is not a certificate in PEM form: there is no -----BEGIN CERTIFICATE----- in it"),
    ("half a chain", "ca.pem", CA + CA[:300],
     "15: fencing[0].ca_file: {} is not a certificate in PEM form: it is damaged or cut short"),
    ("half a certificate", "cert.pem", CA[:300],
     "16: fencing[0].cert_file: {} is not a certificate in PEM form: it is damaged or cut short"),
    ("no key", "key.pem", CA,
     "17: fencing[0].key_file: {} is not a private key in PEM form: there is no -----BEGIN PRIVATE KEY----- in it"),
    ("half a key", "key.pem", (TLS / "docker-client.key").read_text()[:90],
     "17: fencing[0].key_file: {} is not a private key in PEM form: it is damaged or cut short"),
    ("a locked key", "key.pem", (TLS / "docker-locked.key").read_text(),
     "17: fencing[0].key_file: {} is encrypted, and nobody is there to type its password: write it without one"),
    ("another's key", "key.pem", (TLS / "stranger.key").read_text(),
     "17: fencing[0].key_file: {} is not the key of the certificate in cert.pem"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "line"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_certificate_or_key_that_cannot_be_used_is_one_line(folder: Path, name: str, text: str, line: str) -> None:
    (folder / name).write_text(text)
    assert refusals(folder, SITES + APP + REMOTE) == [f"config.toml:{line.format(name)}"]
    load(folder / "config.toml", files=False)


def test_the_authority_of_a_hypervisor_is_looked_into_as_well(folder: Path) -> None:
    (folder / "ca.pem").write_text("x")
    lines = refusals(folder, SITES + APP + FENCE + 'ca_file = "ca.pem"\n')
    assert lines == ["config.toml:16: fencing[0].ca_file: ca.pem is not a certificate in PEM form: there is no"
                     " -----BEGIN CERTIFICATE----- in it"]  # fmt: skip


def test_files_of_another_machine_are_not_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SITES + APP + REMOTE + HOOK.replace("/bin/sh", "/nonexistent").replace("w2", "w1"))
    assert load(path, files=False).fences["k3s-w1"].argv[0] == "/nonexistent"


def test_what_is_shown_can_be_loaded_again(folder: Path) -> None:
    text = SITES + APP + SOCKET + HOOK.replace("w2", "w1")
    config = loaded(folder, text)
    again = loaded(folder, as_toml(config))
    assert (again.fences, again.rules) == (config.fences, config.rules)


def test_which_guest_a_node_is_decides_the_fingerprint_and_certificates_do_not(folder: Path) -> None:
    def rules(text: str) -> Config:
        return loaded(folder, SITES + APP + text)

    base = rules(REMOTE)
    (folder / "other.pem").write_bytes((folder / "cert.pem").read_bytes())
    renewed = rules(REMOTE.replace("cert.pem", "other.pem"))
    assert (renewed.rules.fence_hash, renewed.hash) == (base.rules.fence_hash, base.hash)
    hashes = {
        config.rules.fence_hash
        for config in (
            base, rules(REMOTE.replace('container = "k3s-w2"', 'container = "k3s-w3"')), rules(SOCKET),
            rules(HOOK), rules(HOOK.replace("-x", "-e")),
        )
    }  # fmt: skip
    assert len(hashes) == 5
