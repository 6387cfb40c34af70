"""Print results: as text with options in place of Python's parameters, or as JSON."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from bottleneck.cli.spelling import in_options, option_names
from bottleneck.errors import InvalidOptionError
from bottleneck.runtime import require_writable_output

if TYPE_CHECKING:
    from bottleneck import Cache
    from bottleneck.fitting import LabelSource

# Keys whose values are names of the user's. Text in backticks in them is not translated to options.
_NAMES = frozenset(
    {
        *("path", "paths", "pair", "leaked", "split_examples", "label_examples", "file", "head"),
        *("cache", "report", "model", "weights", "layer", "layers", "commands"),
        *("label", "labels", "suggested", "classes", "similar", "absent"),
        *("split", "splits", "group", "groups"),
    }
)


class Result(Protocol):
    """What a verb of the library returns."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""


def print_result(*results: Result, as_json: bool) -> None:
    """Print results of the library on standard output.

    Parameters
    ----------
    *results : Result
        Each with a text, as `str` gives it, and plain values.
    as_json : bool
        Whether to print the plain values, those of all results as one object.
    """
    values = dict(item for result in results for item in result.to_dict().items())
    print_either("\n".join(map(str, results)), values, as_json=as_json)


def print_either(text: str, values: Any, *, as_json: bool) -> None:
    """Print a text on standard output, or plain values as JSON: options are spelled in both.

    Parameters
    ----------
    text : str
        With parameters in backticks; see `bottleneck.cli.spelling`.
    values : dict or list
        Plain values, with such texts among them.
    as_json : bool
        Whether to print the values.
    """
    options = _option_names()
    click.echo(
        json.dumps(_values_in_options(values, options)) if as_json else in_options(text, options)
    )


def print_notes(notes: Iterable[str]) -> None:
    """Print on standard error what the library notes of a run, such as what runs the network."""
    for note in notes:
        click.echo(spelled(note), err=True)


def print_written(*paths: Path | None) -> None:
    """Print on standard error which files were written beside the result; None is left out."""
    for path in paths:
        if path is not None:
            click.echo(f"wrote {path}", err=True)


def spelled(text: str) -> str:
    """Return a text of the library in the command line's spelling."""
    return in_options(text, _option_names())


def require_writable_outputs(paths: Mapping[str, Path | None], *, overwrite: bool) -> None:
    """Refuse to replace files that exist, and one file for two outputs: before the work.

    Parameters
    ----------
    paths : mapping of str to Path or None
        By parameter; None where nothing is written.
    overwrite : bool
        Whether files that exist may be replaced.

    Raises
    ------
    OutputExistsError
        A file exists and `overwrite` is false, or it cannot be a file.
    UnwritableOutputError
        The folder of one cannot be written.
    InvalidOptionError
        Two parameters name one file.
    """
    parameters: dict[Path, str] = {}
    for parameter, path in paths.items():
        if path is None:
            continue
        require_writable_output(path, overwrite=overwrite, parameter=parameter)
        first = parameters.setdefault(path.resolve(), parameter)
        if first != parameter:
            raise InvalidOptionError(parameter, str(path), f"another file than that of `{first}`")


def read_images(path: Path) -> Any:
    """Open images as a source, and print on standard error what was found among them."""
    from bottleneck import open_images, summarize_images

    source = open_images(path)
    click.echo(str(summarize_images(source)), err=True)
    return source


def read_labels(cache: "Cache", labels: Path | None) -> "LabelSource":
    """Read the labels to train on; of a CSV, print on standard error what was understood."""
    from bottleneck.fitting import labelled_images

    images = labelled_images(cache, labels)
    if images.summary is not None:
        click.echo(str(images.summary), err=True)
    return images


def _values_in_options(values: Any, options: Mapping[str, str]) -> Any:
    """Return plain values with options in place of Python's parameters in each text.

    What names files, layers and classes is no text of the library.
    """
    match values:
        case str():
            return in_options(values, options)
        case list():
            return [_values_in_options(value, options) for value in values]
        case dict():
            return {
                key: value if key in _NAMES else _values_in_options(value, options)
                for key, value in values.items()
            }
    return values


def _option_names() -> dict[str, str]:
    """Map Python's parameters to options: those of the command that runs before all others."""
    root = click.get_current_context().find_root()
    program = root.command
    assert isinstance(program, click.Group)
    names = sorted(program.list_commands(root), key=lambda name: name != root.invoked_subcommand)
    return option_names(filter(None, (program.get_command(root, name) for name in names)))
