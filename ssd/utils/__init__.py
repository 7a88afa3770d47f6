"""Plumbing that knows nothing of SSD: registry, errors, checkpoints, logging, downloads, image reading."""
