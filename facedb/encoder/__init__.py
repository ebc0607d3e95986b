"""The encoder: aligned face crops -> unit vectors."""

from facedb.encoder.encoder import Encoder
from facedb.encoder.open import open_encoder

__all__ = ["Encoder", "open_encoder"]
