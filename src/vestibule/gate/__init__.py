"""The only place where analysis, policy and evidence meet."""
