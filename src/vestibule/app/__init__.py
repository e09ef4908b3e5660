"""Where everything is wired: the two kinds of process, made from the operator's settings."""
