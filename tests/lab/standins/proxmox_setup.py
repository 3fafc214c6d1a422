"""Everything the Proxmox stand-in and its clients need: certificates, tokens and settings, in one folder."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.standins.proxmox_model import Kind, Token
from tests.lab.standins.proxmox_settings import Resident, Settings

NODE = "pve"
PORT = 8006
RESIDENTS = (
    Resident(vmid=100, kind=Kind.QEMU, host="k3s-cp1"),
    Resident(vmid=101, kind=Kind.LXC, host="k3s-w1"),
)
_FENCE = frozenset({"VM.Audit", "VM.PowerMgmt"})
GRANTS: Mapping[str, tuple[str, Mapping[str, frozenset[str]]]] = {
    "fence": ("failoverd@pve", {"/vms": _FENCE, "/nodes": frozenset({"Sys.Audit"})}),
    "narrow": ("failoverd@pve", {"/vms": _FENCE}),
    "blind": ("failoverd@pve", {"/nodes": frozenset({"Sys.Audit"})}),
    "lab": ("root@pam", {"/": _FENCE | {"Sys.Audit", "Sys.Modify", "Sys.PowerMgmt"}}),
}
"""Token -> (user, privileges): `fence` as the daemon should have, `narrow` without Sys.Audit, `blind` with
no say over guests, `lab` for the hands that play the administrator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a stand-in."""

    url: str
    node: str
    ca: Path
    """The certificate authority, as `pve-root-ca.pem` on a real node."""
    fingerprint: str
    """SHA-256 of the server's certificate as Proxmox shows it: upper case, colons."""
    tokens: Mapping[str, str]
    """Name -> `USER@REALM!TOKENID=UUID`, what follows `PVEAPIToken=` in the header."""
    switches: Path
    config: Path

    @classmethod
    def load(cls, folder: Path) -> Access:
        """As `prepare` left it in `folder`."""
        raw = json.loads((folder / "access.json").read_text())
        return cls(**{**raw, **{key: Path(raw[key]) for key in ("ca", "switches", "config")}})


def certificates(folder: Path, address: str) -> None:
    """An authority `pve-root-ca.pem` and a server certificate `pve-ssl.pem`. Raises CalledProcessError."""
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = "/CN=Proxmox Virtual Environment/OU=lab/O=PVE Cluster Manager CA"
    (folder / "extensions").write_text(
        f"subjectAltName=IP:127.0.0.1,DNS:localhost,IP:{address},DNS:{NODE}\n"
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"
    )
    steps = (
        [*new, "-x509", "-subj", authority, "-keyout", "ca.key", "-out", "pve-root-ca.pem", "-days", "3650",
         "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        [*new, "-subj", f"/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={NODE}",
         "-keyout", "pve-ssl.key", "-out", "leaf.csr"],
        ["openssl", "x509", "-req", "-in", "leaf.csr", "-CA", "pve-root-ca.pem", "-CAkey", "ca.key",
         "-CAcreateserial", "-days", "730", "-extfile", "extensions", "-out", "pve-ssl.pem"],
    )  # fmt: skip
    for step in steps:
        subprocess.run(step, cwd=folder, check=True, capture_output=True)


def prepare(folder: Path, address: str, port: int = PORT, auth_delay: float = 3.0) -> Access:
    """Fills `folder` and says how the stand-in will be reached at `address`. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    certificates(folder, address)
    made = {
        name: Token(user=user, tokenid=name, secret=str(uuid.uuid4()), acl=acl)
        for name, (user, acl) in GRANTS.items()
    }
    settings = Settings(
        node=NODE,
        address=address,
        port=port,
        cert=folder / "pve-ssl.pem",
        key=folder / "pve-ssl.key",
        switches=folder / "switches.json",
        residents=RESIDENTS,
        tokens=tuple(made.values()),
        auth_delay=auth_delay,
    )
    config = folder / "config.json"
    config.write_text(settings.dump())
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(settings.cert.read_text())).hexdigest().upper()
    access = {
        "url": f"https://{address}:{port}",
        "node": NODE,
        "ca": str(folder / "pve-root-ca.pem"),
        "fingerprint": ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)),
        "tokens": {name: f"{t.user}!{t.tokenid}={t.secret}" for name, t in made.items()},
        "switches": str(settings.switches),
        "config": str(config),
    }
    (folder / "access.json").write_text(json.dumps(access, indent=1))
    return Access.load(folder)
