"""The views of a run: how many, by which recipe, and what to tell of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bottleneck.cache import Cache, Series
from bottleneck.data import ViewRecipe
from bottleneck.errors import InvalidOptionError
from bottleneck.extraction.options import ViewOptions
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import require_options


@dataclass(frozen=True)
class ChosenViews:
    """The views of each image that a run is to make.

    Attributes
    ----------
    count : int
        The first is the image itself.
    recipe : ViewRecipe or None
        How the others are made, if there are any.

    Examples
    --------
    >>> two = ChosenViews(2, ViewRecipe())
    >>> [str(series) for series in two.series(["a", "b"])]
    ['a', 'b', 'view 1 of a', 'view 1 of b']
    >>> two.notes
    ('views of each image: 2, the image itself and 1 by flip,crop with seed 0',)
    """

    count: int
    recipe: ViewRecipe | None

    def series(self, layers: Iterable[str]) -> list[Series]:
        """Return the series of some layers, each once."""
        names = dict.fromkeys(layers)
        return [Series(layer, view) for view in range(self.count) for layer in names]

    def require_possible(self, transform: InputTransform) -> None:
        """Refuse other views of images that are decoded on a GPU, where no views are made.

        Raises
        ------
        InvalidOptionError
            There are such views.
        """
        if self.count > 1 and transform.decodes_on_gpu:
            hint = "`decoder=exact` and `decoder=fast` make any number"
            raise InvalidOptionError("views", self.count, "1 where a GPU decodes", hint)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is made, and whether some views must be alike, a sentence each."""
        if self.recipe is None:
            return ()
        others = f"{self.count - 1} by {self.recipe}"
        made = f"views of each image: {self.count}, the image itself and {others}"
        distinct = self.recipe.distinct
        if distinct is None or self.count <= distinct:
            return (made,)
        names = ",".join(self.recipe.augmentations)
        return (
            made,
            f"WARNING: {names} makes {distinct} pictures of an image, so that some of its "
            f"{self.count} views are alike: `augmentations=flip,crop` makes any number",
        )


def choose_views(views: ViewOptions | int, existing: Cache | None) -> ChosenViews:
    """Choose the views of a run: those that are asked for, or those that the cache has.

    Parameters
    ----------
    views : ViewOptions or int
    existing : Cache, optional
        The cache, if it exists: all its layers get the views that one of them has.

    Raises
    ------
    InvalidOptionError
        A recipe is given without views, or the number of views is not allowed.
    """
    if isinstance(views, Mapping):
        require_options(views=(views, ViewOptions))
    options = views if isinstance(views, ViewOptions) else ViewOptions(views)
    count = options.count or (existing.views_begun if existing else 1)
    known = existing.view_recipe if existing else None
    if count > 1:
        return ChosenViews(count, options.recipe(known or ViewRecipe()))
    for name, value in (("augmentations", options.augmentations), ("seed", options.seed)):
        if value is not None:
            raise InvalidOptionError(name, value, "given with `views` of at least 2")
    return ChosenViews(1, None)
