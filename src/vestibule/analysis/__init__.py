"""From texts to operations; unsure means the worst impact."""
