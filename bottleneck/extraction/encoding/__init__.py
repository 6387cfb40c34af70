"""Images to codes: decoding beside the network, here or on a GPU, in batches."""
