"""What a masked identity is shown of a sensitive value."""
