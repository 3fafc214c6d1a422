"""Does a moved app really serve? Requests to the `verify_url` its owner configured."""

from __future__ import annotations

from datetime import timedelta

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from failoverd.clock import sleep

WITHIN = timedelta(seconds=60)
"""How long a moved app may take until it answers."""
ONE = timedelta(seconds=5)
PAUSE = timedelta(seconds=3)


class NotServing(Exception):
    """The URL did not answer, or not with success; the text says what came instead."""


async def verify(url: str, within: timedelta = WITHIN) -> str:
    """What `url` answered, asked again until it succeeds or `within` has passed. Raises NotServing."""
    retrying = AsyncRetrying(
        stop=stop_after_delay(within),
        wait=wait_fixed(PAUSE),
        retry=retry_if_exception_type(NotServing),
        sleep=lambda seconds: sleep(timedelta(seconds=float(seconds))),
        reraise=True,
    )
    return await retrying(ask, url)


async def ask(url: str) -> str:
    """What `url` answered to one request, redirects followed. Raises NotServing."""
    try:
        async with httpx.AsyncClient(timeout=ONE.total_seconds(), follow_redirects=True) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotServing(f"{url}: {str(error) or type(error).__name__}") from None
    if not answer.is_success:
        raise NotServing(f"{url}: HTTP {answer.status_code}")
    return f"HTTP {answer.status_code}"
