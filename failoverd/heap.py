"""Memory that was freed goes back to the system.

glibc maps large blocks apart, so that they are given back when freed, and raises by itself what it calls large: to
the largest block it has seen freed. asyncio gives every TLS connection 256 KiB to read into; once one had ended, all
others' came from the heap, and stayed there behind whatever was allocated after them.
"""

from __future__ import annotations

import ctypes

MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of glibc's malloc.h."""
LARGE = 128 * 1024
"""Bytes: what glibc begins with. Naming any size keeps it from being raised."""


def give_back() -> bool:
    """Have large blocks given back whenever they are freed. False where the C library is not told so, as musl."""
    try:
        return bool(ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE))
    except (AttributeError, OSError):
        return False
