"""The daemon's HTTP side: sockets, connections, who may ask, what is answered."""
