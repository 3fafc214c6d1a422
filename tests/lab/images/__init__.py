"""What runs inside the lab's pods: the app and the Syncthing mover. Mounted from ConfigMaps, never built into an image."""
