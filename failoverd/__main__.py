"""`python -m failoverd` and the console script `failoverd`."""

import importlib
import os
import sys
from pathlib import Path


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        Path.home()
    except RuntimeError:
        # The user of a service may have none, and the Kubernetes client asks for it when it is imported.
        os.environ["HOME"] = "/"
    cli = importlib.import_module("failoverd.cli")
    return int(cli.main() or 0)


if __name__ == "__main__":
    sys.exit(main())
