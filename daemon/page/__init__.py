"""The page: a subscriber that stores what daemons publish and shows it in a browser."""
