"""PostgreSQL, wire protocol 3.0, on both sides."""
