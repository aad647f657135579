"""The packages of the wheel. In the repository ``app`` and ``worker`` stand beside ``driftline``; in the wheel, below it.

Names as common as these two belong to whoever installs Driftline, so the wheel has ``driftline`` alone at its top.
"""

from setuptools import find_packages, setup

BESIDE = ("app", "worker")


def packages() -> list[str]:
    beside = [package for name in BESIDE for package in find_packages(include=[name, f"{name}.*"])]
    return [*find_packages(include=["driftline", "driftline.*"]), *(f"driftline.{package}" for package in beside)]


setup(packages=packages(), package_dir={f"driftline.{name}": name for name in BESIDE})
