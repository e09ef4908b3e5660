"""Adapters for what is kept: journal segments, the state database, objects."""
