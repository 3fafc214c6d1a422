"""A real Kubernetes cluster of namespaced hosts on one machine: `python -m tests.lab up`."""
