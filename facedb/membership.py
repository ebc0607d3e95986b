"""Which template is whose, and whose templates are which: tables of a whole gallery. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Membership:
    """Both directions between template ids and identity ids: some 24 bytes a template."""

    def __init__(self, template_ids: NDArray[np.int64], identity_ids: NDArray[np.int64]) -> None:
        """From int64[n] template ids, rising, and int64[n] the identity of each."""
        self._owners = np.full(int(template_ids.max(initial=0)) + 2, -1, dtype=np.int64)
        self._owners[template_ids] = identity_ids
        order = np.argsort(identity_ids, kind="stable")
        self._templates = template_ids[order]
        self._identities = identity_ids[order]

    def owners(self, template_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The identity of each template, in the same shape; -1 at -1 and where there is none."""
        return self._owners[np.minimum(template_ids, len(self._owners) - 1)]

    def templates(
        self, identity_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All templates of some people.

        Returns:
            int64[t] places in `identity_ids`, rising; int64[t] template ids, rising in a person.
        """
        starts = np.searchsorted(self._identities, identity_ids)
        counts = np.searchsorted(self._identities, identity_ids, side="right") - starts
        places = np.repeat(np.arange(len(identity_ids)), counts)
        within = np.arange(len(places)) - (np.cumsum(counts) - counts)[places]
        return places, self._templates[starts[places] + within]
