"""Stand-ins for what the lab cannot run itself: VolSync's operator and a Proxmox VE node's API.

Standard library only: they start with the system's Python, inside the lab's namespaces.
"""
