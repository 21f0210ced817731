"""The daemon: keeps the leased path of every profile fresh, and hands tickets out to this host's programs.

schedule   when to look after which profile
keeper     does it, and keeps the tickets in memory; given `issue`, it knows nothing of Vault
web        what is asked over HTTP and how it is answered; access: who may ask; server: sockets and their limits
audit, metrics, hooks, systemd    who else is told
service    all of it together, from the first signal to the last
"""
