"""What the operating system offers: clocks, files, locks, mounts, systemd, TCP."""
