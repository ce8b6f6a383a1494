"""Forward a daemon's messages to an MQTT broker, and introduce its sources to Home Assistant."""
