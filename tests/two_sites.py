"""The usual pair of sites as configuration text: templates for `str.format`, capitals are for whoever writes it."""

SITES = """
mode = "active"
[sites.primary]
node = "k3s-w1"
node_selector = {{ role = "primary" }}
domain = "pve"
[sites.backup]
node = "k3s-w2"
node_selector = {{ role = "backup" }}
domain = "unraid"
[[witness]]
node = "k3s-cp1"
"""
FENCE = """
[[fencing]]
node = "k3s-w1"
type = "proxmox-lxc"
guest = "pve/101"
url = "PROXMOX"
token = "TOKEN"
"""


def fence(url: str, token: str) -> str:
    """The primary's, at this hypervisor."""
    return FENCE.replace("PROXMOX", url).replace("TOKEN", token)
