"""`python -m rawdenoise`."""

from rawdenoise.cli import main

main()
