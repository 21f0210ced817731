"""Gives the processes of a simulated host a user whose own folders are that host's, whatever HOME says.

Our folders follow from the user: without this, tests would find each other's, and the developer's own.
"""

import os
import pwd

HOME = os.environ.get("TEST_USERS_HOME")

if HOME is not None:
    from vault_ticket_plugin import environment

    of_system = pwd.getpwuid

    def getpwuid(user: int) -> pwd.struct_passwd:
        found = of_system(user)
        return pwd.struct_passwd((*found[:5], HOME, *found[6:]))

    pwd.getpwuid = getpwuid
    environment.ROOT_STATE = environment.state_below(HOME)
    environment.users_runtime_paths = lambda: [f"{HOME}/users-run/vault-ticket"]
