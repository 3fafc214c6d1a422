"""The same loop in simulated time: a world with nodes, guests, controllers, Syncthing pairs, GitOps and
faults."""
