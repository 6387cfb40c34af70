"""Images that are files of their own: folders, and CSVs that list them."""
