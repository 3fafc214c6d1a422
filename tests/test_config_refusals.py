"""Every mistake in a configuration is one line that says where it is and what to write instead."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from failoverd.adapters.notify import Notifier
from failoverd.adapters.notify.channel import Target
from failoverd.clock import SystemClock
from failoverd.config import Config, ConfigError, load
from failoverd.config.address import misfit
from failoverd.config.edges import ChannelType

SITES = """\
[sites.primary]
node = "k3s-w1"
node_selector = { role = "primary" }
domain = "pve"
[sites.backup]
node = "k3s-w2"
"""
APP = """\
[[apps]]
name = "sonarr"
namespace = "media"
"""
FENCE = """\
[[fencing]]
node = "k3s-w1"
type = "proxmox-lxc"
url = "https://pve:8006"
guest = "pve/101"
token = "failoverd@pve!fence=0-1"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def loaded(folder: Path, text: str) -> Config:
    return load(written(folder, text))


def refusals(folder: Path, text: str) -> list[str]:
    """Every line of the refusal, with the folder left out."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


CASES: list[tuple[str, str, str]] = [
    ("unknown key", '[failover]\ncooldwon = "1m"\n', '2: failover.cooldwon: unknown key; did you mean "cooldown"?'),
    ("key of another table", '[failover]\nstable_for = "1m"\n',
     "2: failover.stable_for: unknown key here; it belongs to failback.stable_for"),
    ("key of no table", '[failover]\nmode = "observe"\n',
     '2: failover.mode: unknown key here; "mode" belongs to no table: write it above the first [table]'),
    ("unknown table", "[falover]\n", '1: falover: unknown key; did you mean "failover"?'),
    ("no unit", "[failover]\n\nmax_data_age = 300\n",
     '3: failover.max_data_age: 300 has no unit; write "300s" for seconds'),
    ("wrong unit", '[failback]\nstable_for = "10 minutes"\n',
     '2: failback.stable_for: "10 minutes" is not a duration; write a number and a unit (d, h, m, s, ms),'
     ' as in "10s", "5m" or "1h30m"'),
    ("wrong choice", '[failover]\nrequire = "prof"\n',
     '2: failover.require: "prof" is unknown; did you mean "proof"?'),
    ("wrong choice, nothing alike", '[failback]\npolicy = "zzz"\n',
     '2: failback.policy: "zzz" is unknown; choose "auto" or "manual"'),
    ("wrong type", "[web]\nlisten = 3\n", "2: web.listen: must be text, not 3"),
    ("wrong number", "[failover]\nmax_moves = { count = 'x' }\n",
     '2: failover.max_moves.count: must be a whole number, not "x"'),
    ("too small", "[failover]\nmax_unhealthy = 0\n", "2: failover.max_unhealthy: must be at least 1, not 0"),
    ("wrong truth", "[observe]\nscan = 'maybe'\n", '2: observe.scan: must be true or false, not "maybe"'),
    ("a yes that is no truth", "[guard]\nenabled = 'yes'\n", '2: guard.enabled: must be true or false, not "yes"'),
    ("a number that is no truth", "[guard]\nenabled = 1\n", "2: guard.enabled: must be true or false, not 1"),
    ("approve", 'mode = "approve"\n', '1: mode: "approve" is not available in this version'),
    ("guard", "[guard]\nshare = 0\n", "2: guard.share: must be more than 0, not 0"),
    ("an absolute pattern", '[guard]\nfiles = ["a.xml", "/etc/x"]\n',
     '2: guard.files[1]: "/etc/x" must be relative to the volume: leave the leading / out'),
    ("a pattern that leaves the volume", '[guard]\nfiles = ["../x"]\n',
     '2: guard.files[0]: "../x" must name what is in the volume: no empty part, no "." and no ".." between slashes'),
    ("an empty pattern", '[guard]\nfiles = [""]\n', "2: guard.files[0]: must not be empty"),
    ("a pattern of a folder", '[guard]\nfiles = ["Backups/"]\n',
     '2: guard.files[0]: "Backups/" must name what is in the volume: no empty part, no "." and no ".."'
     " between slashes"),
    ("a pattern that takes too long", '[guard]\nfiles = ["*-*-*-*"]\n',
     '2: guard.files[0]: "*-*-*-*": at most 3 * between two slashes'),
    ("a pattern twice", '[guard]\nfiles = ["a", "b", "a"]\n', '2: guard.files[2]: "a" is there twice'),
    ("a pattern below ours", '[guard]\nfiles = [".failoverd/**"]\n',
     '2: guard.files[0]: ".failoverd/**": .failoverd is not the app\'s, and nothing in it is copied'),
    ("a pattern below Syncthing's", '[guard]\nfiles = ["a/.stversions/x"]\n',
     '2: guard.files[0]: "a/.stversions/x": .stversions is not the app\'s, and nothing in it is copied'),
    ("stars that are not alone", '[guard]\nfiles = ["a**"]\n',
     '2: guard.files[0]: "a**": ** stands alone between slashes, as in "Backups/**"'),
    ("one pattern that is no list", '[guard]\nfiles = "*.json"\n', '2: guard.files: must be a list, not "*.json"'),
    ("drill", "[[drill]]\n", "1: drill: not available in this version"),
    ("place", "[failover]\nplace = 'newes'\n", '2: failover.place: "newes" is unknown; did you mean "newest"?'),
    ("channel of a later version", '[[notify]]\ntype = "matrix"\n',
     '2: notify[0].type: "matrix" is not available in this version'),
    ("unknown channel", '[[notify]]\ntype = "discrod"\n',
     '2: notify[0].type: "discrod" is unknown; did you mean "discord"?'),
    ("missing secret", '[[notify]]\ntype = "slack"\n',
     "1: notify[0].url: is missing: give url_file (a file that holds it) or url"),
    ("missing secret file", '[[notify]]\ntype = "slack"\nurl_file = "nope"\n',
     "3: notify[0].url_file: cannot read nope: No such file or directory; make it, or name another"),
    ("unsigned webhook", '[[notify]]\ntype = "webhook"\nurl = "https://x"\n',
     "1: notify[0].secret: is missing: give secret_file (a file that holds it) or secret"),
    ("secret without use", '[[notify]]\ntype = "slack"\nurl = "https://x"\ntoken = "t"\n',
     '4: notify[0].token: is for type "ntfy"; "slack" has no use for it'),
    ("secret twice", '[[notify]]\ntype = "slack"\nurl = "https://x"\nurl_file = "f"\n',
     "3: notify[0].url: given twice: keep either url or url_file"),
    ("channel of another kind", '[[notify]]\ntype = "discord"\nurl = "https://example.org/nope"\n',
     "3: notify[0].url: is not a Discord webhook: https://discord.com/api/webhooks/<id>/<token>"),
    ("topic missing", '[[notify]]\ntype = "ntfy"\nurl = "https://ntfy.sh"\n',
     "3: notify[0].url: names no topic: https://ntfy.sh/<topic>"),
    ("channel without a host", '[[notify]]\ntype = "slack"\nurl = "https:///x"\n',
     "3: notify[0].url: is not an address; it begins with https://"),
    ("channel at an odd port", '[[notify]]\ntype = "slack"\nurl = "https://[::1"\n',
     "3: notify[0].url: is not an address; it begins with https://"),
    ("unknown node of a fence", FENCE.replace("k3s-w1", "k3s-w9"),
     '2: fencing[0].node: no site has the node "k3s-w9"; did you mean "k3s-w2"?'),
    ("two fences of a node", FENCE + FENCE,
     '8: fencing[1].node: node "k3s-w1" has two fences; one is all it can have'),
    ("wrong guest", FENCE.replace("pve/101", "101"),
     '5: fencing[0].guest: "101" is not a guest; write host and number, as in "pve/101"'),
    ("token in the clear", FENCE.replace("https", "http"),
     '4: fencing[0].url: "http://pve:8006" is not an address; write it as "https://host:8006"'),
    ("guest at no address", FENCE.replace("//pve:8006", "//[pve"),
     '4: fencing[0].url: "https://[pve" is not an address; write it as "https://host:8006"'),
    ("wrong token", FENCE.replace("failoverd@pve!fence=0-1", "geheim"),
     "6: fencing[0].token: is not an API token; it looks like user@realm!name=uuid"),
    ("wrong fingerprint", FENCE + 'fingerprint = "AB:CD"\n',
     "7: fencing[0].fingerprint: is not a SHA-256 fingerprint: 64 hexadecimal digits"),
    ("no such authority", FENCE + 'ca_file = "ca.pem"\n',
     "7: fencing[0].ca_file: there is no file ca.pem; make it, or name another"),
    ("two types alike", FENCE.replace("proxmox-lxc", "proxmox"),
     '3: fencing[0].type: "proxmox" is unknown; did you mean "proxmox-lxc" or "proxmox-vm"?'),
    ("one table for a list of them", FENCE.replace("[[fencing]]", "[fencing]"),
     "1: fencing: may be there several times: write [[fencing]], in double brackets"),
    ("a list for one table", "[[failover]]\n",
     "1: failover: is one table, not several: write [failover], in single brackets"),
    ("witness listed already", '[[witness]]\nnode = "k3s-w2"\n',
     '2: witness[0].node: "k3s-w2" is listed already; nodes of pairs witness by themselves'),
    ("witness of an impossible name", '[[witness]]\nnode = "k3s_cp1"\n',
     '2: witness[0].node: "k3s_cp1" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("instance on an impossible node", '[instance]\nnode = "-a"\n',
     '2: instance.node: "-a" is not a Kubernetes name: a letter or digit at both ends,'
     ' and on both sides of each "."'),
    ("hours", '[failback]\nhours = "2-5"\n',
     '2: failback.hours: "2-5" is not a window; write "any" or "02:00-05:00"'),
    ("zone", '[failback]\ntimezone = "Mars"\n',
     '2: failback.timezone: "Mars" is not a time zone; write one as "UTC" or "Europe/Berlin"'),
    ("listen", '[web]\nlisten = "8484"\n',
     '2: web.listen: "8484" is not an address and port, as in "127.0.0.1:8484"'),
    ("kubeconfig", '[kubernetes]\nkubeconfig = "kc"\n',
     "2: kubernetes.kubeconfig: there is no file kc; make it, or name another"),
    ("timing", '[failover]\nproof_after = "2s"\n',
     '2: failover.proof_after: "2s" is less than failover.failure_threshold 3 x timings.tick 2s;'
     ' smallest value that works: "6s"'),
    ("template", '[conventions]\nclaim_primary = "pvc-{ap}"\n',
     '2: conventions.claim_primary: unknown placeholder "{ap}"; did you mean "app"?'),
    ("quote never closed", 'mode = "active\n[web]\n', "1: not TOML: the quotes (\") of this line do not pair:"
     " the text needs one before and one after it"),
    ("quote never opened", '[web]\nlisten = 0.0.0.0:80"\n', "2: not TOML: the quotes (\") of this line do not pair:"
     " the text needs one before and one after it"),
    ("single quote never closed", "# it's\nmode = 'active\n[failback]\nhours = 'any'\n",
     "2: not TOML: the quotes (') of this line do not pair: the text needs one before and one after it"),
    ("quote in a list", '[web]\nlisten = ["a, "b"]\n',
     '2: not TOML: the quotes (") of this line do not pair: the text needs one before and one after it'),
    ("long text never closed", 'mode = """active\n[web]\n',
     '1: not TOML: """ is opened on this line and never closed'),
    ("no quotes", "mode = active\n",
     '1: not TOML: invalid value; text stands in quotes, as in "sonarr"; a duration as in "10s"'),
    ("one table, then a list of them", '[fencing]\nnode = "a"\n[[fencing]]\n',
     "3: not TOML: cannot overwrite a value; fencing may be there several times: write [[fencing]],"
     " in double brackets"),
    ("key twice", '[web]\nlisten = ""\nlisten = ""\n',
     "3: not TOML: cannot overwrite a value: it stands further up already; keep one of the two"),
    ("not TOML", "[failover\n", "1: not TOML: expected ']' at the end of a table declaration"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_mistake_is_one_line_that_says_where_and_what_to_do(tmp_path: Path, text: str, line: str) -> None:
    assert refusals(tmp_path, text + SITES + APP)[0] == f"config.toml:{line}"


APP_CASES: list[tuple[str, str, str]] = [
    ("missing key", '[[apps]]\nname = "a"\n', "7: apps[0].namespace: is missing"),
    ("no app", "", "apps: no app to look after; add an [[apps]] table with name and namespace"),
    ("duplicate app", APP + APP, "11: apps[1].name: media/sonarr is configured twice; the first is at config.toml:7"),
    ("shared claim", APP + '[[apps]]\nname = "b"\nnamespace = "media"\n'
     'volumes = [\n  { name = "x", claim_backup = "pvc-sonarr" },\n]\n',
     '14: apps[1].volumes[0].claim_backup: the claim "pvc-sonarr" of namespace media is also apps[0]'
     " (at config.toml:7); every copy needs its own"),
    ("same volume twice", APP + 'volumes = ["a", "a"]\n',
     '10: apps[0].volumes[1].name: the app lists the volume "a" twice'),
    ("unknown pair", APP + 'pair = "defualt"\n',
     '10: apps[0].pair: no pair is called "defualt"; did you mean "default"?'),
    ("wrong name", APP.replace("sonarr", "Sonarr"),
     '8: apps[0].name: "Sonarr" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("page at no address", APP + 'verify_url = "sonarr.media/ping"\n',
     '10: apps[0].verify_url: "sonarr.media/ping" is not an address; write it as "http://sonarr.media.svc/ping"'),
    ("release of no name", APP + 'helm_release = "media/"\n',
     '10: apps[0].helm_release: "" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("kured of a wrong name", APP + '[planned]\nkured = "Kured"\n',
     '11: planned.kured: "Kured" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("kured of too many parts", APP + '[planned]\nkured = "a/b/c"\n',
     '11: planned.kured: "a/b/c" has more than one "/": write "name" or "namespace/name"'),
    ("release of too many parts", APP + 'helm_release = "a/b/c"\n',
     '10: apps[0].helm_release: "a/b/c" has more than one "/": write "name" or "namespace/name"'),
    ("kured of no name", APP + '[planned]\nkured = "ops/"\n',
     '11: planned.kured: "" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("two owners", APP + 'helm_release = "sonarr"\nargo_application = "media"\n',
     "11: apps[0].argo_application: helm_release is set as well: name the one that owns the workload"),
    ("application of a wrong name", APP + 'argo_application = "Media"\n',
     '10: apps[0].argo_application: "Media" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("release of a wrong name", APP + 'helm_release = "media/Sonarr"\n',
     '10: apps[0].helm_release: "Sonarr" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'),
    ("page at no port", APP + 'verify_url = "http://sonarr.media:80x/"\n',
     '10: apps[0].verify_url: "http://sonarr.media:80x/" is not an address; write it as'
     ' "http://sonarr.media.svc/ping"'),
    ("unknown key of a volume", APP + 'volumes = [{ name = "a", claim = "x" }]\n',
     '10: apps[0].volumes[0].claim: unknown key; known here: name, claim_primary, claim_backup, source_primary,'
     " source_backup"),
    ("age that can never be", APP + 'max_data_age = "20s"\n',
     '10: apps[0].max_data_age: "20s" is less than timings.scan_interval 10s + timings.save_proofs_every 30s'
     " + a lease's 10s + timings.tick 2s; smallest value that works: \"52s\""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [case[1:] for case in APP_CASES], ids=[case[0] for case in APP_CASES])
def test_each_mistake_in_an_app_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    assert refusals(tmp_path, SITES + text)[0] == f"config.toml:{line}".replace("toml:apps", "toml: apps")


def test_an_address_in_a_file_of_its_own_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("https://geheim.example/nope\n")
    (line,) = refusals(tmp_path, '[[notify]]\ntype = "discord"\nurl_file = "hook"\n' + SITES + APP)
    assert line.startswith("config.toml:3: notify[0].url_file: what hook holds is not a Discord webhook: ")
    assert "geheim" not in line


def test_a_bad_token_in_a_file_of_its_own_is_put_right_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "pve").write_text("geheim\n")
    fence = FENCE.replace('token = "failoverd@pve!fence=0-1"', 'token_file = "pve"')
    (line,) = refusals(tmp_path, fence + SITES + APP)
    assert line == (
        "config.toml:6: fencing[0].token_file: what pve holds is not an API token; it looks like user@realm!name=uuid"
    )


@pytest.mark.parametrize("kind", ChannelType)
@pytest.mark.parametrize(
    "url",
    [
        "https://h/",
        "https://h",
        "https://h/topic",
        "https://h/api/webhooks/1/x",
        "https:///x",
        "x",
        "http://h:p/",
        "//h/x",
    ],
)
def test_configuration_and_adapter_agree_on_what_can_be_sent_to(kind: ChannelType, url: str) -> None:
    target = Target(type=kind.value, name="n", url=url, secret="s")
    try:
        Notifier([target], SystemClock())
        works = httpx.URL(url).scheme != ""
    except ValueError:
        works = False
    assert (misfit(kind, url) == "") == works


def test_sites_are_needed_once(tmp_path: Path) -> None:
    pair = '[[pairs]]\nname = "x"\nprimary = { node = "a" }\nbackup = { node = "a" }\n'
    assert refusals(tmp_path, APP) == [
        "config.toml: sites: is missing: write [sites.primary] and [sites.backup], each with a node"
    ]
    assert refusals(tmp_path, SITES + pair + APP)[0] == (
        "config.toml:7: pairs: there is [sites] as well; keep one of the two"
    )
    assert refusals(tmp_path, pair + APP) == [
        'config.toml:4: pairs[0].backup.node: "a" is the primary as well; a pair needs two nodes'
    ]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (('"k3s-w1"', '"W_1"'), '2: sites.primary.node: "W_1" is not a Kubernetes name: lower-case letters, digits,'),
        (('"k3s-w2"', '"w2 "'), '6: sites.backup.node: "w2 " is not a Kubernetes name: lower-case letters, digits,'),
        (('role = "primary"', '"bad key!" = "x y"'),
         '3: sites.primary.node_selector.bad key!: "bad key!" is no label of Kubernetes: letters, digits, "-", "_"'),
        (('role = "primary"', 'role = "x y"'),
         '3: sites.primary.node_selector.role: "x y" is no value of a label: letters, digits, "-", "_" and "." only'),
        (('role = "primary"', '"a_b/c" = "x"'), '3: sites.primary.node_selector.a_b/c: "a_b/c" is no label of'),
    ],
)  # fmt: skip
def test_nodes_and_labels_are_such_as_kubernetes_can_have(tmp_path: Path, wrong: tuple[str, str], line: str) -> None:
    (said,) = refusals(tmp_path, SITES.replace(*wrong) + APP)
    assert said.startswith(f"config.toml:{line}")


