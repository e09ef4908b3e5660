"""What is recorded, how it is laid out in bytes, and how it is checked."""
