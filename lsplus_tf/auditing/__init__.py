"""audit"""

from lsplus_tf.auditing.audit import Audit, audit

__all__ = ["Audit", "audit"]
