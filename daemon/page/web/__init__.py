"""The web application: API, live stream, sound, sign-in."""
