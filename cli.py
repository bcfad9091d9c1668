"""`python cli.py denoise ...` from a checkout: the same as the installed `rawdenoise`."""

from rawdenoise.cli import main

if __name__ == "__main__":
    main()
