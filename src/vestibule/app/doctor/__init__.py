"""Looking at a gateway's own settings and machine, its providers and its targets, before somebody relies on them."""
