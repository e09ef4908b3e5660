"""The data process: sockets, TLS and the pump."""
