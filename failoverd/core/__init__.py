"""The functional core: decisions as functions of what was configured, remembered and seen.

Nothing in here reads a clock, a socket, a file or a random number; the import contracts enforce it.
"""
