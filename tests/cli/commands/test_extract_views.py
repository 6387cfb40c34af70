"""Views of each image on the command line."""

import json
from pathlib import Path

from bottleneck.cache.store import open_cache
from bottleneck.data.resizing.view_recipe import ViewRecipe
from tests.helpers import cli
from tests.helpers.cli import TINY
from tests.helpers.fixture_types import Run

made, photos, cache = cli.made, cli.photos, cli.cache


def test_views_are_added_shown_and_repaired(run: Run, photos: Path, cache: Path) -> None:
    extract = ("extract", photos, "-o", cache, *TINY, "--views", 3)
    done = run(*extract, "--augment", "rotate", "--augment", "flip", "--view-seed", 4)
    assert done.exit_code == 0, done.output
    note = "views of each image: 3, the image itself and 2 by flip,rotate with seed 4"
    assert note in done.stderr.splitlines()
    assert "encoded 72 views of 36 images" in done.stdout
    assert open_cache(cache).view_recipe == ViewRecipe(("flip", "rotate"), 4)

    shown = run("status", cache)
    assert "views by flip,rotate with seed 4" in shown.stdout
    assert shown.stdout.splitlines()[1].split()[4] == "views"
    assert json.loads(run("status", cache, "--json").stdout)["layers"]["layer2"]["views"] == 3

    (cache / "codes" / "layer2@2" / "00000.h5").unlink()
    found = run("verify", cache)
    assert (found.exit_code, found.stdout) == (
        1,
        "missing: 1 of 5 shards of view 2 of layer2: run the same `bottleneck extract` again\n",
    )
    assert run("verify", cache, "--repair", photos, "--model", TINY[1]).exit_code == 0


def test_another_recipe_is_one_line_with_the_options_of_the_command(
    run: Run, photos: Path, cache: Path
) -> None:
    extract = ("extract", photos, "-o", cache, *TINY, "--views", 2)
    assert run(*extract).exit_code == 0
    other = run(*extract, "--augment", "color")
    assert other.exit_code != 0
    assert other.stderr.splitlines()[-1] == (
        f"error: cache {cache} has views by flip,crop with seed 0, this run asks for color with "
        "seed 0: leave --augment and --view-seed out to use the cache's own, or name another cache "
        "with -o"
    )


def test_wrong_options_are_one_line(run: Run, photos: Path) -> None:
    extract = ("extract", photos, "-o", "new", *TINY)
    for options, words in (
        (
            ("--views", 2, "--augment", "shear"),
            "--augment shear: must be one or more of flip, crop",
        ),
        (("--views", 0), "--views 0: must be a whole number from 1, the image alone, to 1000"),
        (("--augment", "flip"), "must be given with --views of at least 2"),
    ):
        done = run(*extract, *options)
        assert done.exit_code == 2
        assert words in done.stderr
    assert not Path("new").exists()


def test_a_plan_counts_the_views(run: Run, photos: Path) -> None:
    done = run("plan", photos, *TINY, "--views", 3, "--json")
    assert done.stderr.startswith("36 images: encoding some for about ten seconds")
    values = json.loads(done.stdout)
    assert (values["rows"], values["views"], values["passes"]) == (36, 3, 108)
    plain = json.loads(run("plan", photos, *TINY, "--json").stdout)
    assert values["bytes"] == 3 * plain["bytes"]
    text = run("plan", photos, *TINY, "--views", 3).stdout
    assert "36 images, 3 views of each, 108 forward passes, shards a layer: 1 for each view" in text
