"""What is tried again, how often, and how long a failure is remembered: the numbers.

Whether an answer means that the token was spent is oauth/token_response.py's to tell.
"""

from __future__ import annotations

# Between two tries of one spend, at the token endpoint.
BACKOFF_INITIAL, BACKOFF_MAX = 0.2, 2.0
# None begins past this share of a spend's time: cut short, its answer might get lost.
LAST_TRY_SHARE = 0.75
# Between two tries at a document that another writer was quicker at, or that a standby or a proxy shows as it was: one
# lags by 0.1 s at worst, as was seen on a quiet machine.
CATCH_UP_INITIAL, CATCH_UP_MAX = 0.05, 0.5
# The cooldown after a failure, doubling from one to the other, jittered. An agent was seen to run a failing
# plugin 240 times a second.
COOLDOWN_INITIAL, COOLDOWN_MAX = 1.0, 60.0
# A refused client or request is asked about again so rarely, by one host of all: what refused it may have been a
# firewall, or a server that was being set up.
CLIENT_LATCH_SECONDS = 900.0
# A server's Retry-After may ask for more; a person who mends it should not wait longer for us.
MAX_RETRY_AFTER = 3600.0
