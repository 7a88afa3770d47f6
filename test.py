"""Evaluate a detector: python test.py --config-file configs/vgg_ssd300_voc0712.yaml; the same as ssd test."""

import sys

from ssd.commands.test import main

if __name__ == "__main__":
    sys.exit(main())
