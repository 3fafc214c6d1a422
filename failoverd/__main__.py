"""`python -m failoverd` and the console script `failoverd`."""

import importlib
import sys


def main() -> int:
    """Run the command line and return its exit status."""
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
