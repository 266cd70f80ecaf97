"""`python -m volseg_keras` is the `volseg` command."""

from .cli import main

if __name__ == "__main__":
    main()
