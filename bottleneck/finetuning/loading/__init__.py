"""What training reads: batches of cached maps or of images, and their targets."""
