"""The run-time checker of shapes, dtypes and types that the tests switch on (pyproject.toml, addopts)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is good enough for a float
