"""Write docs/commands.md from the help texts of the commands: python docs/make_commands.py."""

import contextlib
import tempfile
from pathlib import Path

from click.testing import CliRunner

from bottleneck.cli import main
from bottleneck.cli.main import COMMANDS

PAGE = Path(__file__).parent / "commands.md"


def help_of(*command: str) -> str:
    """Return what ``bottleneck COMMAND --help`` prints, 88 columns wide."""
    # In another folder, because help would show the defaults of bottleneck.toml.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        result = CliRunner().invoke(
            main, [*command, "--help"], prog_name="bottleneck", terminal_width=88, color=False
        )
    assert result.exit_code == 0, result.output
    return result.output.rstrip()


def page() -> str:
    """Return the text of docs/commands.md."""
    sections = [
        "# Commands\n\nMade from `--help` by `make docs`; a test holds the two together.",
        f"## bottleneck\n\n```\n{help_of()}\n```",
    ]
    sections += [f"## bottleneck {name}\n\n```\n{help_of(name)}\n```" for name in COMMANDS]
    return "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
