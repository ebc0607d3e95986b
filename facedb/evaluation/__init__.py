"""Measuring a gallery honestly: metrics (pure) and protocols (what is a probe of whom)."""
