"""The daemon: keeps the leased path of every profile fresh, and hands tickets out to this host's programs.

schedule   when to look after which profile
keeper     does it, and keeps the tickets in memory; given a source of tickets, it knows nothing of Vault
http_api   what is asked over HTTP and how it is answered: app; access: who may ask; server: sockets and their limits
audit, metrics, hooks, systemd    who else is informed
systemd_credentials               a bare token for systemd's LoadCredential=
wiring     what is built from the settings
service    all of it together, from the first signal to the last
"""
