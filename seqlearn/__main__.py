"""`python -m seqlearn` is the command `seqlearn`."""

import sys

from seqlearn.cli import main

if __name__ == "__main__":
    sys.exit(main())
