"""Whether the certificates and keys that the configuration names can be used: by OpenSSL, which will use them.

Found out here, it is a line with file and key; found out by a fence, it is a node that nobody can cut off any more.
Whether a certificate has expired, or is the one a server trusts, only `failoverd fence test` shows.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path


def certificates(file: Path) -> str:
    """Why `file` is not one or more certificates in PEM form; empty when it is."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        return f"{file} is not a certificate in PEM form: {_words(error, file, 'CERTIFICATE')}"
    except OSError as error:
        return f"cannot read {file}: {error.strerror}"
    return ""


def key_of(cert: Path, key: Path) -> str:
    """Why `key` is not the unencrypted private key in PEM form of the certificate in `cert`; empty when it is."""
    try:
        with key.open("rb"):  # OpenSSL does not say which of the two it could not read
            pass
        # Without a password given, OpenSSL would ask the terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key} is not the key of the certificate in {cert}"
        if b"ENCRYPTED" in key.read_bytes():
            return f"{key} is encrypted, and nobody is there to type its password: write it without one"
        return f"{key} is not a private key in PEM form: {_words(error, key, 'PRIVATE KEY')}"
    except OSError as error:
        return f"cannot read {key}: {error.strerror}"
    return ""


def _words(error: ssl.SSLError, file: Path, kind: str) -> str:
    """What is wrong; OpenSSL's own words only where they say more than that it has failed."""
    if kind.encode() not in file.read_bytes():
        return f"there is no -----BEGIN {kind}----- in it"
    text = re.sub(r"^\[.*?\] *| *\(_ssl\.c:\d+\)$", "", str(error))
    return "it is damaged or cut short" if text in ("", "PEM lib") else text
