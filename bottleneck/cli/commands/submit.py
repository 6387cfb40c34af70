"""`bottleneck submit`."""

from typing import Any

import click
from click.core import ParameterSource

from bottleneck.errors import UnknownNameError

_MARK = "--"
_WORDS = "bottleneck.submit.words"  # where the command behind the mark is kept
_COMMANDS = ("extract", "fit", "sweep")


class _Submission(click.Command):
    """A command that parses its options before ``--`` and keeps the words behind it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split at the mark."""
        own = args[: args.index(_MARK)] if _MARK in args else args
        ctx.meta[_WORDS] = args[len(own) + 1 :]
        return super().parse_args(ctx, own)


@click.command(cls=_Submission, context_settings={"ignore_unknown_options": True})
@click.argument("scheduler", type=click.Choice(["slurm"]))
@click.argument(
    "options",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[SBATCH-OPTION]... -- COMMAND...",
)
@click.option(
    "--tasks", type=click.IntRange(min=1), help="Number of array tasks of an extraction.  [1]"
)
@click.option("--submit", "now", is_flag=True, help="Submit it, and print the job's number.")
@click.pass_context
def submit(
    ctx: click.Context, scheduler: str, options: tuple[str, ...], tasks: int | None, now: bool
) -> None:
    """Print a batch script that runs a command on a cluster.

    The command follows `--`: extract, fit or sweep. The names of its options are checked at once.
    An extraction becomes an array of tasks; each makes the missing shards of its part. Shortly
    before its time limit, a task finishes the current shard and is queued again. A fit or sweep
    first checks that its layers are complete, and exits with 3 if they are not. All other options
    before `--` are passed to sbatch.

    \b
    Example:
      bottleneck submit slurm --tasks 16 --time=2:00:00 --gpus=1 -- \\
          extract photos -o photos.cache --model resnet50 --layer layer3 > extract.sh
      bottleneck submit slurm --submit --dependency=afterany:4711 --mem=32G -- \\
          fit photos.cache --clf svm --layer layer3
    """
    from bottleneck.runtime import extraction_array_script, job_script, sbatch

    words = ctx.meta[_WORDS]
    if not words:
        raise click.UsageError("Missing a command after `--`.", ctx)
    name, *arguments = words
    values = _checked(ctx, name, arguments)
    if name == "extract":
        script = extraction_array_script(arguments, tasks=tasks or 1, options=options)
    elif tasks is None:
        layers = tuple(layer for layer in values["layers"] or () if layer != "all")
        script = job_script(words, cache=values["cache"], layers=layers, options=options)
    else:
        raise click.UsageError(f"--tasks {tasks}: {name} is one job; only extract has tasks")
    if now:
        click.echo(sbatch(script))
    else:
        click.echo(script.encode("utf-8", errors="surrogateescape"), nl=False)


def _checked(ctx: click.Context, name: str, arguments: list[str]) -> dict[str, Any]:
    """Parse the arguments of a command now, so that not every job fails at a mistake."""
    if name not in _COMMANDS:
        raise UnknownNameError("command", name, _COMMANDS)
    program = ctx.find_root()
    assert isinstance(program.command, click.Group)
    _, command, arguments = program.command.resolve_command(program, [name, *arguments])
    assert command is not None
    with command.make_context(name, list(arguments), parent=program) as inner:
        if inner.get_parameter_source("task") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--task: each task of the array is given its own: leave it out")
        return dict(inner.params)
