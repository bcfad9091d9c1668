"""TIFF: the container read and written, its tags, and pictures in it."""
