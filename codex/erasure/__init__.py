"""How a dataset becomes rows of which some may be lost: where each block stands, and the coding of columns.

Pure: `layout` knows numbers and manifests, `coder` turns buffers into blocks. Reading, storing and threads
are the caller's.
"""

from codex.erasure.coder import MAX_BATCH, columns_at_once, encode, recover
from codex.erasure.layout import Layout, protected_manifest

__all__ = ["MAX_BATCH", "Layout", "columns_at_once", "encode", "protected_manifest", "recover"]
