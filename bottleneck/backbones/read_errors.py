"""What libraries raise when a file of weights is damaged, whoever reads it."""

import pickle
import struct
import zipfile

from safetensors import SafetensorError

from bottleneck.errors import USER_CODE_ERRORS

# What reading raises on bytes that are no state dict, besides refusing them.
READ_ERRORS = (
    *USER_CODE_ERRORS,
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
