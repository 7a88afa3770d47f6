"""Train a detector: python train.py --config-file configs/vgg_ssd300_voc0712.yaml; the same as ssd train."""

import sys

from ssd.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
