"""What Pillow's readers raise on bytes that are no image, or a hostile one."""

import struct
import zlib

from PIL import Image

from bottleneck.errors import USER_CODE_ERRORS

DECODER_ERRORS = (*USER_CODE_ERRORS, struct.error, zlib.error, Image.DecompressionBombError)
