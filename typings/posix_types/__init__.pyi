# The standard library's modules, with all of POSIX and Linux that Procession calls, typed alike on
# every platform. `procession.system.posix` gives these types to what it hands out. Code that takes
# its modules from there has asked first whether the platform has what it calls; all other code is
# checked against the platform's own names (make lint: mypy --platform).
from posix_types import fcntl as fcntl
from posix_types import os as os
from posix_types import popen_fork as popen_fork
from posix_types import resource as resource
from posix_types import select as select
from posix_types import signal as signal
from posix_types import socket as socket
