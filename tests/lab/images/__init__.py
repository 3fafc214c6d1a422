"""What runs inside the lab's pods, the app and the Syncthing mover: mounted from ConfigMaps, in no image."""
