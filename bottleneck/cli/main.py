"""The program: import commands by name, read bottleneck.toml, print errors in one line."""

import importlib
import importlib.metadata
import io
import sys
import tomllib
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from bottleneck import __version__
from bottleneck.cli.interrupts import interrupt_code, interrupt_text, signals_as_interrupts
from bottleneck.cli.output import spelled
from bottleneck.cli.types import Names, Numbers
from bottleneck.errors import BottleneckError, UnknownNameError
from bottleneck.runtime import configure_process

COMMANDS = (
    *("layers", "plan", "extract", "status", "verify", "audit", "advise", "fit", "sweep"),
    *("tune", "evaluate", "predict", "report", "export", "submit"),
)

CONFIG = Path("bottleneck.toml")


class Program(click.Group):
    """Commands that are imported when they are needed, and the one place that reports errors."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before a command, of which --help and --version print and end."""
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            raise
        except OSError as error:
            _fail(str(error), 1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of a usual session."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return the command of module `bottleneck.cli.commands.<name>`."""
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"bottleneck.cli.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and refuse an unknown one and lists that are given in parts."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_unknown("command", args[0], COMMANDS), ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            _require_once(
                command, click.Context(command, ctx, name, **command.context_settings), rest
            )
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; report errors that the user can correct in one line."""
        _require_working_directory()
        try:
            ctx.default_map = _defaults(self, ctx)
            with signals_as_interrupts():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _fail(interrupt_text(interrupt), interrupt_code(interrupt))
        except BrokenPipeError:
            raise  # `bottleneck predict … | head`: click handles it
        except BottleneckError as error:
            if ctx.params["debug"]:
                raise
            _fail(spelled(str(error)), error.exit_code)
        except OSError as error:
            if ctx.params["debug"]:
                raise
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            _fail(what, 1)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="bottleneck")
def main(debug: bool) -> None:
    """Run a frozen CNN once, cache the codes of any layer, train linear classifiers on them.

    Defaults for any option can be set in bottleneck.toml in the working directory, in a table
    with the command's name. A model that is code runs from there only if you have run it before.

    \b
    Example:
      bottleneck layers resnet50
      bottleneck extract photos -o photos.cache --model resnet50 --layer layer3 --layer layer4
      bottleneck fit photos.cache --clf svm --layer layer3
      bottleneck predict head-svm-layer3.safetensors new/*.jpg
    """
    configure_process()
    # scikit-learn imports pandas, if installed, which looks for PyData's package of the same name.
    warnings.filterwarnings("ignore", message="Pandas requires version .* of 'bottleneck'")
    warnings.filterwarnings("ignore", module="PIL")  # an unreadable image is rejected with a reason
    _warn_of_namesake()
    _warn_of_file_names()
    _escape_unprintable()


def _require_working_directory() -> None:
    """Refuse to run in a working directory that was removed: libraries fail there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        _fail("the working directory was removed: change to another one", 1)


def _require_once(command: click.Command, ctx: click.Context, args: Sequence[str]) -> None:
    """Refuse a list option that is given twice: click would silently use the last value."""
    _, _, order = command.make_parser(ctx).parse_args(list(args))
    for parameter, times in Counter(order).items():
        is_list = isinstance(parameter.type, Names | Numbers) and not parameter.multiple
        if times > 1 and is_list:
            raise click.UsageError(
                f"{parameter.opts[0]} is given {times} times: give it once, with commas between "
                "its values",
                ctx,
            )


def _defaults(program: Program, ctx: click.Context) -> dict[str, Any]:
    """Read bottleneck.toml: values by command and parameter."""
    if not CONFIG.is_file():
        return {}
    try:
        config = tomllib.loads(CONFIG.read_text(encoding="utf-8-sig"))  # editors write a BOM
    except ValueError as error:  # not TOML, or not UTF-8
        raise click.UsageError(f"{CONFIG}: {error}") from error
    defaults: dict[str, Any] = {}
    for name, options in config.items():
        command = program.get_command(ctx, name)
        if command is None:
            raise click.UsageError(f"{CONFIG}: {_unknown('command', name, COMMANDS)}")
        if not isinstance(options, dict):
            raise click.UsageError(f"{CONFIG}: {name} is a command, whose options are in [{name}]")
        parameters, found = _parameters(command), defaults.setdefault(name, {})
        for option, value in options.items():
            parameter = parameters.get(option.replace("_", "-"))
            if parameter is None:
                unknown = _unknown(f"option of [{name}]", option, sorted(parameters))
                raise click.UsageError(f"{CONFIG}: {unknown}")
            if parameter.name in found:
                raise click.UsageError(f"{CONFIG}: [{name}] has {option} twice, by two names")
            many = parameter.nargs != 1 or getattr(parameter, "multiple", False)
            found[parameter.name] = _as_typed(value, many=many)
    return defaults


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Say that a command or an option does not exist, and which is meant."""
    return str(UnknownNameError(kind, name, known, likeness=0.7))


def _as_typed(value: Any, *, many: bool) -> str | list[str]:
    """Return a value of TOML as it is typed on the command line: click checks nothing else."""
    texts = [str(item) for item in (value if isinstance(value, list) else [value])]
    return texts if many else ",".join(texts)


def _parameters(command: click.Command) -> dict[str, click.Parameter]:
    """Map names on the command line, without the dashes before them, to parameters."""
    return {
        option.removeprefix("--"): parameter
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") or isinstance(parameter, click.Argument)
    }


def _warn_of_namesake() -> None:
    try:
        version = importlib.metadata.version("bottleneck")
    except importlib.metadata.PackageNotFoundError:
        return
    click.echo(
        f"warning: PyData's package 'bottleneck' {version} is installed in this environment and "
        "has the same import name: `pip uninstall bottleneck`, then `pip install "
        "--force-reinstall --no-deps bottleneck-features`, or use an environment for each",
        err=True,
    )


def _warn_of_file_names() -> None:
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        click.echo(
            f"warning: file names are taken for {encoding} here, and for UTF-8 in caches, heads "
            "and CSV files: those with other letters than A to Z may not be found or recognised; "
            "`export PYTHONUTF8=1` corrects that",
            err=True,
        )


def _escape_unprintable() -> None:
    r"""Print what standard output's encoding lacks as ``\u4e03``, instead of failing at it."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> NoReturn:
    line = " ".join(message.split()).encode("utf-8", errors="backslashreplace")
    click.echo(b"error: " + line, err=True)
    sys.exit(code)
