"""Whether a text is an address, by the parser that will use it."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from failoverd.config.edges import ChannelType


def is_http(text: str) -> bool:
    """Whether it is an http or https address with a host, and a port that can be."""
    try:
        url, host = httpx.URL(text), urlsplit(text).hostname  # httpx takes "[pve" for a host
    except (httpx.InvalidURL, ValueError):
        return False
    return url.scheme in ("http", "https") and bool(host) and (url.port or 0) <= 65535


def misfit(kind: ChannelType, text: str) -> str:
    """Why nothing of this kind can be sent to `text`; empty when something can.

    The adapters refuse the same, but only once the daemon is being built; a test compares the two.
    """
    if not is_http(text):
        return "is not an address; it begins with https://"
    path = httpx.URL(text).path
    if kind is ChannelType.DISCORD and "/webhooks/" not in path:
        return "is not a Discord webhook: https://discord.com/api/webhooks/<id>/<token>"
    if kind is ChannelType.NTFY and not path.strip("/"):
        return "names no topic: https://ntfy.sh/<topic>"
    return ""
