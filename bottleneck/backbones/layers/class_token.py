"""The class token of a transformer: whether a network has one, and which of its layers give it.

A class token is put before the tokens of the image's patches, so it is the first token of every
block behind that. Distillation and register tokens follow it. Layers before it, such as
``patch_embed``, and all but the last two blocks of CaiT, have the patches alone. The number of
tokens tells: a square image has a square number of patches, and from 4 × 4 patches on, no square
is another one plus the few tokens that precede the patches.
"""

import math
import re

from torch import Tensor, nn

# What the parameters are called in timm, torchvision, transformers and open_clip.
_CLASS_TOKENS = {"cls_token", "class_token", "class_embedding", "cls_embedding"}
_OTHER_TOKENS = {
    *("dist_token", "distillation_token"),
    *("reg_token", "reg_tokens", "register_token", "register_tokens"),
}

_NUMBER = re.compile(r"_?\d+$")


def count_prefix_tokens(network: nn.Module) -> int:
    """Return the number of tokens before those of the patches, the class token being the first.

    Parameters
    ----------
    network : nn.Module

    Returns
    -------
    int
        0 if the network has no class token, whatever other tokens it has.

    Examples
    --------
    >>> network = nn.Module()
    >>> network.cls_token = nn.Parameter(Tensor(1, 1, 16))
    >>> network.reg_token = nn.Parameter(Tensor(1, 4, 16))
    >>> count_prefix_tokens(network), count_prefix_tokens(nn.Conv2d(3, 8, 3))
    (5, 0)
    """
    for module in network.modules():
        own: dict[str, Tensor] = {}
        for name, value in module.named_parameters(recurse=False):
            # CrossViT and CoaT number them: one for each branch or stage, which has no other.
            own.setdefault(_NUMBER.sub("", name), value)
        if _CLASS_TOKENS & own.keys():
            given = getattr(module, "num_prefix_tokens", None)  # timm's
            names = _CLASS_TOKENS | _OTHER_TOKENS
            counted = sum(_token_count(value) for name, value in own.items() if name in names)
            return given if isinstance(given, int) else counted
    return 0


def has_class_token(shape: tuple[int, ...], prefix_tokens: int) -> bool:
    """Return whether the first token of a layer is the class token.

    Parameters
    ----------
    shape : tuple of int
        Of the layer's output for one square image: (tokens, C), or anything else.
    prefix_tokens : int
        From `count_prefix_tokens`.

    Examples
    --------
    >>> has_class_token((197, 16), 1), has_class_token((196, 16), 1), has_class_token((16,), 1)
    (True, False, False)
    """
    if prefix_tokens == 0 or len(shape) != 2 or shape[0] < prefix_tokens:
        return False
    patches = shape[0] - prefix_tokens  # none at a layer that computes the class token alone
    return math.isqrt(patches) ** 2 == patches


def _token_count(parameter: Tensor) -> int:
    return parameter.shape[-2] if parameter.ndim > 1 else 1
