"""`python -m graphviz_cli` and the command `graphviz-cli`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run the command that `sys.argv` names; returns the exit status."""
    gc.disable()
    try:
        from graphviz_cli.cli.app import run
        from graphviz_cli.cli.streams import Streams

        return run(sys.argv[1:], Streams(os.environ))
    except KeyboardInterrupt:
        return 130
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
