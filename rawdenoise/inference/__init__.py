"""A network over planes of any size, on any device."""
