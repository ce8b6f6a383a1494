"""Commands that work through files without a daemon: classify, learn, similar."""
