"""The program ``bottleneck``, and ``python -m bottleneck``."""

import sys


def main() -> None:
    """Run the command line. An interrupt while it is imported is one line, too."""
    try:
        from bottleneck.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was begun\n")
        sys.exit(130)  # as shells expect of SIGINT
    run(prog_name="bottleneck")


if __name__ == "__main__":
    main()
