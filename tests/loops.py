"""The laws that a loop over elements can run, found from their declarations alone."""

from __future__ import annotations

from typing import Any

from optcore.backends.drive import start
from optcore.backends.numpy import backend, np
from optcore.testing import subjects
from optcore.testing.laws import ready


def shares_a_vector(law: Any) -> bool:
    """Tell whether a law has a shared field that is a vector: a pass takes only numbers of the whole tree."""
    law = ready(law)
    state = law.unpack(start(law, backend, np.ones((2, 2)), law.complete()))
    return any(f.shared and x.ndim > 0 for f, x in zip(law.fields, state, strict=True))


LOOPS = [name for name, law in subjects().items() if not law.axes and not shares_a_vector(law)]
