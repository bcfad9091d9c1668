"""DNG: how one is written, and what its own tags say."""
