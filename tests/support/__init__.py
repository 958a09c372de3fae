"""What several rooms of tests use."""

import sys

ENDS_WITHOUT_THREADS = (3, 12) <= sys.version_info < (3, 12, 3)
"""Whether CPython starts no thread any more once the main thread has ended (issue 113964)."""
