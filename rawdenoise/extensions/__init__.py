"""What other packages can add: denoisers, readers, writers and training objectives, by entry points."""
