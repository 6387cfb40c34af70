"""Sources of images: files, archives, arrays and tables, behind one protocol."""
