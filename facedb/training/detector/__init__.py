"""Training our own face detector: five landmarks, YuNet's head layout, YuNet's answers as labels.

A view (pieces of photos, turned, scaled, tiled) is shown clean to YuNet and distorted to the
network; YuNet's answer at every cell of every stride is what the network learns. So no rule has
to say which cell answers for which face, and turns and flips need no bookkeeping.
"""
