"""Command lines and configuration of every Kubernetes component, close to k3s' defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lab.layout import NODE_DIR, PAUSE_IMAGE, Host, HostName, Layout

Service = dict[str, Any]
"""The arguments of `nodes.enable` that describe one service."""

POD_NETWORK_CONFIG = "cni/10-pods.conflist"


def control_plane(layout: Layout, kube: Path) -> dict[str, Service]:
    """etcd and the three control processes of k3s-cp1."""
    pki, server = layout.pki, layout.host(HostName.CP1).ip
    ready = f"tcp:{server}:6443"

    def user(name: str) -> str:
        return f"--kubeconfig={layout.kubeconfig(name)}"

    return {
        # What a process wrote survives every power cut the lab can make, so that fsync would only cost time.
        "etcd": {
            "argv": [kube, "etcd", f"--data-dir={NODE_DIR}/etcd", "--unsafe-no-fsync", "--log-level=warn"],
        },
        "kube-apiserver": {
            "argv": [
                kube,
                "kube-apiserver",
                "--etcd-servers=http://127.0.0.1:2379",
                f"--bind-address={server}",
                "--secure-port=6443",
                f"--client-ca-file={pki}/ca.crt",
                f"--tls-cert-file={pki}/apiserver.crt",
                f"--tls-private-key-file={pki}/apiserver.key",
                f"--token-auth-file={pki}/tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                f"--service-account-key-file={pki}/sa.pub",
                f"--service-account-signing-key-file={pki}/sa.key",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-cluster-ip-range={layout.services}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-client-certificate={pki}/kubelet-client.crt",
                f"--kubelet-client-key={pki}/kubelet-client.key",
                "--profiling=false",
                f"--audit-policy-file={NODE_DIR}/etc/audit.json",
                f"--audit-log-path={layout.logs}/audit.log",
                # Rotated at 100 MB by default, which the suite reaches: its readers hold on to a place in the file.
                "--audit-log-maxsize=4000",
            ],
        },
        "kube-controller-manager": {
            "argv": [
                kube,
                "kube-controller-manager",
                user("kube-controller-manager"),
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={pki}/sa.key",
                f"--root-ca-file={pki}/ca.crt",
            ],
            "after": ready,
        },
        "kube-scheduler": {
            "argv": [
                kube,
                "kube-scheduler",
                user("kube-scheduler"),
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ],
            "after": ready,
        },
    }


def node(layout: Layout, host: Host, kube: Path) -> dict[str, Service]:
    """containerd, kubelet and kube-proxy of one node."""
    kubelet_user = layout.kubeconfig(str(host.name))
    return {
        "containerd": {"argv": ["containerd", "-c", f"{NODE_DIR}/etc/containerd.toml"]},
        "kubelet": {
            "argv": [
                kube,
                "kubelet",
                f"--config={NODE_DIR}/etc/kubelet.json",
                f"--kubeconfig={kubelet_user}",
                f"--hostname-override={host.name}",
                f"--node-ip={host.ip}",
                f"--node-labels=role={host.role}",
                f"--root-dir={NODE_DIR}/kubelet",
                f"--cert-dir={NODE_DIR}/kubelet-certificates",
            ],
            "after": f"{NODE_DIR}/state/containerd.sock",
        },
        "kube-proxy": {"argv": [kube, "kube-proxy", f"--config={NODE_DIR}/etc/kube-proxy.json"]},
    }


def configuration(layout: Layout, host: Host) -> dict[str, str]:
    """The files in a node's etc folder."""
    return {
        "containerd.toml": _containerd(),
        "kubelet.json": json.dumps(_kubelet(layout, host), indent=1),
        "kube-proxy.json": json.dumps(_kube_proxy(layout, host), indent=1),
        "audit.json": json.dumps(_audit(), indent=1),
        POD_NETWORK_CONFIG: json.dumps(_pod_network(host), indent=1),
        "resolv.conf": f"nameserver {layout.host(HostName.PVE).ip}\noptions timeout:1 attempts:2\n",
    }


def _containerd() -> str:
    return f"""version = 2
root = "{NODE_DIR}/containerd"
state = "{NODE_DIR}/state"
[grpc]
  address = "{NODE_DIR}/state/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Machines that are containers themselves may withhold what these two need.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{NODE_DIR}/etc/cni"
"""


def _audit() -> dict[str, Any]:
    """Every request of the daemon's and its operators' accounts is written down, nobody else's."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:failoverd"]}, {"level": "None"}],
    }


def _kubelet(layout: Layout, host: Host) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(host.ip),
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{NODE_DIR}/state/containerd.sock",
        "podLogsDir": f"{NODE_DIR}/pod-logs",
        "resolvConf": f"{NODE_DIR}/etc/resolv.conf",
        "clusterDNS": [str(layout.services[10])],
        "clusterDomain": "cluster.local",
        "maxPods": 250,
        # The machine is shared with everything else on it: no reservations, no evictions, no image removal.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}-{host.name}",
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "failSwapOn": False,
        "failCgroupV1": False,
        # Lets the kubelet go on where the machine forbids it to change kernel settings.
        "featureGates": {"KubeletInUserNamespace": True},
    }


def _kube_proxy(layout: Layout, host: Host) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("kube-proxy"))},
        "mode": "nftables",
        "hostnameOverride": str(host.name),
        "clusterCIDR": str(layout.pods),
        # Zero leaves the machine's own limits alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def _pod_network(host: Host) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        # On the node's /run, so that addresses are free again after a power cut.
        "dataDir": "/run/cni",
        "ranges": [[{"subnet": str(host.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": ipam}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}
