"""Detections in images, videos and folders: the Python API and what the commands write."""
