"""Screenshots of the page for the docs, of sounds made here."""
