"""What an experiment is: the schema of the YAML files in `configs/`, and how they are read.

Nothing here imports TensorFlow, so that a wrong key is told in a second.
"""

from lsplus_tf.config.experiment import CalibratorName, Experiment
from lsplus_tf.config.loading import load_config, packaged_configs, parse_config, to_yaml
from lsplus_tf.config.sections import (
    SGD,
    Adam,
    Augmentation,
    Backbone,
    Dataset,
    FineTuning,
    Phantom,
    Protocol,
    StepSchedule,
)

__all__ = [
    "SGD",
    "Adam",
    "Augmentation",
    "Backbone",
    "CalibratorName",
    "Dataset",
    "Experiment",
    "FineTuning",
    "Phantom",
    "Protocol",
    "StepSchedule",
    "load_config",
    "packaged_configs",
    "parse_config",
    "to_yaml",
]
