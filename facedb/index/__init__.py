"""Vector indexes behind one protocol: FAISS on CPU or GPU, exact search with torch on a GPU.

Nobody above this package sees inner products or squared distances.
"""

from facedb.index.base import IndexKind, SearchIndex

__all__ = ["IndexKind", "SearchIndex"]
