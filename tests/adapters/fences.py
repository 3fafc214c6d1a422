"""What a fence says, for tests of the adapters."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from failoverd.adapters.fencing import Fence, FenceError
from failoverd.core.model import Guest, Unknown


async def guest(fence: Fence) -> Guest:
    """Its state, which must be known."""
    found = await fence.state()
    assert isinstance(found, Guest), found
    return found


async def why(fence: Fence) -> str:
    """Why its state is not known."""
    found = await fence.state()
    assert isinstance(found, Unknown), found
    return found.why


async def refusal(doing: Awaitable[object]) -> str:
    """Why it did not do that."""
    with pytest.raises(FenceError) as caught:
        await doing
    return str(caught.value)