def test_labels_of_kubernetes_are_good(tmp_path: Path) -> None:
    good = '"node-role.kubernetes.io/Worker_1" = "", "a.B" = "x-1"'
    loaded(tmp_path, SITES.replace('role = "primary"', good) + APP)


def test_a_volume_of_an_impossible_name_is_said_of_it_and_not_of_what_is_named_after_it(tmp_path: Path) -> None:
    only = 'lower-case letters, digits, "-" and "." only; claims and sources are named after it, as in'
    assert refusals(tmp_path, SITES + APP + 'volumes = ["data/x", "Data"]\n') == [
        f'config.toml:10: apps[0].volumes[0].name: "data/x" is not a Kubernetes name: {only} "pvc-sonarr-data/x"',
        f'config.toml:10: apps[0].volumes[1].name: "Data" is not a Kubernetes name: {only} "pvc-sonarr-Data"',
    ]


def test_a_value_that_is_none_hides_nothing_that_can_be_told_without_it(tmp_path: Path) -> None:
    text = '[failover]\nrequire = "silense"\n[guard]\nshare = 5\nkeep = 0\nfiles = ["/x"]\n'
    text += '[[witness]]\nnode = "k3s-w1"\n[web]\nlisten = "x"\n[timings]\ntick = 3\n'
    said = [line.partition(": ")[2].partition(":")[0] for line in refusals(tmp_path, text + SITES + APP)]
    assert said == [
        *("failover.require", "guard.share", "guard.keep", "guard.files[0]"),
        *("witness[0].node", "web.listen", "timings.tick"),
    ]


