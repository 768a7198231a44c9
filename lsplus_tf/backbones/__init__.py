"""Networks that classify images, with float32 logits."""

from lsplus_tf.backbones.carrying import carrying_features
from lsplus_tf.backbones.classifier import PixelScaling, build_classifier
from lsplus_tf.backbones.fingerprints import fingerprint
from lsplus_tf.backbones.weights import load_weights
from lsplus_tf.losses.features import CarryFeatures

__all__ = [
    "CarryFeatures",
    "PixelScaling",
    "build_classifier",
    "carrying_features",
    "fingerprint",
    "load_weights",
]
