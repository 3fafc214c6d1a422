"""failoverd: moves Kubernetes apps between two replicated volumes when a node dies, and back."""

__version__ = "0.1.0.dev0"
