"""The noise profiles of cameras: the record, its TOML, and the folder they lie in."""
