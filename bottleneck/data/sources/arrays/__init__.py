"""Images that are arrays of pixels, in npz and HDF5 files."""
