"""`python -m claid_ext` is `claid`."""

import sys

from claid_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())
