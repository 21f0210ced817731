"""vault-ticket: access tokens for the Ticket API, kept fresh through HashiCorp Vault or OpenBao.

The house, from the top down; imports go downward only (tests/test_architecture.py):

entry, cli        `vault-ticket`: ask the warm path, else run the program; the commands
daemon, doctor    keeps tickets fresh and hands them out; every known cause of failure, tested in order
wiring, status    builds the parts from the settings; how a profile is
issuer            the one use case: a ticket by the shortest way that is safe
host, agent       what one host has (cache, lock, daemon's client); configurations for agents
vault, oauth      Vault's API; the token endpoint
refresh           the transaction: grant, claim, spend, journal, leased path. It knows only ports
formats, helpers  how a ticket is printed; the dialogues of git, Docker and Terraform
transport         one HTTP exchange with a hard end
settings          the configuration, a module for each table
words, flat       model, ports, events, errors, secret, clock, …; warm, environment and folder: the warm path
"""

__version__ = "0.1.0"
