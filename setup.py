"""Copies configs/ into an installed package, as ssd/configs; the metadata is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")  # one copy, at the top of the repository; ssd/config/files.py looks at both places


class BuildWithConfigs(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:  # else the checkout's are found
            for source, target in self._configs().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def _configs(self):
        return {str(path): str(Path(self.build_lib, "ssd", path)) for path in sorted(CONFIGS.rglob("*.yaml"))}

    def get_outputs(self, include_bytecode=1):
        configs = [] if self.editable_mode else self._configs().values()
        return [*super().get_outputs(include_bytecode), *configs]


if {"install", "develop"} & set(sys.argv[1:]):
    sys.exit("python setup.py install is no longer supported by setuptools: use `pip install .`")
setup(cmdclass={"build_py": BuildWithConfigs})
