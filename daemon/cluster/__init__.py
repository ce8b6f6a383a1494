"""`tinyastd classify --on ray`: the same work on many machines. Needs the extra `cluster`."""
