"""What an experiment is: the schema of the YAML files in `configs/`, and how they are read.

Nothing here imports TensorFlow, so a wrong key is reported within a second.
"""

from lsplus_tf.config.dataset import (
    CSV_PREFIX,
    FOLDER_PREFIX,
    NPZ_PREFIX,
    TABLE_OPTIONS,
    TFDS_PREFIX,
    Background,
    Dataset,
    Defect,
    Interpolation,
    Phantom,
    Scaling,
)
from lsplus_tf.config.experiment import CalibratorName, Experiment
from lsplus_tf.config.grid import Grid, load_grid, read_config
from lsplus_tf.config.label_noise import LabelNoise
from lsplus_tf.config.loading import checked, load_config, packaged_configs, parse_config, to_yaml
from lsplus_tf.config.questions import Question
from lsplus_tf.config.sections import (
    SGD,
    Adam,
    Augmentation,
    Backbone,
    FineTuning,
    Protocol,
    StepSchedule,
)

__all__ = [
    "CSV_PREFIX",
    "FOLDER_PREFIX",
    "NPZ_PREFIX",
    "SGD",
    "TABLE_OPTIONS",
    "TFDS_PREFIX",
    "Adam",
    "Augmentation",
    "Backbone",
    "Background",
    "CalibratorName",
    "Dataset",
    "Defect",
    "Experiment",
    "FineTuning",
    "Grid",
    "Interpolation",
    "LabelNoise",
    "Phantom",
    "Protocol",
    "Question",
    "Scaling",
    "StepSchedule",
    "checked",
    "load_config",
    "load_grid",
    "packaged_configs",
    "parse_config",
    "read_config",
    "to_yaml",
]
