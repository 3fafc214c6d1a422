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
    try:
        cli = importlib.import_module("failoverd.cli")
    except ModuleNotFoundError as error:
        if error.name != "failoverd.cli":
            raise
        sys.stderr.write("failoverd: this version has no command line yet\n")
        return 2
    return int(cli.main() or 0)


if __name__ == "__main__":
    sys.exit(main())
