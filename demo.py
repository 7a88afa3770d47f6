"""Detect in images and videos: python demo.py --ckpt FILE --source WHAT; the same as ssd demo."""

import sys

from ssd.commands.demo import main

if __name__ == "__main__":
    sys.exit(main())
