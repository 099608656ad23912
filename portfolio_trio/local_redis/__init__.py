"""A durable Redis without an installation: ``local:DIRECTORY``, a child of the server that uses it.

Needs only Trio, so that a supervisor can own one without importing the modules of its workers.

| open_local        claims the directory, finds the binaries
| └─ keep           one redis-server, started again whenever it ends

Imports the ground floor only.
"""

from portfolio_trio.local_redis._binaries import Recipe, recipes
from portfolio_trio.local_redis._errors import LocalRedisError
from portfolio_trio.local_redis._open import at_hand, directory_of, open_local

__all__ = ["LocalRedisError", "Recipe", "at_hand", "directory_of", "open_local", "recipes"]
