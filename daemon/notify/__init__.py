"""Send notifications about sounds that a daemon hears, through any service that Apprise knows."""
