"""The detector: backbone, priors, box head. Knows nothing of datasets, files or the training loop."""
