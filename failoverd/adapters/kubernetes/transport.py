"""Credentials and connections: what the official client knows, without its hidden retry."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from failoverd import __version__
from failoverd.adapters.kubernetes.errors import KubeError, words


class Rest(RESTClientObject):
    """The official transport without a retry of its own, and with dead peers noticed by TCP itself."""

    def __init__(self, configuration: Configuration, *, reuse: bool) -> None:
        super().__init__(configuration)
        self._reuse = reuse

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            limit=0,  # one watch a resource and namespace: a limit would starve the ticks without a word
            ssl=self.ssl_context,
            force_close=not self._reuse,
            socket_factory=_keepalive_socket,
        )

    def _create_pool_manager(self) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = super()._create_pool_manager()
        session._retry_connection = False  # aiohttp would repeat GET, PUT and DELETE once by itself
        session._trust_env = False  # a proxy or a .netrc meant for people must not carry our token
        return session


def _keepalive_socket(addr: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within 25 s that its other end is gone, where a watch would wait for ever."""
    made = socket.socket(addr[0], addr[1], addr[2])
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made


@dataclass(slots=True, kw_only=True, eq=False)
class Transports:
    """Two ways to the same API server with the same identity: kept connections, and a new one each time."""

    kept: ApiClient
    once: Rest
    users: int = 0
    """Requests and watches under way. Closed under one of them, aiohttp lets it wait for good, without timeouts."""

    async def close(self) -> None:
        """Close all connections of both."""
        await self.kept.close()  # type: ignore[no-untyped-call]
        await self.once.close()


async def load(kubeconfig: Path | None, context: str | None) -> Transports:
    """Read the credentials: the kubeconfig's, or without one the pod's (its token is re-read once a minute).

    Raises KubeError naming the source and what is wrong with it.
    """
    configuration = Configuration(host="", connection_pool_maxsize=0)
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            if not kubeconfig.is_file():  # noqa: ASYNC240 - at start, and after a 401
                raise FileNotFoundError("no such file")
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig),
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        kept = ApiClient(configuration)
        kept.user_agent = f"failoverd/{__version__}"
        kept.rest_client = Rest(configuration, reuse=True)
        return Transports(kept=kept, once=Rest(configuration, reuse=False))
    except Exception as error:  # the loaders raise whatever their parsers raise
        source = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's ServiceAccount"
        raise KubeError(0, f"{source} cannot be used: {words(error)}", retryable=False) from None
