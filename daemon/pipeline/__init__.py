"""From a claimed file or a live window to messages."""
