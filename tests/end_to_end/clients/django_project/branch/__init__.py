"""An application with a few models."""