def test_what_is_wrong_only_because_a_value_is_left_out_is_not_said(tmp_path: Path) -> None:
    hook = '[[notify]]\ntype = "slack"\nurl_file = 3\n'
    (line,) = refusals(tmp_path, hook + SITES + APP)
    assert line.startswith("config.toml:3: notify[0].url_file: must be text")
    pair = '[[pairs]]\nname = "{}"\nprimary = {{ node = "{}" }}\nbackup = {{ node = "b" }}\n'
    two = pair.format("x", "a") + pair.format("y", "c")
    (line,) = refusals(tmp_path, two + APP + "pair = 3\n")
    assert line.startswith("config.toml:12: apps[0].pair: must be text")


def test_a_node_is_in_one_domain_only(tmp_path: Path) -> None:
    text = """
[[pairs]]
name = "a"
primary = { node = "w1", domain = "x" }
backup = { node = "w2" }
[[pairs]]
name = "b"
primary = { node = "w1", domain = "y" }
backup = { node = "w2" }
"""
    assert refusals(tmp_path, text + APP + 'pair = "a"\n') == [
        'config.toml:2: pairs: node "w1" is in domain "x" and in "y"; write the same domain everywhere'
    ]


def test_all_mistakes_are_said_at_once_in_order_of_lines(tmp_path: Path) -> None:
    text = 'mode = "activ"\n' + SITES + "[failover]\ncooldown = 1\nx = 2\n[[notify]]\n" + APP + "[drill]\n"
    lines = [line.partition(": ")[0] for line in refusals(tmp_path, text)]
    assert lines == [f"config.toml:{number}" for number in (1, 9, 10, 11, 15)]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "no.toml", "cannot be read: No such file or directory; give another with --config"),
        (tmp_path, "cannot be read: Is a directory; give another with --config"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: {says}"
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(binary)


def test_a_secret_never_enters_an_error(tmp_path: Path) -> None:
    text = (
        SITES
        + APP
        + FENCE.replace("failoverd@pve!fence=0-1", "geheim")
        + ('[[notify]]\ntype = "slack"\nurl = "geheim"\nsecret = 3\n')
    )
    assert "geheim" not in "\n".join(refusals(tmp_path, text))
    assert "geheim" not in "\n".join(refusals(tmp_path, text.replace("secret = 3\n", "")))
    for number in ("31337", "[31337]", "{ a = 31337 }"):
        lines = refusals(tmp_path, text.replace("secret = 3", f"secret = {number}"))
        assert "31337" not in "\n".join(lines), lines
