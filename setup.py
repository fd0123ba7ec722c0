"""Which packages are installed; everything else is in pyproject.toml.

The folders `components/` and `pipelines/` keep their short names in the tree. Installed, they have longer ones, so that
they collide with nobody else's; setuptools cannot find packages under another name.
"""

from setuptools import find_packages, setup

RENAMED = {"regrow_components": "components", "regrow_pipelines": "pipelines"}

setup(packages=[*find_packages(include=["regrow", "regrow.*"]), *RENAMED], package_dir=RENAMED)
