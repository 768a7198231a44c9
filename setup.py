"""What setup.cfg cannot say: configs/ becomes lsplus_tf/configs in the wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["lsplus_tf", "lsplus_tf.*"]), "lsplus_tf.configs"],
    package_dir={"lsplus_tf.configs": "configs"},
)
