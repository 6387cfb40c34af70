"""Exceptions that libraries raise when they read a damaged weights file."""

import pickle
import struct
import zipfile

from safetensors import SafetensorError

from bottleneck.errors import MALFORMED_INPUT_ERRORS

# Raised by PyTorch, pickle, zipfile and safetensors on bytes that are not a state dict.
READ_ERRORS = (
    *MALFORMED_INPUT_ERRORS,
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
