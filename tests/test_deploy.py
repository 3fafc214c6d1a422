"""What is shipped fits together: manifests, Roles, image, unit and the daemon they start."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from failoverd import __version__
from failoverd.adapters.web.server import application
from failoverd.adapters.web.status import Board
from failoverd.cli import HANDLERS, rbac
from failoverd.cli.parser import build
from failoverd.clock import SystemClock
from failoverd.config import Config, load
from failoverd.core.model import Why

ROOT = Path(__file__).parent.parent
KUBERNETES = ROOT / "deploy" / "kubernetes"
SHIPPED = KUBERNETES / "config.toml"
UNIT = (ROOT / "deploy" / "systemd" / "failoverd.service").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
Object = dict[str, Any]


def config() -> Config:
    return load(SHIPPED, files=False)


def manifests() -> list[Object]:
    """Every object of the kustomization, the example of a Secret included."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    texts = [(KUBERNETES / name).read_text() for name in [*listed, "secret.example.yaml"]]
    return [one for text in texts for one in yaml.safe_load_all(text)]


def only(kind: str) -> Object:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def pod() -> Object:
    found: Object = only("Deployment")["spec"]["template"]["spec"]
    return found


def container() -> Object:
    (found,) = pod()["containers"]
    return dict(found)


def unit(key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", UNIT)


def test_the_shipped_roles_are_the_printed_ones() -> None:
    again = "run: failoverd config rbac --config deploy/kubernetes/config.toml > deploy/kubernetes/rbac.yaml"
    assert (KUBERNETES / "rbac.yaml").read_text() == rbac.manifest(config(), []), again


def test_the_printed_roles_read_back_as_what_the_adapters_need() -> None:
    roles = [one for one in manifests() if one["kind"] in ("Role", "ClusterRole")]
    for name, grants in (
        ("failoverd", rbac.daemon_grants(config())),
        (rbac.OPERATOR, rbac.operator_grants(config())),
        (rbac.READER, rbac.reader_grants(config())),
    ):
        granted = {
            (
                role["metadata"].get("namespace", ""),
                rule["apiGroups"][0],
                rule["resources"][0],
                tuple(rule.get("resourceNames", ())),
                tuple(rule["verbs"]),
            )
            for role in roles
            if role["metadata"]["name"] == name
            for rule in role["rules"]
        }
        assert granted == {(g.namespace, g.group, g.resource, g.names, g.verbs) for g in grants}


def test_every_role_is_bound_to_its_own_account_where_it_stands() -> None:
    objects = manifests()
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    assert accounts == {"failoverd", "failoverd-operator", "failoverd-displaced"}
    for role in [one for one in objects if one["kind"] in ("Role", "ClusterRole")]:
        (binding,) = [
            one for one in objects if one["kind"] == role["kind"] + "Binding" and one["metadata"] == role["metadata"]
        ]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert [(one["kind"], one["namespace"], one["name"]) for one in binding["subjects"]] == [
            ("ServiceAccount", "failoverd", role["metadata"]["name"])
        ]


@pytest.mark.parametrize(
    ("via", "ways"),
    [("direct", {"services"}), ("proxy", {"services/proxy"}), ("auto", {"services", "services/proxy"})],
)
def test_the_way_to_syncthing_is_granted_and_no_other(tmp_path: Path, via: str, ways: set[str]) -> None:
    other = tmp_path / "config.toml"
    other.write_text(SHIPPED.read_text().replace('via = "direct"', f'via = "{via}"'))
    grants = rbac.daemon_grants(load(other, files=False))
    assert {grant.resource for grant in grants if grant.resource.startswith("services")} == ways
    assert all(grant.names for grant in grants if grant.resource in {"secrets", "services", "services/proxy"})


def test_names_of_one_namespace_are_not_granted_in_another(tmp_path: Path) -> None:
    other = tmp_path / "config.toml"
    other.write_text(SHIPPED.read_text() + '\n[[apps]]\nname = "wiki"\nnamespace = "docs"\n')
    grants = rbac.daemon_grants(load(other, files=False))
    named = {grant.resource: grant.names for grant in grants if grant.namespace == "docs" and grant.names}
    assert named == {
        "deployments": ("wiki",),
        "secrets": ("volsync-wiki-backup", "volsync-wiki-primary"),
        "services": ("volsync-wiki-backup-api", "volsync-wiki-primary-api"),
    }


def test_whatever_sends_requests_lists_what_it_needs() -> None:
    sending = [
        path
        for path in (ROOT / "failoverd" / "adapters").rglob("*.py")
        if re.search(r"client\.(request|proxy|watch)\(", path.read_text())
    ]
    assert len(sending) >= 6
    silent = [path.name for path in sending if not re.search(r"(?m)^(NEEDS =|def needs\()", path.read_text())]
    # These send what others tell them to: a list of `resources`, a path of `access`.
    assert sorted(silent) == ["cache.py", "transport.py"]


def test_every_object_names_its_namespace_because_kustomize_must_not() -> None:
    assert "namespace" not in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    for one in manifests():
        clusterwide = one["kind"] in ("Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding")
        assert ("namespace" in one["metadata"]) != clusterwide, one["metadata"]


def test_every_file_of_the_folder_is_used() -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    used = {*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"]}
    there = {path.name for path in KUBERNETES.iterdir() if path.is_file()}
    assert there == used | {"kustomization.yaml", "secret.example.yaml"}


def test_the_pod_is_what_pod_security_calls_restricted() -> None:
    labels = only("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    whole, own = pod()["securityContext"], container()["securityContext"]
    assert (whole["runAsNonRoot"], whole["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for volume in pod()["volumes"] for kind in volume if kind != "name"} == {"configMap", "secret"}
    assert f"USER {whole['runAsUser']}:{whole['runAsGroup']}" in DOCKERFILE


def test_the_pod_needs_nothing_that_dies_with_the_primary() -> None:
    assert pod()["dnsPolicy"] == "Default"
    assert only("Deployment")["spec"]["replicas"] == 2
    (term,) = pod()["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (rule,) = term["matchExpressions"]
    rules = config().rules
    homes = {rules.place(app, app.preferred).node for app in rules.apps}
    assert (rule["key"], rule["operator"], set(rule["values"])) == ("kubernetes.io/hostname", "NotIn", homes)
    borne = {(one["key"], one["effect"]) for one in pod()["tolerations"] if "tolerationSeconds" not in one}
    for trouble in ("not-ready", "unreachable"):
        assert (f"node.kubernetes.io/{trouble}", "NoExecute") in borne
    assert pod()["priorityClassName"] == only("PriorityClass")["metadata"]["name"]


def test_the_container_starts_this_version_with_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    assert container()["image"].rpartition(":")[2] == __version__
    arguments = build().parse(container()["args"])
    assert (arguments.command, str(arguments.config)) == ("run", "/etc/failoverd/config.toml")
    for variable in container()["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "k3s-w2"))
    found = config()
    assert (found.instance, found.rules.own_domain, found.settings.web.listen) == ("k3s-w2", "unraid", "0.0.0.0:8080")


def test_probes_ask_pages_that_are_served() -> None:
    board = Board(rules=lambda: config().rules, clock=SystemClock(), config_hash=str, tallies=dict)
    pages = {str(route.resource.canonical) for route in application(board).router.routes() if route.resource}
    (port,) = container()["ports"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"]["path"] in pages
        assert container()[probe]["httpGet"]["port"] == port["name"]
    assert port["containerPort"] == 8080


def test_every_secret_of_the_configuration_is_in_the_example_and_mounted() -> None:
    mounts = {one["name"]: one["mountPath"] for one in container()["volumeMounts"]}
    example = only("Secret")
    assert example["metadata"]["name"] in [v["secret"]["secretName"] for v in pod()["volumes"] if "secret" in v]
    text = SHIPPED.read_text()
    named = {Path(name) for name in re.findall(r'(?m)^\w+_file = "(.+)"', text)}
    assert named == {Path(mounts["secrets"]) / key for key in example["stringData"]}
    assert not re.search(r"(?m)^(token|secret|url) = \"(?!https://pve)", text)


def test_the_shipped_configuration_only_observes() -> None:
    assert tomllib.loads(SHIPPED.read_text())["mode"] == "observe"


def test_there_is_time_to_give_up_the_lead() -> None:
    source = (ROOT / "failoverd" / "life.py").read_text()
    (wait,) = re.findall(r"asyncio\.wait\(\[looping\], timeout=(\d+)\)", source)
    assert int(wait) < pod()["terminationGracePeriodSeconds"]
    assert int(wait) < int(unit("TimeoutStopSec")[0])


def test_the_unit_starts_what_is_installed_with_the_files_it_loads() -> None:
    (start,) = unit("ExecStart")
    program, *words = shlex.split(start)
    arguments = build().parse(words)
    assert (arguments.command, str(arguments.config)) == ("run", "/etc/failoverd/config.toml")
    folder = program.removesuffix("/bin/failoverd")
    assert f"COPY --from=build {folder} {folder}" in DOCKERFILE
    loaded = dict(one.split(":") for one in unit("LoadCredential"))
    assert loaded == {name: f"/etc/failoverd/{name}" for name in ("kubeconfig", "proxmox-token")}
    assert "KUBECONFIG=%d/kubeconfig" in unit("Environment")
    assert str(arguments.files) == "%d"  # where systemd puts the credentials
    assert unit("DynamicUser") == ["yes"]


def test_the_image_holds_what_is_locked_and_nothing_that_is_not_needed() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {word for line in re.findall(r"(?m)^COPY (?!--)(.+) \S+$", DOCKERFILE) for word in line.split()}
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "--require-hashes --no-deps --only-binary :all:" in DOCKERFILE
    assert 'ENTRYPOINT ["/opt/failoverd/bin/failoverd"]' in DOCKERFILE


def test_flux_is_pointed_at_the_folder_the_readme_names() -> None:
    example = ROOT / "deploy" / "flux-example"
    owner = yaml.safe_load((example / "clusters" / "home" / "volsync-failover.yaml").read_text())
    assert owner["spec"]["path"] == "./operations/volsync-failover"
    assert "operations/volsync-failover" in (example / "README.md").read_text()
    assert "operations/volsync-failover" in (KUBERNETES / "kustomization.yaml").read_text()


def test_a_release_is_tested_first_and_pins_what_it_built() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert [job.get("needs") for job in jobs.values()] == [None, "test", "image"]
    assert {"run": "make test"} in jobs["test"]["steps"]
    assert "push-by-digest=true" in text
    # What the workflow replaces by the digest is there to be replaced.
    (pattern,) = re.findall(r'sed -i "s#(.+?)#', text)
    assert len(re.findall(pattern, (KUBERNETES / "deployment.yaml").read_text())) == 1
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")


def test_operations_says_what_to_do_about_every_objection() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = {name.strip() for row in re.findall(r"(?m)^\| ([^|]+) \|", page) for name in row.split(",")}
    assert {str(why) for why in Why} - rows == set()


def test_pages_name_commands_and_files_that_exist() -> None:
    for name in ("installation.md", "operations.md"):
        page = (ROOT / "docs" / name).read_text()
        for words in re.findall(r"`failoverd ((?:config |fence )?[a-z]+)", page):
            assert words in HANDLERS, f"{name}: failoverd {words}"
        for path in re.findall(r"`((?:deploy|docs)/[\w./-]+)`", page):
            assert (ROOT / path).exists(), f"{name}: {path}"
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", page):
            assert (ROOT / "docs" / link).exists(), f"{name}: {link}"
