"""The policy document as types, and what it decides."""
