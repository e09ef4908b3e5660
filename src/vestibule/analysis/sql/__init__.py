"""SQL of PostgreSQL: statements, operations, literals, functions."""
