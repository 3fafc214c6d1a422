"""What the lab's Flux repository holds: apps shaped like those of the cluster the project was made for."""
