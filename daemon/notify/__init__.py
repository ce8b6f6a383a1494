"""Send notifications about what a daemon hears, through any service that Apprise knows."""
