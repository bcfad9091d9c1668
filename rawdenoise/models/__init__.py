"""Trained networks: their cards, the folder they lie in, and those that come with the package."""
