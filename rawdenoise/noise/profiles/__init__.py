"""The noise profiles of cameras: the record, its TOML read and written, and the folder they lie in."""
