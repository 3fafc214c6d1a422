"""The Kubernetes API: everything failoverd reads and writes in a cluster goes through this package."""
