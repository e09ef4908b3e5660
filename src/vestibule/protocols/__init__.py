"""One folder a protocol, each blind to the others."""
