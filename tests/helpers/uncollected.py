"""Look for no garbage while the server of `forked` imports: that takes a quarter of the time of it.

`tests.helpers.warmed`, which is imported last, looks again, but not among what was imported.
"""

import gc

gc.disable()
