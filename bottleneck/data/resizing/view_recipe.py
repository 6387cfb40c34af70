"""The recipe of an image's views: what they may be, and the seed that decides them."""

from dataclasses import dataclass
from typing import Any, Self

from bottleneck.errors import InvalidOptionError
from bottleneck.runtime import require_seed

AUGMENTATIONS = ("flip", "crop", "rotate", "color")
VIEW_RULE = "sha256-1"


@dataclass(frozen=True)
class ViewRecipe:
    """How the views of an image are made. View 0 is the image itself.

    View v is a function of the image's bytes, v and the recipe alone: it is the same on every
    machine and in every order. A cache has one recipe.

    Attributes
    ----------
    augmentations : tuple of str
        What may be done to an image, each one of `AUGMENTATIONS`: mirror it, cut a random part
        out, turn it by quarters, change brightness, contrast and saturation. Kept in that order.
    seed : int
        From 0 to 2⁶³ − 1.
    rule : str
        The rule by which these become pixels, with its version.

    Raises
    ------
    InvalidOptionError
        A value is not allowed.

    Examples
    --------
    >>> ViewRecipe(("crop", "flip"))
    ViewRecipe(augmentations=('flip', 'crop'), seed=0, rule='sha256-1')
    """

    augmentations: tuple[str, ...] = ("flip", "crop")
    seed: int = 0
    rule: str = VIEW_RULE

    def __post_init__(self) -> None:
        given = self.augmentations
        texts = isinstance(given, (tuple, list)) and all(isinstance(name, str) for name in given)
        if not texts or not given or not set(given) <= set(AUGMENTATIONS):
            shown = ",".join(map(str, given)) if isinstance(given, (tuple, list)) else given
            allowed = f"one or more of {', '.join(AUGMENTATIONS)}"
            raise InvalidOptionError("augmentations", shown, allowed)
        require_seed(self.seed)
        if self.rule != VIEW_RULE:
            raise InvalidOptionError("rule", self.rule, f"{VIEW_RULE}, which this program knows")
        chosen = tuple(name for name in AUGMENTATIONS if name in given)
        object.__setattr__(self, "augmentations", chosen)

    @property
    def distinct(self) -> int | None:
        """How many pictures of one image there can be; None if there is no end to them."""
        if {"crop", "color"} & set(self.augmentations):
            return None
        flips, turns = ("flip" in self.augmentations), ("rotate" in self.augmentations)
        return (2 if flips else 1) * (4 if turns else 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as caches and heads contain them."""
        return {
            "rule": self.rule,
            "augmentations": list(self.augmentations),
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build a recipe from the plain values of `to_json`.

        Raises
        ------
        TypeError, KeyError, ValueError
            `values` is not a recipe that this program knows. The caller knows the file's name.
        """
        return cls(values["augmentations"], values["seed"], values["rule"])

    def of_view(self, view: int) -> dict[str, Any]:
        """Return plain values that tell a view from every other one, for digests."""
        return self.to_json() | {"number": view}

    def __str__(self) -> str:
        return f"{','.join(self.augmentations)} with seed {self.seed}"
