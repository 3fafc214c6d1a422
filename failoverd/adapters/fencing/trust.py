"""Whom a fence believes over TLS: an authority or one pinned certificate; and what it shows of itself."""

from __future__ import annotations

import hashlib
import re
import ssl
from pathlib import Path


class TrustError(Exception):
    """A certificate, key or fingerprint cannot be used; the text names the file and says why."""


class _Pinned(ssl.SSLObject):
    """A TLS connection that is only good with one certificate; checked before a byte of HTTP is sent."""

    fingerprint = ""

    def do_handshake(self) -> None:
        """Finish the handshake. Raises SSLCertVerificationError for another certificate."""
        super().do_handshake()
        shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
        if shown != self.fingerprint:
            raise ssl.SSLCertVerificationError(f"its certificate has fingerprint {_colons(shown)}")


def context(ca_file: Path | None, fingerprint: str) -> ssl.SSLContext:
    """A client's TLS context: by fingerprint, else by CA file, else by the system's CAs. Raises TrustError."""
    if fingerprint:
        digest = fingerprint.replace(":", "").strip().lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise TrustError(f"fingerprint '{fingerprint}' is no SHA-256: 64 hexadecimal digits")
        pinned = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        pinned.check_hostname = False
        pinned.verify_mode = ssl.CERT_NONE
        pinned.sslobject_class = type("_PinnedTo", (_Pinned,), {"fingerprint": digest})
        return pinned
    try:
        found = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TrustError(f"CA file {ca_file}: {_words(error)}") from None
    # Proxmox's own CA, and those made by hand, predate the checks that Python 3.13 turned on.
    found.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return found


def identify(found: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Show this certificate to servers that ask for one (mTLS). Raises TrustError."""
    for file in (cert_file, key_file):
        if not file.is_file():
            raise TrustError(f"there is no file {file}")
    try:
        # Without a password given, OpenSSL would ask the terminal for that of an encrypted key.
        found.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError) as error:
        raise TrustError(f"certificate {cert_file} with key {key_file}: {_words(error)}") from None


def _colons(digest: str) -> str:
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
