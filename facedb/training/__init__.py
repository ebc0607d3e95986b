"""Training an encoder: data flows from `data` through `loop` into a run folder."""
