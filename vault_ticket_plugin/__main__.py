"""`python -m vault_ticket_plugin` is the same program as `vault-ticket`."""

import sys

from vault_ticket_plugin.entry import main

sys.exit(main())
