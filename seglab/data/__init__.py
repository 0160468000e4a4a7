"""Files on disk to samples, store, transforms and batches."""
