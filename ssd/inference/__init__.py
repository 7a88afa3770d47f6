"""Detection in images, videos and folders: the Python API and the output files."""
