"""Networks that classify images, with float32 logits."""

from lsplus_tf.backbones.classifier import PixelScaling, build_classifier

__all__ = ["PixelScaling", "build_classifier"]
